//! The positions of all readers of a ring.

use std::sync::Arc;

use crate::subscription::{Stats, SubscriptionId};

/// The position and the lag of one reader of a ring, for monitoring. Made by
/// [`RingFeed::readers`](crate::RingFeed::readers).
#[derive(Debug, Clone)]
pub struct ReaderStats {
    pub(crate) id: SubscriptionId,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) position: u64,
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

    /// The figures of the reader's subscription.
    pub fn stats(&self) -> Stats {
        self.stats
    }
}
