//! The subscription to one key, while it is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fanfeed_broker::{AsyncBroker, BrokerSubscription, ReadyError, Subscribe};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Nodes;
use super::events::NodeEvent;
use super::holes::Hole;
use crate::server::history::Way;

/// The waits between attempts to subscribe.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Holds a subscription. The last one to drop it ends it, without waiting.
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
    ended: CancellationToken,
}

impl Way for Route {
    fn is_whole(&self) -> bool {
        self.link.is_live() && self.link.hole.lock().is_none()
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.link.ended.cancel();
    }
}

impl Link {
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

    /// Whether the subscription is in use no longer.
    pub(super) fn is_left(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// How many messages its buffer has dropped.
    pub(super) fn dropped(&self) -> u64 {
        let subscription = self.subscription.lock();
        subscription.as_ref().map_or(0, BrokerSubscription::dropped)
    }

    /// The server has ended the subscription.
    pub(super) fn fail(&self) {
        self.failed.notify_one();
    }

    fn end_subscription(&self) {
        self.is_live.send_replace(false);
        // What had been handled of it says nothing about the next one.
        if let Some(hole) = &mut *self.hole.lock() {
            hole.behind = 0;
        }
        self.let_in_early();
        if let Some(subscription) = self.subscription.lock().take() {
            subscription.cancel_soon();
            subscription.detach();
        }
    }
}

impl Route {
    /// Subscribes on a task of the nodes' runtime, again and again if need be.
    pub(super) fn open(nodes: &Arc<Nodes>, key: String, channel: Option<Arc<str>>) -> Self {
        let link = Arc::new(Link {
            key,
            channel,
            subscription: Mutex::new(None),
            is_live: watch::Sender::new(false),
            was_early: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            hole: Mutex::new(None),
            failed: Notify::new(),
            ended: CancellationToken::new(),
        });
        let (nodes, kept) = (Arc::clone(nodes), Arc::clone(&link));
        nodes.runtime().spawn(keep(Arc::clone(&nodes), kept));
        Self { link }
    }
}

async fn keep(nodes: Arc<Nodes>, link: Arc<Link>) {
    let mut wait = FIRST_WAIT;
    while !link.ended.is_cancelled() && !nodes.closing.is_cancelled() {
        let request = Subscribe::new(link.key.as_str(), nodes.handler(&link));
        let request = request.options(nodes.subscribe_options());
        // Not cancelled midway: the broker would keep a subscription that is never ended.
        match nodes.broker().subscribe_async(request).await {
            Ok(subscription) => {
                *link.subscription.lock() = Some(subscription);
                if become_live(&nodes, &link).await {
                    wait = FIRST_WAIT;
                    // Before it counts as live, so that no client comes back to an epoch with a
                    // hole. And after that, because of members that were let in meanwhile.
                    tell_early(&nodes, &link);
                    link.is_live.send_replace(true);
                    tell_early(&nodes, &link);
                    tokio::select! {
                        () = link.ended.cancelled() => {}
                        () = nodes.closing.cancelled() => {}
                        () = link.failed.notified() => {}
                    }
                }
                link.end_subscription();
            }
            Err(error) => {
                let reason = error.to_string().into();
                let channel = link.channel.clone();
                nodes.emit([NodeEvent::NotSubscribed { channel, reason }]);
            }
        }
        tokio::select! {
            () = link.ended.cancelled() => {}
            () = nodes.closing.cancelled() => {}
            () = tokio::time::sleep(wait) => wait = LONGEST_WAIT.min(wait * 2),
        }
    }
}

/// Members that joined before the subscription was live have missed what was sent meanwhile.
fn tell_early(nodes: &Nodes, link: &Arc<Link>) {
    if link.was_early.swap(false, Ordering::SeqCst) {
        nodes.lost(link, None);
    }
}

/// Waits until the subscription is live. Returns whether it is, and not ended.
async fn become_live(nodes: &Nodes, link: &Link) -> bool {
    let mut wait = Duration::from_millis(5);
    loop {
        let ready = match &*link.subscription.lock() {
            Some(subscription) => subscription.ready(Duration::ZERO),
            None => return false,
        };
        match ready {
            Ok(()) => return true,
            Err(ReadyError::Timeout) => {}
            Err(_) => return false,
        }
        tokio::select! {
            () = link.ended.cancelled() => return false,
            () = nodes.closing.cancelled() => return false,
            () = link.failed.notified() => return false,
            () = tokio::time::sleep(wait) => {}
        }
        wait = Duration::from_millis(250).min(wait * 2);
    }
}
