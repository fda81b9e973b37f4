//! The bus.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use fanfeed::{Receiver, Subscription};

use crate::core::{Shared, call};
use crate::dispatch::{Dispatch, deadline};
use crate::error::{BusError, EventError};
use crate::event::{AnyEvent, Event};
use crate::listener::{Context, Outcome};
use crate::observer::BusEvent;
use crate::options::BusOptions;
use crate::register::Register;

/// An event bus. Clones are handles of one bus.
///
/// ```
/// use fanfeed_bus::{Context, Event, EventBus};
///
/// struct OrderPlaced {
///     order: u64,
/// }
/// impl Event for OrderPlaced {
///     const NAME: &'static str = "order.placed";
/// }
///
/// let bus = EventBus::new();
/// let (tx, rx) = crossbeam_channel::unbounded();
/// let mail = bus.register(move |event: &OrderPlaced, _: &Context| Ok(tx.send(event.order)?))?;
/// bus.dispatch(OrderPlaced { order: 42 });
/// assert_eq!(rx.recv()?, 42);
/// mail.unsubscribe();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # The end
///
/// [`close`](Self::close) ends a bus. When its last handle is dropped instead, the asynchronous
/// listeners finish what was dispatched, and then the subscriptions end. A listener that owns a
/// handle keeps the bus alive until it is unregistered or the bus is closed: use [`Context::bus`],
/// or a [`WeakEventBus`].
///
/// A bus from a configuration closes its connection when its last handle is dropped, without
/// waiting: events that were dispatched a moment ago may then not reach the server, and nothing
/// reports that. So [`close`](Self::close) it.
#[derive(Clone)]
pub struct EventBus {
    shared: Arc<Shared>,
}

