//! What was lost on the way from other nodes, and the epochs that begin because of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fanfeed_broker::Delivery;

use super::Nodes;
use super::events::{NodeEvent, count};
use super::route::Link;

/// Messages were lost, at a place among those that have arrived that is not known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) noticed: Instant,
    /// The hole is behind when this many messages have been handled.
    pub(super) behind: u64,
}

impl Nodes {
    /// Messages of a key were lost. Those of presence are repaired by the next heartbeat.
    pub(super) fn lost(&self, link: &Arc<Link>, missed: Option<u64>) {
        count(&self.counters.gaps);
        self.tear(link);
        let channel = link.channel.clone();
        self.emit([NodeEvent::Gap { channel, missed }]);
    }

    /// Begins another epoch of the channel, and one more when [`mend`](Self::mend) finds that the
    /// hole is behind.
    fn tear(&self, link: &Arc<Link>) {
        if let Some(channel) = &link.channel
            && link.tear()
        {
            self.torn.lock().push(Arc::clone(link));
            self.renew(channel);
        }
    }

    /// Begins another epoch of each channel whose hole is behind, so that positions can be told
    /// again.
    pub(super) fn mend(&self, now: Instant, rest: Duration) {
        if !self.is_up.load(Ordering::Relaxed) {
            return;
        }
        let torn = std::mem::take(&mut *self.torn.lock());
        let still = torn.into_iter().filter(|link| {
            let Some(hole) = link.hole_behind(now, rest) else {
                return !link.forget_hole_if_left();
            };
            if let Some(channel) = &link.channel {
                self.renew(channel);
            }
            !link.mend(hole)
        });
        let still: Vec<_> = still.collect();
        self.torn.lock().extend(still);
    }

    fn renew(&self, channel: &str) {
        if let Some(core) = self.core()
            && let Some(history) = core.history()
        {
            history.renew(channel);
        }
    }

    /// Messages of all channels may have been lost.
    pub(super) fn lost_all(&self) {
        count(&self.counters.gaps);
        let (channel, missed) = (None, None);
        for link in self.all_links() {
            self.tear(&link);
        }
        self.emit([NodeEvent::Gap { channel, missed }]);
    }

    /// Events of the broker were dropped. They may have told of lost messages, and of subscriptions
    /// that ended.
    pub(super) fn missed_events(&self) {
        self.look();
        self.lost_all();
        for link in self.all_links() {
            link.fail_if_ended();
        }
    }

    /// Whether what is sent while the broker's server is away is lost.
    pub(super) fn forgets(&self) -> bool {
        self.broker().capabilities().plain == Delivery::AtMostOnce
    }

    pub(super) fn tear_all(&self) {
        if self.forgets() {
            for link in self.all_links() {
                self.tear(&link);
            }
        }
    }
}
