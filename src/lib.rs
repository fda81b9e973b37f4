//! Lock-free channel feeds.

// Floor 0
#[cfg(not(fanfeed_loom))]
mod sync;
#[cfg(fanfeed_loom)]
#[doc(hidden)]
pub mod sync;
// Floor 1
mod error;
mod overflow;
mod wait;
// Floor 2
mod subscription;
// Floor 3
mod feed;
mod publish;

pub use error::{
    CapacityError, RecvError, RecvTimeoutError, SubscriptionError, TryRecvError, TrySendError,
};
pub use feed::{
    Carrier, Cause, Feed, IntoIter, Iter, Missed, OverflowPolicy, Receiver, Room,
    SubscriberBuilder, TryIter, Undelivered, WeakFeed,
};
pub use overflow::{CarrierOverflow, Overflow};
pub use publish::Publish;
pub use subscription::{Closed, Stats, Subscription, SubscriptionId};
