//! Subscribing with options.

use std::any::Any;
use std::sync::Arc;

use super::event::Event;
use super::registry::Registry;
use super::types::TypeSet;
use crate::carrier::Carrier;
use crate::error::CapacityError;
use crate::feed::{DEFAULT_CAPACITY, Receiver, joint_channel};
use crate::subscription::Subscription;
use crate::traits::{debug_struct, unwind_safe};

/// Options of a new subscription, from [`TypeMux::subscriber`](crate::TypeMux::subscriber).
///
/// ```
/// # #![allow(deprecated)]
/// use crossbeam_channel::{bounded, select};
/// use fanfeed::TypeMux;
///
/// let mux = TypeMux::new();
/// let (tx, numbers) = bounded(8);
/// let subscription = mux.subscriber::<(u32, u64)>().name("numbers").subscribe(tx);
/// let ended = subscription.err();
/// mux.post(7u64).unwrap();
///
/// select! {
///     recv(numbers) -> event => assert_eq!(event?.downcast_ref(), Some(&7u64)),
///     recv(ended) -> _ => unreachable!("it goes on"),
/// }
/// # Ok::<(), crossbeam_channel::RecvError>(())
/// ```
#[derive(Clone)]
#[must_use = "options do nothing until `channel` or `subscribe` is called"]
pub struct SubscriberBuilder<'m> {
    registry: &'m Registry,
    types: TypeSet,
    name: Option<Arc<str>>,
    capacity: usize,
}

// Plain options, and the mux, which is unwind-safe.
unwind_safe!(SubscriberBuilder<'_>);

impl<'m> SubscriberBuilder<'m> {
    pub(super) fn new(registry: &'m Registry, types: TypeSet) -> Self {
        Self {
            registry,
            types,
            name: None,
            capacity: DEFAULT_CAPACITY,
        }
    }

    /// Adds a type of events. Use it for more than twelve types, or if the types are generic.
    ///
    /// # Panics
    ///
    /// If the type is already listed.
    #[track_caller]
    pub fn and<E: Any + Send + Sync>(mut self) -> Self {
        self.types.add::<E>();
        self
    }

    /// Names the subscription.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets how many events the mux's own channel holds, at least 1; the default is 1,024. It has
    /// no effect on a channel that the caller brings along.
    ///
    /// With 1, a post returns once all events before it have been received. The memory of the
    /// channel, some 40 bytes for each event, is allocated when it is made.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Subscribes a channel of the mux's own.
    ///
    /// If the mux was stopped, the subscription has ended already.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or more than 2^30.
    pub fn channel(self) -> Result<Receiver<Event>, CapacityError> {
        joint_channel(self.capacity, |sender| self.subscribe(sender))
    }

    /// Subscribes a channel that the caller brings along, such as a crossbeam channel, whose
    /// receiver can be used in a `select!`.
    ///
    /// Each type gets a clone of the carrier. All clones are dropped when the subscription ends,
    /// which ends the channel. If a channel's receiver is gone, the next event posted to it finds
    /// that out. A crossbeam channel of capacity 0 blocks a post until the event has been received,
    /// as go-ethereum's does.
    ///
    /// If the mux was stopped, the subscription has ended already, and the carrier has been
    /// dropped.
    pub fn subscribe<C: Carrier<Event> + Clone + 'static>(self, carrier: C) -> Subscription {
        self.registry.subscribe(&self.types, self.name, carrier)
    }
}

debug_struct!(SubscriberBuilder<'_>, |this| SubscriberBuilder {
    types: this.types.names().collect::<Vec<_>>(),
    name: this.name,
    capacity: this.capacity,
});
