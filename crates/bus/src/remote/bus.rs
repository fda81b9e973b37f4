//! What a bus over a broker can do besides.

use std::sync::Arc;
use std::time::Duration;

use fanfeed::Subscription;
use fanfeed_broker::Broker;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bus::EventBus;
use crate::dispatch::Dispatch;
use crate::error::BusError;
use crate::event::Event;
use crate::listener::{Context, Outcome};
use crate::register::Register;
use crate::remote::confirmed;
use crate::remote::groups::GroupOptions;
use crate::remote::options::RemoteOptions;
use crate::remote::registry::EventRegistry;

/// Between processes, with the feature `broker`.
impl EventBus {
    /// A bus over a broker, with the default options. See [`RemoteOptions`] for others.
    ///
    /// Local listeners get the typed event at once. Other buses over the same broker get it in an
    /// envelope, as JSON, if its type is [registered](Self::register_type).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use fanfeed_broker::MemoryBroker;
    /// use fanfeed_bus::{Context, Event, EventBus};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct OrderPlaced {
    ///     order: u64,
    /// }
    /// impl Event for OrderPlaced {
    ///     const NAME: &'static str = "order.placed";
    /// }
    ///
    /// // Each process has its own broker, for instance of `redis://..`.
    /// let broker = Arc::new(MemoryBroker::new());
    /// let (orders, mail) = (EventBus::over(broker.clone()), EventBus::over(broker));
    /// orders.register_type::<OrderPlaced>()?;
    /// mail.register_type::<OrderPlaced>()?;
    ///
    /// let (tx, rx) = crossbeam_channel::unbounded();
    /// let _listener = mail.register(move |event: &OrderPlaced, _: &Context| Ok(tx.send(event.order)?))?;
    /// orders.dispatch(OrderPlaced { order: 42 });
    /// assert_eq!(rx.recv()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # What may block
    ///
    /// Registering a listener waits until the broker has subscribed to its name. Dispatching waits
    /// for the broker only if it has no room, after the listeners have been called, and at most for
    /// [`RemoteOptions::patience`]: where nothing may block, set that to zero. With the feature
    /// `tokio`, `register_with_async` and `register_type_as_async` wait without the thread.
    ///
    /// # A broker that others use too
    ///
    /// [`close`](Self::close) does not close the broker. Close the broker after the bus: only that
    /// waits until the server knows that the subscriptions have ended, and has the last
    /// acknowledgements of groups.
    ///
    /// `close` flushes the broker, and a flush counts the failures of all publishers of the broker,
    /// each of them once. So `close` may return [`NotPublished`](BusError::NotPublished) for a
    /// message of another publisher, or for one whose failure was reported before. Another
    /// publisher that flushes later does not get these failures again. The failures of this bus
    /// are in its [`errors`](Self::errors) and on its dispatches.
    pub fn over(broker: Arc<dyn Broker>) -> Self {
        RemoteOptions::new().over(broker)
    }

    /// The broker, for its [`health`](Broker::health), its counters and its limits. `None` if the
    /// bus is in memory.
    pub fn broker(&self) -> Option<&Arc<dyn Broker>> {
        self.shared().outlet().map(|outlet| &outlet.broker)
    }

    /// The types that this bus exchanges with other processes. `None` if it is in memory.
    pub fn registry(&self) -> Option<EventRegistry> {
        self.shared().outlet().map(|outlet| outlet.registry.clone())
    }

    /// Registers a type of events that this bus exchanges with other processes, under its
    /// [name](Event::NAME). Before its listeners: see [`EventRegistry`].
    ///
    /// # Errors
    ///
    /// [`NoBroker`](BusError::NoBroker) if the bus is in memory. Otherwise as
    /// [`EventRegistry::register_as`].
    pub fn register_type<E: Event + Serialize + DeserializeOwned>(&self) -> Result<(), BusError> {
        self.register_type_as::<E>(E::NAME)
    }

