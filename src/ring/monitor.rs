//! The positions of all readers of a ring.

use std::sync::Arc;
use std::time::Duration;

use crate::subscription::{Stats, SubscriptionId};

use super::overflow::Overflow;

/// The position and the lag of one reader of a ring, for monitoring. Made by
/// [`RingFeed::readers`](crate::RingFeed::readers).
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ReaderStats {
    pub(crate) id: SubscriptionId,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) position: u64,
    pub(crate) overflow: Overflow,
    pub(crate) stats: Stats,
}

impl ReaderStats {
    /// The id of the reader's subscription.
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// The name of the reader's subscription, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The position that the reader reads next, as senders see it. A read under way advances it
    /// after each half of the ring, and when it ends.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many values were sent that the reader has not read, including those that it is reading.
    pub fn lag(&self) -> u64 {
        // A ring sets it for each reader.
        self.stats.depth.map_or(0, |depth| depth as u64)
    }

    /// What happens when the reader falls behind.
    pub fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// How many values the reader missed.
    pub fn missed(&self) -> u64 {
        self.stats.dropped
    }

    /// How long a sender has been waiting for this reader; `None` if no sender waits for it now.
    ///
    /// Senders wait for the blocking reader that is furthest behind, and only this one holds them.
    /// It is the reader that the senders, or the reader that was in their way before, last found to
    /// be in their way. The duration begins with the longest of the waits under way, or later, when
    /// the reader was found.
    pub fn blocked_now(&self) -> Option<Duration> {
        self.stats.blocked_now
    }

    /// The figures of the reader's subscription.
    pub fn stats(&self) -> Stats {
        self.stats
    }
}
