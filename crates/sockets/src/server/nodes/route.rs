//! The subscription to one key, while it is in use.
//!
//! # Invariant
//!
//! A channel has one [`Link`] on a node, and a link has one subscription that hears. A channel that
//! is joined again while its link is ending keeps that link: the link's task ends only when nothing
//! holds the link, decided under the lock of the routes, and it subscribes again only when the
//! handler of the subscription before has returned for the last time ([`Gate`]). So a frame that
//! arrives by the old subscription neither overtakes nor follows what the new one hears, and no
//! frame is lost because both of them saw it. A handler that is stuck for 5 s is the exception: the
//! task waits no longer for it, and the frame that it has in hand may come late.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fanfeed_broker::{AsyncBroker, BrokerSubscription, ReadyError, Subscribe};
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Nodes;
use super::events::NodeEvent;
use super::gate::Gate;
use super::holes::Hole;
use crate::observe::shown_error;
use crate::server::history::Way;

/// The waits between attempts to subscribe.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Holds a link. When the last holder is dropped, the subscription ends, and nothing waits for
/// that.
pub(super) struct Route {
    pub(super) link: Arc<Link>,
}

/// What the holders, the task and the handler of a subscription share.
pub(super) struct Link {
    pub(super) key: String,
    /// `None` for the keys of the node itself.
    pub(super) channel: Option<Arc<str>>,
    subscription: Mutex<Option<BrokerSubscription>>,
    is_live: watch::Sender<bool>,
    /// Whether members may have joined while the subscription was not live, and have missed
    /// messages.
    was_early: AtomicBool,
    /// How many messages have been handled.
    handled: AtomicU64,
    hole: Mutex<Option<Hole>>,
    failed: Notify,
    /// How many routes there are. It grows under the lock of the routes of the node.
    holders: AtomicUsize,
    /// Notified when there is no route.
    left: Notify,
    /// Cancelled when the subscription has to end, whether or not it is in use.
    closing: CancellationToken,
}

impl Way for Route {
    fn is_whole(&self) -> bool {
        self.link.is_live() && self.link.hole.lock().is_none()
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        if self.link.holders.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.link.left.notify_one();
        }
    }
}

impl Link {
    /// A link without a holder or a subscription.
    fn new(key: String, channel: Option<Arc<str>>, closing: CancellationToken) -> Self {
        Self {
            key,
            channel,
            subscription: Mutex::new(None),
            is_live: watch::Sender::new(false),
            was_early: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            hole: Mutex::new(None),
            failed: Notify::new(),
            holders: AtomicUsize::new(0),
            left: Notify::new(),
            closing,
        }
    }

    /// Waits until the subscription is live.
    pub(super) async fn live(&self) {
        let mut live = self.is_live.subscribe();
        // It fails only without a sender, and this has it.
        let _ = live.wait_for(|is_live| *is_live).await;
    }

    pub(super) fn is_live(&self) -> bool {
        *self.is_live.borrow()
    }

    /// A member joins that may miss messages, because the subscription is not live.
    pub(super) fn let_in_early(&self) {
        self.was_early.store(true, Ordering::SeqCst);
    }

    /// How many messages wait for the handler.
    fn waiting(&self) -> u64 {
        let subscription = self.subscription.lock();
        let depth = subscription
            .as_ref()
            .and_then(|subscription| subscription.stats().depth);
        depth.unwrap_or(0) as u64
    }

