//! The subscription to one key, for as long as somebody holds it.

use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::{AsyncBroker, BrokerSubscription, Subscribe};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::Nodes;
use super::events::NodeEvent;
use crate::cancel::CancelToken;

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
    failed: Notify,
    ended: CancelToken,
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
            failed: Notify::new(),
            ended: CancelToken::new(),
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
        // Not cancelled midway: the broker would have a subscription that nobody ends.
        match nodes.broker().subscribe_async(request).await {
            Ok(subscription) => {
                *link.subscription.lock() = Some(subscription);
                if become_live(&nodes, &link).await {
                    wait = FIRST_WAIT;
                    link.is_live.send_replace(true);
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
            Err(fanfeed_broker::ReadyError::Timeout) => {}
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
