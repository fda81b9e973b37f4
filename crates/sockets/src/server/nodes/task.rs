//! The task that tells the other nodes the members of this one, and finds out which nodes are dead.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfeed::{Receiver, RecvError};
use fanfeed_broker::{AsyncBroker, Event, MessageId};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Nodes;
use super::envelope::{What, lists};
use super::events::{NodeEvent, Presence, count};
use super::local::Pending;
use super::remote::{Effects, SWEEPS};
use super::route::{Link, Route};
use crate::observe::shown_error;

/// How long changes gather before they are published.
const GATHER: Duration = Duration::from_millis(5);
/// The size of a message about presence, in bytes: well below what all brokers take.
const PART: usize = 128 * 1024;
/// How long the end waits for the broker.
const FLUSH: Duration = Duration::from_secs(1);

/// Subscribes to the keys of the node itself. The future does the rest.
pub(super) fn begin(nodes: Arc<Nodes>) -> impl Future<Output = ()> {
    let events = nodes.broker().events();
    nodes.look();
    let own = [nodes.keys.presence(), nodes.keys.node(&nodes.id)];
    // They hear the other nodes until the last handler has ended.
    let own = own.map(|key| Route::open(&nodes, key, None, CancellationToken::new()));
    let links = own.each_ref().map(|route| Arc::clone(&route.link));
    let _ = nodes.own.set(links.clone());
    run(nodes, own, links, events)
}

async fn run(
    nodes: Arc<Nodes>,
    own: [Route; 2],
    links: [Arc<Link>; 2],
    mut events: Receiver<Event>,
) {
    let mut has_events = true;
    let mut live = pin!(async {
        for link in &links {
            link.live().await;
        }
    });
    let mut drained = pin!(nodes.drained());
    let mut hello = true;
    let interval = nodes.options.interval;
    let (mut beat_at, mut sweep_at) = (Instant::now() + interval, Instant::now());
    let mut snapshot_at = Instant::now();
    loop {
        tokio::select! {
            () = &mut drained => break,
            () = &mut live, if hello => {
                hello = false;
                nodes.beat(true);
                beat_at = Instant::now() + interval;
            }
            () = nodes.wake.notified() => sleep(GATHER).await,
            () = sleep_until(beat_at.min(sweep_at)) => {}
            event = events.recv_async(), if has_events => match event {
                Ok(Event::Connected) => {
                    nodes.look();
                    nodes.emit([NodeEvent::Connected]);
                    // Until each subscription is open again, more may be lost.
                    nodes.tear_all();
                    beat_at = Instant::now();
                }
                Ok(event) => nodes.hear(event),
                Err(RecvError::Lagged(_)) => nodes.missed_events(),
                Err(_) => {
                    has_events = false;
                    nodes.look();
                }
            },
        }
        let now = Instant::now();
        let wants_snapshot =
            now >= snapshot_at && nodes.wants_snapshot.swap(false, Ordering::Relaxed);
        if wants_snapshot {
            snapshot_at = now + interval / SWEEPS;
        }
        nodes.publish_presence(wants_snapshot);
        if now >= beat_at {
            nodes.beat(false);
            beat_at = now + interval;
        }
        if now >= sweep_at {
            nodes.sweep(now.into_std());
            sweep_at = now + interval / SWEEPS;
        }
    }
    nodes.publish_presence(false);
    nodes.publish(nodes.keys.presence(), None, What::Bye, "");
    // The others find out by themselves if it fails.
    let _ = nodes.broker().flush_async(FLUSH).await;
    // The runtime is about to end, and their tasks with it.
    for link in &links {
        link.end_subscription();
    }
    drop(own);
    nodes.closed.cancel();
}

impl Nodes {
    /// Waits until the server shuts down and no session is left whose handlers may still reply to a
    /// channel, or until the deadline of the shutdown.
    async fn drained(&self) {
        self.closing.cancelled().await;
        if let Some(core) = self.core() {
            tokio::select! {
                () = core.emptied() => {}
                () = core.killed.cancelled() => {}
            }
        }
    }