    pub(super) fn has_handled_one(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that messages were lost. Returns whether the last hole was behind.
    pub(super) fn tear(&self) -> bool {
        let behind = self.handled.load(Ordering::Relaxed) + self.waiting();
        let noticed = Instant::now();
        let hole = Hole { noticed, behind };
        self.hole.lock().replace(hole).is_none()
    }

    /// The hole, if what had arrived when it was noticed has been handled, and nothing more is lost
    /// now. `rest` is the time for what was in the hands of the broker.
    pub(super) fn hole_behind(&self, now: Instant, rest: Duration) -> Option<Hole> {
        let hole = (*self.hole.lock())?;
        let is_over = now.saturating_duration_since(hole.noticed) >= rest
            && self.handled.load(Ordering::Relaxed) >= hole.behind;
        (is_over && self.is_live() && !self.is_ended()).then_some(hole)
    }

    /// Closes the hole, unless there is another one. Returns whether there is none.
    pub(super) fn mend(&self, behind: Hole) -> bool {
        let mut hole = self.hole.lock();
        if *hole == Some(behind) {
            *hole = None;
        }
        hole.is_none()
    }

    /// Whether the broker has ended the subscription.
    pub(super) fn is_ended(&self) -> bool {
        let subscription = self.subscription.lock();
        let ready = subscription
            .as_ref()
            .map(|subscription| subscription.ready(Duration::ZERO));
        matches!(ready, Some(Err(ReadyError::Ended)))
    }

    /// Whether nothing holds the link. That lasts only as long as the lock of the routes is held.
    pub(super) fn is_left(&self) -> bool {
        self.holders.load(Ordering::SeqCst) == 0
    }

    /// Waits until nothing holds the link. Only its task does.
    async fn left(&self) {
        while !self.is_left() {
            self.left.notified().await;
        }
    }

    /// Forgets the hole if nothing holds the link: then no history has it. Returns whether it did.
    /// A link that is still live may be held again before its task sees that it was left, and keeps
    /// its subscription then, and the hole.
    pub(super) fn forget_hole_if_left(&self) -> bool {
        let mut hole = self.hole.lock();
        let is_over = self.is_left() && !self.is_live();
        if is_over {
            *hole = None;
        }
        is_over
    }

    /// How many messages its buffer has dropped.
    pub(super) fn dropped(&self) -> u64 {
        let subscription = self.subscription.lock();
        subscription.as_ref().map_or(0, BrokerSubscription::dropped)
    }

    /// Lets the task subscribe again, if the broker has ended the subscription. The news of its end
    /// may come when the task has seen it and has a new one, or come twice.
    pub(super) fn fail_if_ended(&self) {
        if self.is_ended() {
            self.failed.notify_one();
        }
    }

    /// Forgets the news of an end that the task has seen by itself. Only the task calls it, while
    /// there is no subscription.
    fn forget_failure(&self) {
        let _ = self.failed.notified().now_or_never();
    }

    pub(super) fn end_subscription(&self) {
        self.is_live.send_replace(false);
        // What had been handled of it says nothing about the next one.
        if let Some(hole) = &mut *self.hole.lock() {
            hole.behind = 0;
        }
        if let Some(subscription) = self.subscription.lock().take() {
            subscription.cancel_soon();
            subscription.detach();
        }
    }
}

impl Route {
    /// Subscribes on a task of the nodes' runtime, again and again if need be. `closing` ends that.
    pub(super) fn open(
        nodes: &Arc<Nodes>,
        key: String,
        channel: Option<Arc<str>>,
        closing: CancellationToken,
    ) -> Self {
        let link = Arc::new(Link::new(key, channel, closing));
        let route = Self::hold(&link);
        nodes.runtime().spawn(keep(Arc::clone(nodes), link));
        route
    }

