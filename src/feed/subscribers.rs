//! What is subscribed to a feed.

use std::sync::Arc;

use crate::overflow::Overflow;
use crate::subscription::{Stats, SubscriptionId};

/// The options and figures of one subscriber of a feed. Listed by
/// [`Feed::subscriptions`](crate::Feed::subscriptions).
///
/// There is no high-water mark of [`depth`](Stats::depth): to keep one, each send would have to
/// read how far the receiver is, which takes a cache line from the core that receives. Sample
/// `depth` instead. A subscriber was full at least once if [`blocked`](Stats::blocked) or
/// [`dropped`](Stats::dropped) is not 0.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SubscriberStats {
    /// The id of the subscription.
    pub id: SubscriptionId,
    /// The name of the subscription, if it has one.
    pub name: Option<Arc<str>>,
    /// What happens to a value for which the subscriber has no room; `None` for a closure, which
    /// always has room.
    pub overflow: Option<Overflow>,
    /// The most values that the channel holds, if it is bounded and can tell.
    pub capacity: Option<usize>,
    /// The figures of the subscription: the values in its channel now, how many it missed, how
    /// often and how long it has blocked sends, and whether it blocks one now.
    pub stats: Stats,
}