    /// Registers a type under another name, such as one with a version. A type that is registered
    /// twice is dispatched under the last name.
    ///
    /// # Errors
    ///
    /// As [`register_type`](Self::register_type).
    pub fn register_type_as<E: Event + Serialize + DeserializeOwned>(
        &self,
        name: impl Into<Arc<str>>,
    ) -> Result<(), BusError> {
        match self.registry() {
            Some(registry) => registry.register_as::<E>(name),
            None => Err(BusError::NoBroker),
        }
    }

    /// Dispatches an event, and waits up to `timeout` until the server has it. Then it calls the
    /// local listeners, as [`dispatch`](Self::dispatch) does.
    ///
    /// This is for an event that must not be lost in the queue of the process: a listener of a
    /// group that returns `Ok` after it knows that what it has dispatched is on the server. If the
    /// server refuses the event after the timeout, the broker reports that too: the bus emits a
    /// `BusEvent::Broker`, and the next flush of the broker counts it.
    ///
    /// # Errors
    ///
    /// No local listener is called then, and the error stands on the bus too.
    /// [`NotPublished`](BusError::NotPublished) if the server refused the event, or has not
    /// confirmed it in time: then other processes may get it all the same.
    /// [`NotRegistered`](BusError::NotRegistered), [`Encode`](BusError::Encode) and
    /// [`TooLarge`](BusError::TooLarge) as they stand on a dispatch, [`Closed`](BusError::Closed),
    /// and [`NoBroker`](BusError::NoBroker) if the bus is in memory.
    pub fn dispatch_confirmed<E: Event>(
        &self,
        event: E,
        timeout: Duration,
    ) -> Result<Dispatch, BusError> {
        confirmed::dispatch(self.shared(), event, timeout)
    }

    /// Registers a listener that is called in one process of a group: each event goes to one of the
    /// group's listeners, wherever it was dispatched. The event comes through the broker only, so
    /// [`Dispatch`](crate::Dispatch) does not wait for it, and it is delivered as the broker
    /// promises for groups: at least once over Redis Streams, JetStream and Kafka, at most once in
    /// memory and over NATS core.
    ///
    /// # Failures
    ///
    /// If the listener fails, panics or overruns, it gets the event again, after waits of up to 5
    /// s; meanwhile the member handles no other. After ten attempts the group gives the event up:
    /// `BusEvent::Broker` with `GaveUp`, and the driver's page says whether the server keeps it
    /// elsewhere. [`GroupOptions`] has other numbers. An overrun counts as a failure even if the
    /// listener returns `Ok` in the end. An event that the process cannot read (an envelope of a
    /// later version, a payload that does not fit) is reported and given up at once, for the whole
    /// group: so update all members before other processes dispatch events that only new members
    /// can read.
    ///
    /// A member whose bus closes, or whose listener is unregistered, hands on what it had not
    /// begun. That counts as no attempt. (A server that counts deliveries counts it. Therefore a
    /// member tries an event that comes with a count twice at least before the group gives it up.)
    ///
    /// # Errors
    ///
    /// [`NoBroker`](BusError::NoBroker) if the bus is in memory.
    /// [`NotSubscribed`](BusError::NotSubscribed) if the broker has no groups, and if no type is
    /// registered for the name yet: the member could read no event, and would give up those that
    /// wait for the group. Otherwise as [`register`](Self::register).
    pub fn listen_group<E, F>(
        &self,
        group: impl Into<Arc<str>>,
        listener: F,
    ) -> Result<Subscription, BusError>
    where
        E: Event,
        F: Fn(&E, &Context<'_>) -> Outcome + Send + Sync + 'static,
    {
        self.register_with(Register::event(listener).group(group))
    }
}

impl Register {
    /// Makes the listener a member of a group: see [`EventBus::listen_group`].
    pub fn group(self, group: impl Into<Arc<str>>) -> Self {
        self.group_with(group, GroupOptions::new())
    }

    /// Makes the listener a member of a group, with options.
    pub fn group_with(mut self, group: impl Into<Arc<str>>, options: GroupOptions) -> Self {
        self.group = Some((group.into(), options));
        self
    }
}
