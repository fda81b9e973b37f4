//! Subscribing with options.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
#[cfg(feature = "tracing")]
use std::time::Duration;

use super::core::Core;
use super::entry::{Entry, Port};
use super::queue::MAX_CAPACITY;
use super::receiver::Receiver;
use super::slots::Share;
use crate::carrier::Carrier;
use crate::error::CapacityError;
use crate::overflow::{CarrierOverflow, Overflow};
use crate::subscription::Subscription;
use crate::traits::debug_struct;

/// The capacity of an own channel if the caller sets none.
pub(crate) const DEFAULT_CAPACITY: usize = 1024;

/// Checks the capacity of an own channel.
pub(crate) fn check_capacity(capacity: usize) -> Result<(), CapacityError> {
    if (1..=MAX_CAPACITY).contains(&capacity) {
        Ok(())
    } else {
        Err(CapacityError::new(capacity, MAX_CAPACITY))
    }
}

/// The overflow policy of a builder: [`CarrierOverflow`] at first, or [`Overflow`], which only a
/// channel of the feed's own can follow.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no overflow policy of a feed's subscriber",
    label = "use `fanfeed::Overflow` or `fanfeed::CarrierOverflow`",
    note = "`fanfeed::Overflow` is for `channel()`, whose queue the feed owns",
    note = "`fanfeed::CarrierOverflow` is for `subscribe()` and `subscribe_fn()`",
    note = "`fanfeed::ring::Overflow` is for readers of a ring"
)]
pub trait OverflowPolicy: Copy + Into<Overflow> + fmt::Debug + sealed::Sealed {}

impl OverflowPolicy for Overflow {}
impl OverflowPolicy for CarrierOverflow {}

/// The overflow policy of a channel that the caller brings along: [`CarrierOverflow`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no overflow policy of a channel that the caller brings along",
    label = "use `fanfeed::CarrierOverflow`",
    note = "`fanfeed::Overflow` is for `channel()`: only the owner of a queue can drop its oldest value"
)]
pub trait CarrierPolicy: OverflowPolicy + Into<CarrierOverflow> {}

impl CarrierPolicy for CarrierOverflow {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::overflow::Overflow {}
    impl Sealed for crate::overflow::CarrierOverflow {}
}

/// Options of a new subscription, from [`Feed::subscriber`](crate::Feed::subscriber).
///
/// ```
/// use fanfeed::{Feed, Overflow, RecvError};
///
/// let feed = Feed::new();
/// let mut latest = feed.subscriber().name("latest").capacity(1).overflow(Overflow::DropOldest).channel()?;
/// for value in 1..=10 {
///     feed.send(value);
/// }
/// assert_eq!(latest.recv(), Err(RecvError::Lagged(9)));
/// assert_eq!(latest.recv(), Ok(10));
/// # Ok::<(), fanfeed::CapacityError>(())
/// ```
///
/// `DropOldest` needs a queue that the feed owns, so a channel that the caller brings along cannot
/// have it:
///
/// ```compile_fail,E0277
/// # use fanfeed::{Feed, Overflow};
/// let feed = Feed::new();
/// let (tx, rx) = crossbeam_channel::bounded::<u32>(1);
/// let _ = feed.subscriber().overflow(Overflow::DropOldest).subscribe(tx);
/// ```
///
/// It can have the other policies:
///
/// ```
/// # use fanfeed::{Feed, CarrierOverflow};
/// let feed = Feed::new();
/// let (tx, rx) = crossbeam_channel::bounded::<u32>(1);
/// let _ = feed.subscriber().overflow(CarrierOverflow::DropNewest).subscribe(tx);
/// ```
#[must_use = "options do nothing until `channel`, `subscribe` or `subscribe_fn` is called"]
pub struct SubscriberBuilder<'f, T, P = CarrierOverflow> {
    core: &'f Arc<Core<T>>,
    name: Option<Arc<str>>,
    capacity: usize,
    overflow: P,
    #[cfg(feature = "tracing")]
    warn_after: Option<Duration>,
}

// Plain options, and the feed, which is unwind-safe.
impl<T, P: UnwindSafe> UnwindSafe for SubscriberBuilder<'_, T, P> {}
impl<T, P: RefUnwindSafe> RefUnwindSafe for SubscriberBuilder<'_, T, P> {}

impl<'f, T> SubscriberBuilder<'f, T> {
    pub(crate) fn new(core: &'f Arc<Core<T>>) -> Self {
        Self {
            core,
            name: None,
            capacity: DEFAULT_CAPACITY,
            overflow: CarrierOverflow::Block,
            #[cfg(feature = "tracing")]
            warn_after: None,
        }
    }
}

