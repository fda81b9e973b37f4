//! Subscribing with options.

use std::any::Any;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use super::channel;
use super::event::TypeMuxEvent;
use super::registry::Registry;
use super::subscription::TypeMuxSubscription;
use super::types::TypeSet;
use crate::carrier::Carrier;
use crate::error::CapacityError;
use crate::subscription::Subscription;

/// How many events a channel holds for which no capacity was asked: as many as a feed's own.
const DEFAULT_CAPACITY: usize = 1024;
/// The largest capacity: that of a feed's own channel.
const MAX_CAPACITY: usize = 1 << 30;

/// Options of a subscription to be made, from [`TypeMux::subscriber`](crate::TypeMux::subscriber).
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
pub struct TypeMuxSubscriberBuilder<'m> {
    registry: &'m Registry,
    types: TypeSet,
    name: Option<Arc<str>>,
    capacity: usize,
}

// Plain options, and the mux, which says why.
impl UnwindSafe for TypeMuxSubscriberBuilder<'_> {}
impl RefUnwindSafe for TypeMuxSubscriberBuilder<'_> {}

impl<'m> TypeMuxSubscriberBuilder<'m> {
    pub(super) fn new(registry: &'m Registry, types: TypeSet) -> Self {
        Self {
            registry,
            types,
            name: None,
            capacity: DEFAULT_CAPACITY,
        }
    }

    /// Adds a type of events: for more than twelve, or where the types depend on something.
    ///
    /// # Panics
    ///
    /// If the type is among them already.
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

    /// How many events the mux's own channel holds, from 1; 1,024 if this is not called. Without
    /// meaning for a channel that is brought along.
    ///
    /// With 1, a post returns once all events before it have been received.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Subscribes a channel of the mux's own.
    ///
    /// On a mux that was stopped, it has ended.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or more than 2^30.
    pub fn channel(self) -> Result<TypeMuxSubscription, CapacityError> {
        if !(1..=MAX_CAPACITY).contains(&self.capacity) {
            return Err(CapacityError::new(self.capacity, MAX_CAPACITY));
        }
        let (sender, receiver) = channel::bounded(self.capacity);
        let subscription = self.subscribe(sender);
        Ok(TypeMuxSubscription::new(subscription, receiver))
    }

    /// Subscribes a channel that is brought along, such as a crossbeam channel, whose receiver can
    /// stand in a `select!`.
    ///
    /// Each type gets a clone of the carrier. All of them are dropped when the subscription ends,
    /// and with them ends the channel. One whose receiver is gone is found out by the next event
    /// that is posted to it. A crossbeam channel of capacity 0 holds a post until the event has
    /// been received, as go-ethereum's does.
    ///
    /// On a mux that was stopped the subscription has ended, and the carrier was dropped.
    pub fn subscribe<C: Carrier<TypeMuxEvent> + Clone + 'static>(self, carrier: C) -> Subscription {
        self.registry.subscribe(&self.types, self.name, carrier)
    }
}

impl fmt::Debug for TypeMuxSubscriberBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types: Vec<_> = self.types.names().collect();
        f.debug_struct("TypeMuxSubscriberBuilder")
            .field("types", &types)
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
