//! Lock-free channel feeds.

// Floor 0
#[cfg(not(fanfeed_loom))]
mod sync;
#[cfg(fanfeed_loom)]
#[doc(hidden)]
pub mod sync;
// Floor 1
mod backoff;
mod error;
mod overflow;
mod wait;
// Floor 2
mod resubscribe;
mod scope;
mod subscription;
// Floor 3
mod feed;
mod publish;
// Floor 4
mod mux;

pub use backoff::Backoff;
pub use error::{
    CapacityError, RecvError, RecvTimeoutError, SubscriptionError, TryRecvError, TrySendError,
};
pub use feed::{
    Carrier, Cause, Feed, IntoIter, Iter, Missed, OverflowPolicy, Receiver, Room,
    SubscriberBuilder, TryIter, Undelivered, WeakFeed,
};
#[cfg(feature = "async")]
pub use feed::{RecvAsync, SendAsync};
#[allow(deprecated)]
pub use mux::TypeMux;
pub use mux::{EventTypes, MuxClosed, TypeMuxEvent, TypeMuxSubscriberBuilder, TypeMuxSubscription};
pub use overflow::{CarrierOverflow, Overflow};
pub use publish::Publish;
pub use resubscribe::{resubscribe, resubscribe_with_error};
pub use scope::SubscriptionScope;
pub use subscription::{CancelToken, Closed, Stats, Subscription, SubscriptionId};