impl EventBus {
    /// A bus in memory with the default options. See [`BusOptions`] for others.
    pub fn new() -> Self {
        BusOptions::new().build()
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    #[cfg(feature = "broker")]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Registers a closure for events of one type. It is called on the thread that dispatches,
    /// after the listeners that were registered before it.
    ///
    /// # Unregistering
    ///
    /// The subscription ends with [`unsubscribe`](Subscription::unsubscribe), or when it is
    /// dropped. When that returns, the listener is not running on another thread and is never
    /// called again: it waits for calls under way, whose tokens are cancelled. Inside a listener,
    /// of any bus, it does not wait. The last thread that was dispatching drops the closure. Its
    /// [`stats`](Subscription::stats) stay at zero; the feature `metrics` counts.
    ///
    /// # Errors
    ///
    /// [`Closed`](BusError::Closed), and [`BadName`](BusError::BadName) if the name of the event is
    /// empty.
    pub fn register<E, F>(&self, listener: F) -> Result<Subscription, BusError>
    where
        E: Event,
        F: Fn(&E, &Context<'_>) -> Outcome + Send + Sync + 'static,
    {
        self.register_with(Register::event(listener))
    }

    /// Registers a closure for all events.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    pub fn register_all<F>(&self, listener: F) -> Result<Subscription, BusError>
    where
        F: Fn(&dyn AnyEvent, &Context<'_>) -> Outcome + Send + Sync + 'static,
    {
        self.register_with(Register::all(listener))
    }

    /// Registers a closure for the events of a name that is chosen at run time.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    pub fn register_named<F>(
        &self,
        name: impl Into<Arc<str>>,
        listener: F,
    ) -> Result<Subscription, BusError>
    where
        F: Fn(&dyn AnyEvent, &Context<'_>) -> Outcome + Send + Sync + 'static,
    {
        self.register_with(Register::named(name, listener))
    }

    /// Registers a closure for the next event of one type. It gets exactly one, and is then
    /// unregistered.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    pub fn register_once<E, F>(&self, listener: F) -> Result<Subscription, BusError>
    where
        E: Event,
        F: Fn(&E, &Context<'_>) -> Outcome + Send + Sync + 'static,
    {
        self.register_with(Register::event(listener).once())
    }

    /// Registers a listener with options.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    pub fn register_with(&self, register: Register) -> Result<Subscription, BusError> {
        let source = self.shared.register(register)?;
        Ok(Subscription::from_source(source))
    }

    /// Unregisters the listeners that were registered for this name, by type or by name. Those for
    /// all events stay. Returns how many there were. Calling it again is harmless.
    ///
    /// It waits for running calls: see "Unregistering" at [`register`](Self::register).
    pub fn unregister_all(&self, name: &str) -> usize {
        self.shared.unregister_all(name)
    }

    /// Dispatches an event to the listeners that are registered for it.
    ///
    /// The synchronous listeners have returned when this does. The [`Dispatch`] says when the
    /// others have, and what went wrong. It may be dropped.
    ///
    /// A bus that is closed delivers nothing: [`Closed`](BusError::Closed) stands on the dispatch
    /// and on the bus. While [`close`](Self::close) waits, only the listeners that it waits for can
    /// dispatch.
    ///
    /// Over a broker it may block, if the broker's queue has no room: for at most
    /// `RemoteOptions::patience`, after the listeners have been called. Where nothing may block,
    /// set that to zero.
    ///
    /// In memory, without asynchronous listeners and errors this takes no lock and allocates
    /// nothing, unless a listener has a timeout, asks for its token or is registered with `once`.
    #[inline]
    pub fn dispatch<E: Event>(&self, event: E) -> Dispatch {
        call::dispatch(&self.shared, event)
    }

    /// Waits until everything that was dispatched before is done, and everything that its listeners
    /// dispatched in turn. What other threads dispatch later is not waited for.
    ///
    /// If a thread of a bus waits here, another thread takes its place.
    ///
    /// # Errors
    ///
    /// [`WouldDeadlock`](BusError::WouldDeadlock) inside a listener of this bus, or inside one of
    /// another bus that listeners of this one wait for. `wait` blocks forever on the only thread of
    /// a tokio runtime while async listeners on that runtime are under way: use `wait_async` there.
    /// The same is true of [`close`](Self::close) and `close_async`.
    pub fn wait(&self) -> Result<(), BusError> {
        self.shared.wait(None)
    }

    /// Waits up to `timeout`, as [`wait`](Self::wait) does.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and [`Timeout`](BusError::Timeout).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), BusError> {
        self.shared.wait(Some(deadline(timeout)))
    }

    /// The latest errors, the oldest first. How many it keeps is an [option](BusOptions::errors).
    pub fn errors(&self) -> Vec<EventError> {
        self.shared.errors.all()
    }

    /// How many errors were dropped to make room for later ones, since the last
    /// [`clear_errors`](Self::clear_errors).
    pub fn errors_dropped(&self) -> u64 {
        self.shared.errors.dropped()
    }

    /// Forgets the errors, and how many were dropped.
    pub fn clear_errors(&self) {
        self.shared.errors.clear();
    }

    /// How many dispatches have asynchronous listeners that have not returned. If it grows, the
    /// listeners are too slow. The queue is not bounded.
    pub fn pending(&self) -> usize {
        self.shared.pending()
    }

    /// Subscribes to what happens on the bus from now on. A receiver that is not read loses the
    /// oldest events, and learns how many.
    pub fn events(&self) -> Receiver<BusEvent> {
        self.shared.observers.receiver()
    }

    /// Closes the bus: refuses events and listeners, and waits until everything that was dispatched
    /// is done, and everything that its listeners dispatch in turn. Then all subscriptions end.
    /// It may be called again, and from several threads.
    ///
    /// # Errors
    ///
    /// [`WouldDeadlock`](BusError::WouldDeadlock) where [`wait`](Self::wait) gives it. After that
    /// the bus refuses events and listeners, and takes nothing from other processes. Its listeners
    /// end when `close` is called outside of the listener, or when its last handle is dropped.
    ///
    /// Over a broker also `NotPublished`, if events could not be published. `close` waits for the
    /// listeners as long as they take, and then at most 5 s for the server. It gives up the events
    /// that the server does not have by then: use [`close_timeout`](Self::close_timeout) if a
    /// server may be away for longer. See `EventBus::over` for a broker with several users.
    pub fn close(&self) -> Result<(), BusError> {
        self.shared.close(None)
    }

    /// Closes the bus, and waits up to `timeout`. Then the tokens of the listeners that still run
    /// are cancelled, the futures of async listeners are dropped, and what no listener has begun is
    /// given up: [`Cancelled`](BusError::Cancelled) on its dispatch and on the bus.
    ///
    /// # Errors
    ///
    /// As [`close`](Self::close), and [`CloseTimeout`](BusError::CloseTimeout) if not everything
    /// was done by then.
    ///
    /// The call may take longer than `timeout`: it waits up to a second for a slow logger, and
    /// destructors of values that it drops run on the calling thread. Over a broker, if listeners
    /// use up the time, the broker's queue gets 250 ms more.
    pub fn close_timeout(&self, timeout: Duration) -> Result<(), BusError> {
        self.shared.close(Some(deadline(timeout)))
    }

    /// [`unregister_all`](Self::unregister_all) for async code, with the feature `tokio`. It waits
    /// on a thread of its own; inside a listener it does not wait. It begins when it is first
    /// polled, and goes on if it is dropped after that.
    #[cfg(feature = "tokio")]
    pub fn unregister_all_async(&self, name: &str) -> impl Future<Output = usize> + Send + use<> {
        crate::twins::unregister_all(&self.shared, name.to_owned())
    }

    /// [`wait`](Self::wait) without a thread, with the feature `tokio`. It begins when it is first
    /// polled. To give up after some time, drop it:
    /// `tokio::time::timeout(timeout, bus.wait_async())`.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    #[cfg(feature = "tokio")]
    pub fn wait_async(&self) -> impl Future<Output = Result<(), BusError>> + Send + use<> {
        crate::twins::wait(&self.shared)
    }

    /// [`close`](Self::close) for async code, with the feature `tokio`: the thread that polls it
    /// goes on to run async listeners. It begins when it is first polled. If the future is dropped
    /// after that, the bus is closed all the same.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use std::sync::Arc;
    /// use fanfeed_bus::{Event, EventBus, Register};
    ///
    /// struct Ping;
    /// impl Event for Ping {
    ///     const NAME: &'static str = "ping";
    /// }
    ///
    /// let bus = EventBus::new();
    /// let listener = Register::async_event(|_: Arc<Ping>| async { Ok(()) });
    /// bus.register_with(listener)?.detach();
    /// bus.dispatch(Ping);
    /// bus.close_async().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`close`](Self::close).
    #[cfg(feature = "tokio")]
    pub fn close_async(&self) -> impl Future<Output = Result<(), BusError>> + Send + use<> {
        crate::twins::close(&self.shared, || None)
    }

    /// [`close_timeout`](Self::close_timeout) for async code, as
    /// [`close_async`](Self::close_async).
    ///
    /// # Errors
    ///
    /// As [`close_timeout`](Self::close_timeout).
    #[cfg(feature = "tokio")]
    pub fn close_timeout_async(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), BusError>> + Send + use<> {
        crate::twins::close(&self.shared, move || Some(deadline(timeout)))
    }

    /// Whether the bus takes events. Once false, it stays false.
    pub fn is_open(&self) -> bool {
        self.shared.is_open()
    }

    /// A handle that does not keep the bus alive.
    pub fn downgrade(&self) -> WeakEventBus {
        WeakEventBus {
            shared: Arc::downgrade(&self.shared),
        }
    }
}

impl Default for EventBus {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus")
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// A handle of a bus that does not keep it alive.
#[derive(Clone, Default)]
pub struct WeakEventBus {
    shared: Weak<Shared>,
}

impl WeakEventBus {
    /// The bus, if it is alive.
    pub fn upgrade(&self) -> Option<EventBus> {
        self.shared.upgrade().map(EventBus::of)
    }
}

impl fmt::Debug for WeakEventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakEventBus").finish_non_exhaustive()
    }
}