    /// Holds a link that others may hold. The caller holds the lock of the routes.
    pub(super) fn hold(link: &Arc<Link>) -> Self {
        link.holders.fetch_add(1, Ordering::SeqCst);
        Self {
            link: Arc::clone(link),
        }
    }
}

/// Why a subscription is over.
#[derive(PartialEq, Eq)]
enum Over {
    /// Nothing held the link.
    Left,
    /// It was refused, or the broker ended it.
    Failed,
    /// The node is closing.
    Closing,
}

async fn keep(nodes: Arc<Nodes>, link: Arc<Link>) {
    let mut wait = FIRST_WAIT;
    while !link.closing.is_cancelled() && !nodes.forget(&link) {
        let over = hear(&nodes, &link, &mut wait).await;
        if over == Over::Failed && rest_after(&nodes, &link, &mut wait).await {
            return;
        }
    }
}

/// Waits before the next attempt to subscribe. Returns whether the link was forgotten meanwhile. A
/// link that is left and held again at once waits on.
async fn rest_after(nodes: &Nodes, link: &Link, wait: &mut Duration) -> bool {
    let mut rest = pin!(tokio::time::sleep(*wait));
    loop {
        tokio::select! {
            () = link.left() => if nodes.forget(link) {
                return true;
            },
            () = link.closing.cancelled() => return false,
            () = &mut rest => {
                *wait = LONGEST_WAIT.min(*wait * 2);
                return false;
            }
        }
    }
}

/// Subscribes, and returns when the subscription is over.
async fn hear(nodes: &Arc<Nodes>, link: &Arc<Link>, wait: &mut Duration) -> Over {
    link.forget_failure();
    let gate = Arc::new(Gate::default());
    let request = Subscribe::new(link.key.as_str(), nodes.handler(link, Arc::clone(&gate)));
    let request = request.options(nodes.subscribe_options());
    // Not cancelled midway: the broker would keep a subscription that is never ended.
    match nodes.broker().subscribe_async(request).await {
        Ok(subscription) => *link.subscription.lock() = Some(subscription),
        Err(error) => {
            let reason = shown_error(&error.to_string());
            let channel = link.channel.clone();
            nodes.emit([NodeEvent::NotSubscribed { channel, reason }]);
            return Over::Failed;
        }
    }
    let mut over = become_live(nodes, link).await;
    if over.is_none() && nodes.rest(link) {
        over = Some(Over::Left);
    }
    if over.is_none() {
        *wait = FIRST_WAIT;
        // Before it counts as live, so that no client comes back to an epoch with a hole. And after
        // that, because of members that were let in meanwhile.
        tell_early(nodes, link);
        link.is_live.send_replace(true);
        tell_early(nodes, link);
    }
    let over = loop {
        if let Some(over) = over {
            break over;
        }
        over = tokio::select! {
            () = link.left() => nodes.rest(link).then_some(Over::Left),
            () = link.closing.cancelled() => Some(Over::Closing),
            () = link.failed.notified() => Some(Over::Failed),
        };
    };
    if over == Over::Failed {
        link.let_in_early();
    }
    link.end_subscription();
    // A handler that is stuck, in a recorder of metrics for example, may deliver one frame late,
    // and keeps the channel from hearing others no longer than this.
    let shut = tokio::time::timeout(LONGEST_WAIT, gate.shut());
    tokio::select! {
        _ = shut => {}
        () = link.closing.cancelled() => {}
    }
    over
}

/// Members that joined before the subscription was live have missed what was sent meanwhile.
fn tell_early(nodes: &Nodes, link: &Arc<Link>) {
    if link.was_early.swap(false, Ordering::SeqCst) {
        nodes.lost(link, None);
    }
}

/// Waits until the subscription is live. `None` if it is, and not over.
async fn become_live(nodes: &Nodes, link: &Link) -> Option<Over> {
    let mut wait = Duration::from_millis(5);
    loop {
        let ready = match &*link.subscription.lock() {
            Some(subscription) => subscription.ready(Duration::ZERO),
            None => return Some(Over::Failed),
        };
        match ready {
            Ok(()) => return None,
            Err(ReadyError::Timeout) => {}
            Err(_) => return Some(Over::Failed),
        }
        tokio::select! {
            () = link.left() => if nodes.rest(link) {
                return Some(Over::Left);
            },
            () = link.closing.cancelled() => return Some(Over::Closing),
            () = link.failed.notified() => return Some(Over::Failed),
            () = tokio::time::sleep(wait) => {}
        }
        wait = Duration::from_millis(250).min(wait * 2);
    }
}

impl Nodes {
    /// Ends the use of a link, unless something holds it again. Returns whether it did. A member
    /// that joins after that waits until the link is live again.
    fn rest(&self, link: &Link) -> bool {
        let _routes = self.routes.lock();
        let is_left = link.is_left();
        if is_left {
            link.is_live.send_replace(false);
            // Those that were let in early have left.
            link.was_early.store(false, Ordering::SeqCst);
        }
        is_left
    }

    /// Forgets a link without a subscription, unless something holds it again. Returns whether it
    /// did.
    fn forget(&self, link: &Link) -> bool {
        let mut routes = self.routes.lock();
        let is_left = link.is_left();
        if is_left && let Some(channel) = &link.channel {
            routes.remove(channel);
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_kept_while_the_link_is_held_or_live() {
        let link = Arc::new(Link::new("key".into(), None, CancellationToken::new()));
        let route = Route::hold(&link);
        link.tear();
        assert!(!link.forget_hole_if_left());
        link.is_live.send_replace(true);
        drop(route);
        assert!(!link.forget_hole_if_left());
        assert!(link.hole.lock().is_some());
        link.is_live.send_replace(false);
        assert!(link.forget_hole_if_left());
        assert!(link.hole.lock().is_none());
    }
}