impl<'f, T: Send + 'static, P: OverflowPolicy> SubscriberBuilder<'f, T, P> {
    /// Names the subscription. Errors and figures use the name.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets how many values a channel of the feed's own holds, at least 1; the default is 1,024. It
    /// has no effect on a channel that the caller brings along. The memory of the channel, a value
    /// and 8 bytes for each, is allocated when it is made.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets what happens to a value for which there is no room. By default the send waits.
    pub fn overflow<Q: OverflowPolicy>(self, overflow: Q) -> SubscriberBuilder<'f, T, Q> {
        SubscriberBuilder {
            core: self.core,
            name: self.name,
            capacity: self.capacity,
            overflow,
            #[cfg(feature = "tracing")]
            warn_after: self.warn_after,
        }
    }

    /// Sets how long a send must have been blocked by this subscriber before a `tracing` event
    /// reports it; the default is 1 s.
    ///
    /// The event has the level `WARN`, the subscription's id and name, and `blocked_for`. While the
    /// send is blocked, further events follow at pauses that double, from the threshold (at least
    /// 1 s) up to 64 s. One more event says when the send goes on. So there is no flood of events,
    /// however many sends are blocked: the pauses are for all sends that this subscriber blocks.
    /// `suppressed` counts the sends that reached the threshold since the last event, and that no
    /// event was about. Once the subscriber has blocked no send for that long for the length of a
    /// pause, the pauses are short again.
    ///
    /// A send that blocks its thread reports while it is blocked. A `send_async` reports when it is
    /// polled, and when it ends.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let feed = fanfeed::Feed::<u32>::new();
    /// let builder = feed.subscriber().name("audit");
    /// let audit = builder.warn_after(Duration::from_millis(50)).channel()?;
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    #[cfg(feature = "tracing")]
    pub fn warn_after(mut self, threshold: Duration) -> Self {
        self.warn_after = Some(threshold);
        self
    }

    /// Seats the subscription.
    fn subscribe_port(self, port: Port<T>, overflow: CarrierOverflow) -> Arc<Entry<T>> {
        let entry = self.core.subscribe(port, overflow, self.name);
        #[cfg(feature = "tracing")]
        if let Some(threshold) = self.warn_after {
            entry.blockage().set_threshold(threshold);
        }
        entry
    }

    /// Subscribes a channel of the feed's own.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or more than 2^30.
    pub fn channel(self) -> Result<Receiver<T>, CapacityError> {
        check_capacity(self.capacity)?;
        let sole = Arc::clone(self.core.records().sole());
        let share = Share::new(self.capacity, self.overflow.into(), sole);
        let entry = self.subscribe_port(Port::Own(share.clone()), CarrierOverflow::default());
        Ok(Receiver::new(share, Subscription::from_source(entry)))
    }

    /// Subscribes a channel that the caller brings along. Only [`Subscription::stats`] counts what
    /// it misses: see [`Feed::subscribe`](crate::Feed::subscribe).
    pub fn subscribe<C: Carrier<T> + 'static>(self, carrier: C) -> Subscription
    where
        P: CarrierPolicy,
    {
        let port = match Port::crossbeam(carrier) {
            Ok(port) => port,
            Err(carrier) => foreign(carrier),
        };
        let overflow = self.overflow.into();
        Subscription::from_source(self.subscribe_port(port, overflow))
    }

    /// Subscribes a closure, which is called with each value, on the thread that sends it: see
    /// [`Feed::subscribe_fn`](crate::Feed::subscribe_fn).
    pub fn subscribe_fn<F: Fn(&T) + Send + Sync + 'static>(self, f: F) -> Subscription
    where
        P: CarrierPolicy,
    {
        let port = Port::Closure(Box::new(f));
        let overflow = self.overflow.into();
        Subscription::from_source(self.subscribe_port(port, overflow))
    }
}

#[cfg(not(feature = "tokio"))]
fn foreign<T, C: Carrier<T> + 'static>(carrier: C) -> Port<T> {
    Port::Carrier(Box::new(carrier))
}

#[cfg(feature = "tokio")]
fn foreign<T: Send + 'static, C: Carrier<T> + 'static>(carrier: C) -> Port<T> {
    match super::tokio_carrier::TokioCarrier::wrap(carrier) {
        Ok(tokio) => Port::Tokio(Box::new(tokio)),
        Err(carrier) => Port::Carrier(Box::new(carrier)),
    }
}

impl<T, P: Clone> Clone for SubscriberBuilder<'_, T, P> {
    fn clone(&self) -> Self {
        Self {
            core: self.core,
            name: self.name.clone(),
            capacity: self.capacity,
            overflow: self.overflow.clone(),
            #[cfg(feature = "tracing")]
            warn_after: self.warn_after,
        }
    }
}

debug_struct!([T, P: fmt::Debug] SubscriberBuilder<'_, T, P>, |this| SubscriberBuilder {
    name: this.name,
    capacity: this.capacity,
    overflow: this.overflow,
});
