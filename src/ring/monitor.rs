//! Where all readers of a ring are.

use std::sync::Arc;

use crate::subscription::{Stats, SubscriptionId};

/// Where one reader of a ring is, for monitoring. Made by [`RingFeed::readers`](crate::RingFeed::readers).
#[derive(Debug, Clone)]
pub struct RingReaderStats {
    pub(crate) id: SubscriptionId,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) position: u64,
    pub(crate) stats: Stats,
}

impl RingReaderStats {
    /// The number of its subscription.
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// The name that its subscription was given, if any.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The position that it reads next, as senders see it: a read under way counts for each half of the ring, and when it
    /// ends.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many values were sent that it has not read, the ones that it is just reading included.
    pub fn lag(&self) -> u64 {
        // A ring knows it of each reader.
        self.stats.depth.map_or(0, |depth| depth as u64)
    }

    /// The figures of its subscription.
    pub fn stats(&self) -> Stats {
        self.stats
    }
}