    fn beat(&self, hello: bool) {
        let what = What::Beat {
            interval: self.interval_millis(),
            version: self.local.version(),
            hello,
        };
        self.publish(self.keys.presence(), None, what, "");
    }

    fn interval_millis(&self) -> u64 {
        u64::try_from(self.options.interval.as_millis()).unwrap_or(u64::MAX)
    }

    /// Publishes the changes since the last call, and all members if a snapshot is wanted. Only the
    /// task calls it, so that the order is that of the versions.
    fn publish_presence(&self, wants_snapshot: bool) {
        let taken = self.local.take(wants_snapshot);
        if !taken.pending.is_empty() {
            let emitting = self.emitting.lock();
            self.emit(taken.pending.iter().map(|pending| self.told(pending)));
            drop(emitting);
            let mut from = taken.version - taken.pending.len() as u64;
            for (list, count) in lists(taken.pending.iter().map(Pending::change), PART) {
                let to = from + count;
                let what = What::Changes { from, to };
                self.publish(self.keys.presence(), None, what, &list);
                from = to;
            }
        }
        if let Some(members) = taken.members {
            let lists = lists(members, PART);
            let parts = lists.len();
            for (part, (list, _)) in lists.iter().enumerate() {
                let what = What::Snapshot {
                    interval: self.interval_millis(),
                    version: taken.version,
                    part,
                    parts,
                };
                self.publish(self.keys.presence(), None, what, list);
            }
        }
    }

    fn told(&self, pending: &Pending) -> NodeEvent {
        let presence = |entry: &super::envelope::Entry| Presence {
            node: Arc::clone(&self.id),
            channel: (*entry.channel).into(),
            client_id: (*entry.client).into(),
            user_id: (*entry.user).into(),
            app_id: (*entry.app).into(),
        };
        match pending {
            Pending::Join(entry) => NodeEvent::Joined(presence(entry)),
            Pending::Leave(entry) => NodeEvent::Left(presence(entry)),
        }
    }

    fn sweep(&self, now: std::time::Instant) {
        self.apply(|remote| -> Effects { remote.sweep(now) });
        self.mend(now, self.options.interval / SWEEPS);
    }

    /// Looks whether the broker has a connection. That takes the broker a while, so it is done only
    /// when this may have changed.
    pub(super) fn look(&self) {
        let is_up = self.broker().health().is_up();
        self.is_up.store(is_up, Ordering::Relaxed);
    }

    /// Notes what the broker tells.
    fn hear(&self, event: Event) {
        match event {
            Event::Disconnected { reason } => {
                self.look();
                let reason = shown_error(&reason);
                self.emit([NodeEvent::Disconnected { reason }]);
                if self.forgets() {
                    self.lost_all();
                }
            }
            Event::PublishFailed { id, error, .. } if self.is_own(&id) => {
                self.not_published(None, error.to_string());
            }
            Event::Gap {
                key,
                group: None,
                missed,
            } => {
                for link in self.links(key.as_str()) {
                    self.lost(&link, missed);
                }
            }
            Event::SubscriptionFailed {
                key,
                group: None,
                error,
            } => {
                for link in self.links(key.as_str()) {
                    let (channel, reason) = (link.channel.clone(), shown_error(&error));
                    self.emit([NodeEvent::NotSubscribed { channel, reason }]);
                    self.lost(&link, None);
                    link.fail_if_ended();
                }
            }
            Event::Undecodable { key, error, .. } if !self.links(key.as_str()).is_empty() => {
                count(&self.counters.undecodable);
                let reason = shown_error(&error);
                self.emit([NodeEvent::Undecodable { reason }]);
            }
            _ => {}
        }
    }

    fn is_own(&self, id: &MessageId) -> bool {
        let id = id.to_string();
        id.strip_prefix(&*self.id)
            .is_some_and(|rest| rest.starts_with('.'))
    }
}
