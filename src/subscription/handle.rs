//! A handle of a subscription that does not own it.

use std::sync::{Arc, Weak};

use crate::traits::{debug_struct, unwind_safe};

use super::source::{SourceRef, SubscriptionSource};
use super::state::SubscriptionId;
use super::stats::Stats;

/// A handle of a [`Subscription`](super::Subscription) that does not own it. Made by
/// [`Subscription::handle`](super::Subscription::handle).
///
/// It does not keep the subscription alive, and dropping it does not end the subscription. A list
/// of such handles can show what is subscribed, and end what should not be. Clones are handles of
/// the same subscription.
///
/// A subscription lasts as long as something owns it: its [`Subscription`](super::Subscription),
/// its receiver, or, once it is [detached](super::Subscription::detach), its feed or producer.
///
/// ```
/// let feed = fanfeed::Feed::new();
/// let mut receiver = feed.subscriber().name("screen").channel()?;
/// let handle = receiver.subscription().handle();
/// feed.send("hello");
/// assert_eq!(handle.stats().unwrap().depth, Some(1));
///
/// handle.unsubscribe();
/// assert!(handle.is_closed());
/// assert_eq!(receiver.recv(), Ok("hello"));
/// assert!(receiver.recv().is_err());
/// # Ok::<(), fanfeed::CapacityError>(())
/// ```
#[derive(Clone)]
pub struct SubscriptionHandle {
    id: SubscriptionId,
    name: Option<Arc<str>>,
    source: Weak<dyn SubscriptionSource>,
}

// As for `Subscription`.
unwind_safe!(SubscriptionHandle);

impl SubscriptionHandle {
    pub(super) fn new(source: &SourceRef) -> Self {
        let state = source.state();
        Self {
            id: state.id(),
            name: state.shared_name().cloned(),
            source: source.downgrade(),
        }
    }

    fn source(&self) -> Option<SourceRef> {
        self.source.upgrade().map(SourceRef::new)
    }

    /// The id of the subscription, unique in this process. It stays the same after the end.
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// The name of the subscription, if it has one. It stays the same after the end.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The figures of the subscription, as from [`Subscription::stats`](super::Subscription::stats).
    /// `None` if the subscription has ended and no owner is left.
    pub fn stats(&self) -> Option<Stats> {
        self.source().map(|source| source.stats())
    }

    /// Ends the subscription, as [`Subscription::unsubscribe`](super::Subscription::unsubscribe)
    /// does, and waits in the same way. Has no effect if the subscription has ended and no owner is
    /// left.
    pub fn unsubscribe(&self) {
        if let Some(source) = self.source() {
            source.cancel();
        }
    }

    /// Whether the subscription has ended. Once true, it stays true.
    pub fn is_closed(&self) -> bool {
        self.source().is_none_or(|source| source.state().is_ended())
    }
}

debug_struct!(SubscriptionHandle, |this| SubscriptionHandle {
    id: this.id,
    name: this.name(),
    closed: this.is_closed(),
});
