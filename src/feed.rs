//! Floor 3: `Feed`, its carriers and its own channel.

mod alone;
mod batch;
mod blocked;
mod builder;
mod chunk;
mod claiming;
mod closures;
mod core;
mod crossbeam;
mod delivery;
mod directory;
mod entry;
mod gaps;
mod handle;
mod joint;
mod lane;
mod pending;
mod queue;
mod receiver;
mod record;
mod refusal;
mod run;
#[cfg(feature = "async")]
mod send_async;
mod shape;
#[cfg(feature = "async")]
mod sink;
mod slots;
mod sole;
#[cfg(feature = "async")]
mod stream;
mod subscribers;
mod taking;
#[cfg(feature = "tokio")]
mod tokio_carrier;
#[cfg(feature = "tokio")]
mod tokio_senders;
mod undelivered;

#[cfg(all(test, not(any(fanfeed_loom, fanfeed_shuttle))))]
#[path = "../tests/wrap/visits.rs"]
mod wrap;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::carrier::Carrier;
use crate::error::CapacityError;
use crate::publish::publish_by_methods;
use crate::subscription::{Closed, Subscription};
use crate::traits::{clone_handle, debug_struct, unwind_safe};

use self::core::Core;
use delivery::Delivery;
use handle::Handle;

pub use builder::{CarrierPolicy, OverflowPolicy, SubscriberBuilder};

pub(crate) use builder::DEFAULT_CAPACITY;
pub(crate) use joint::joint_channel;
pub use lane::ThreadSlot;
pub use receiver::Receiver;
#[cfg(feature = "async")]
pub use send_async::SendAsync;
#[cfg(feature = "async")]
pub use sink::FeedSink;
pub use subscribers::SubscriberStats;
pub use undelivered::{Cause, Missed, Undelivered};

/// Fans each value out to all subscribed channels.
///
/// A `Feed` is a cheap handle: clones share the same subscribers. It ends when the last handle is
/// dropped, or when [`close`](Self::close) is called.
///
/// # What it promises
///
/// 1. A value goes to every subscription that was made before the send began and is not cancelled
///    before its turn.
/// 2. Values of one sending thread reach each subscriber in the order sent. Values of several
///    threads interleave in any order, and differently for each subscriber.
/// 3. A full subscriber keeps the send waiting, but never another subscriber. A send first serves
///    all subscribers that have room, then the rest as they make room.
/// 4. When [`Subscription::unsubscribe`] returns, no thread puts anything more on that channel.
/// 5. A subscription ends by itself when its receiver is gone.
/// 6. A channel that is subscribed k times gets k copies; each subscription is cancelled
///    separately.
/// 7. A send takes no lock and allocates nothing while no subscriber is full and no subscriber is
///    gone. The exception is the first send of a thread on a feed, which allocates a record of 128
///    bytes. To wake a receiver that sleeps, the send takes the lock of the receiver's waker for
///    some instructions.
/// 8. A subscription fails at most once, and [`Subscription::err`] says why.
/// 9. n subscribers cost at most n - 1 clones.
/// 10. A panic in a value's `clone` is resumed after all other subscribers are served; the
///     subscriber that the clone was for has missed the value. A panic in the `drop` of a value
///     that another value pushed out is resumed in the same way, and does not count as a missed
///     value. A panic in a carrier ends its own subscription and goes no further. A panic in a
///     receiver's waker goes no further either.
///
/// # Examples
///
/// ```
/// use fanfeed::Feed;
///
/// let feed = Feed::new();
/// let (tx, rx) = crossbeam_channel::unbounded();
/// let _subscription = feed.subscribe(tx);
/// let mut receiver = feed.channel(16)?;
///
/// assert_eq!(feed.send("hello"), 2);
/// assert_eq!(rx.recv(), Ok("hello"));
/// assert_eq!(receiver.recv(), Ok("hello"));
/// # Ok::<(), fanfeed::CapacityError>(())
/// ```
pub struct Feed<T> {
    core: Arc<Core<T>>,
    handle: Arc<Handle<T>>,
}

// Whatever panics in a send (a clone, a drop, a carrier or a waker), the state that the handles
// share is as the documentation says (promise 10). No other thread finds it half changed.
unwind_safe!([T] Feed<T>);

impl<T> Feed<T> {
    /// Creates a feed without subscribers.
    pub fn new() -> Self {
        let core = Arc::new(Core::new());
        Self {
            handle: Arc::new(Handle::new(Arc::clone(&core))),
            core,
        }
    }

    /// The number of subscriptions that have not ended. It may change at any time while other
    /// threads subscribe and unsubscribe.
    pub fn subscriber_count(&self) -> usize {
        self.core.count()
    }

    /// Ends the feed. All its subscriptions end without an error, blocked sends return, and values
    /// sent from now on reach no subscriber. Receivers can still take what is in their channels.
    ///
    /// When this returns, no thread puts anything more on any channel, as if each subscription had
    /// been [unsubscribed](Subscription::unsubscribe). This drops the carriers that are not in use
    /// before it waits for those in use. It does not wait for a carrier that another thread has
    /// begun to drop.
    pub fn close(&self) {
        self.core.close();
    }

    /// Ends all subscriptions of the feed without waiting.
    pub(crate) fn close_soon(&self) {
        self.core.close_soon();
    }

    /// Whether the feed was closed. Once true, it stays true.
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// Waits for the end of the feed: until [`close`](Self::close) is called or the last handle is
    /// dropped. The result is a future; threads use [`Closed::wait`] and [`Closed::wait_timeout`].
    /// It is no handle of the feed, and does not keep it alive.
    ///
    /// ```
    /// let feed = fanfeed::Feed::<u32>::new();
    /// let closed = feed.closed();
    /// let sender = std::thread::spawn(move || feed.send(1));
    /// closed.wait();
    /// # sender.join().unwrap();
    /// ```
    pub fn closed(&self) -> Closed {
        self.core.closed()
    }

    /// Whether both are handles of one feed.
    ///
    /// ```
    /// let feed = fanfeed::Feed::<u8>::new();
    /// assert!(feed.same_channel(&feed.clone()));
    /// assert!(!feed.same_channel(&fanfeed::Feed::new()));
    /// ```
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.handle, &other.handle)
    }

    /// A handle that does not keep the feed alive.
    pub fn downgrade(&self) -> WeakFeed<T> {
        WeakFeed {
            handle: Arc::downgrade(&self.handle),
        }
    }
}

impl<T: Clone + Send + 'static> Feed<T> {
    /// Sends a value to all subscribers, waits for those that have no room, and returns how many
    /// subscribers it reached: 0 if there is none or the feed is closed.
    ///
    /// A wait blocks the thread, and so the other tasks of an async executor's thread. In a task,
    /// use `send_async` (feature `async`).
    ///
    /// # Panics
    ///
    /// If the value's `clone` panics, the panic is resumed after all other subscribers are served.
    /// If the `drop` of a value panics (one that this value pushed out, or this value if no
    /// subscriber keeps it), the panic is resumed after all subscribers are served. If there are
    /// several panics, the first is resumed.
    #[inline]
    pub fn send(&self, value: T) -> usize {
        let mut delivery = Delivery::new(value);
        delivery.serve(&self.core);
        if delivery.has_pending() {
            blocked::wait(&mut delivery, &self.core, None);
        }
        self.core.tidy();
        delivery.finish()
    }

    /// Sends a value to all subscribers that have room, and returns how many subscribers it
    /// reached.
    ///
    /// # Errors
    ///
    /// [`Undelivered`] if some subscribers have no room. It names them, and can be retried for them
    /// alone.
    ///
    /// # Panics
    ///
    /// As for [`send`](Self::send).
    pub fn try_send(&self, value: T) -> Result<usize, Undelivered<T>> {
        let mut delivery = Delivery::new(value);
        delivery.serve(&self.core);
        Undelivered::outcome(&self.core, delivery, Cause::Full)
    }

    /// Sends a value to all subscribers, waits up to `timeout` for those that have no room, and
    /// returns how many subscribers it reached.
    ///
    /// # Errors
    ///
    /// [`Undelivered`] if some subscribers had no room within `timeout`. It names them, and can be
    /// retried for them alone.
    ///
    /// # Panics
    ///
    /// As for [`send`](Self::send).
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<usize, Undelivered<T>> {
        // A deadline beyond the range of the clock is no deadline.
        self.send_until(value, || Instant::now().checked_add(timeout))
    }

    /// Sends a value to all subscribers, waits until `deadline` for those that have no room, and
    /// returns how many subscribers it reached.
    ///
    /// # Errors
    ///
    /// [`Undelivered`] if some subscribers had no room by `deadline`. It names them, and can be
    /// retried for them alone.
    ///
    /// # Panics
    ///
    /// As for [`send`](Self::send).
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<usize, Undelivered<T>> {
        self.send_until(value, || Some(deadline))
    }

    fn send_until(
        &self,
        value: T,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<usize, Undelivered<T>> {
        let mut delivery = Delivery::new(value);
        delivery.serve(&self.core);
        if delivery.has_pending() {
            blocked::wait(&mut delivery, &self.core, deadline());
        }
        Undelivered::outcome(&self.core, delivery, Cause::Timeout)
    }

    /// Sends a value to all subscribers, and waits for those that have no room without blocking the
    /// thread. The future completes with the number of subscribers that the value reached.
    ///
    /// Own channels, rings and tokio senders wake the task when they have room. Other carriers,
    /// crossbeam's among them, are tried again on a timer, after 50 µs at first, doubling to 1 ms.
    /// At a crossbeam channel of capacity 0 such a try meets a receiver that waits at that moment,
    /// in `recv`, `recv_timeout` or `select!`. It does not meet a receiver that only polls with
    /// `try_recv`. ([`send`](Self::send), which blocks, meets both.)
    ///
    /// [`SendAsync`] says what happens to the value when the future is dropped.
    ///
    /// ```
    /// # tokio_test(async {
    /// let feed = fanfeed::Feed::new();
    /// let mut receiver = feed.channel(1)?;
    /// assert_eq!(feed.send_async("first").await, 1);
    /// let second = feed.send_async("second"); // waits for room
    /// let (sent, received) = tokio::join!(second, receiver.recv_async());
    /// assert_eq!((sent, received), (1, Ok("first")));
    /// # Ok(())
    /// # });
    /// # fn tokio_test(test: impl Future<Output = Result<(), fanfeed::CapacityError>>) {
    /// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test).unwrap();
    /// # }
    /// ```
    #[cfg(feature = "async")]
    pub fn send_async(&self, value: T) -> SendAsync<T> {
        SendAsync::new(Arc::clone(&self.core), value)
    }

    /// A [`Sink`](futures_sink::Sink) that sends its items on this feed, with
    /// [backpressure](FeedSink). It is another handle of the feed.
    ///
    /// ```
    /// use futures_util::{SinkExt, StreamExt, stream};
    ///
    /// # tokio_test(async {
    /// let feed = fanfeed::Feed::new();
    /// let receiver = feed.channel(2)?;
    /// let mut sink = feed.sink();
    /// drop(feed);
    /// let sender = async {
    ///     sink.send(1).await?;
    ///     stream::iter(2..=5).map(Ok).forward(sink).await // closes the sink, the last handle
    /// };
    /// let (sent, received) = tokio::join!(sender, receiver.collect::<Vec<_>>());
    /// assert_eq!((sent, received), (Ok(()), vec![1, 2, 3, 4, 5]));
    /// # Ok(())
    /// # });
    /// # fn tokio_test(test: impl Future<Output = Result<(), fanfeed::CapacityError>>) {
    /// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test).unwrap();
    /// # }
    /// ```
    #[cfg(feature = "async")]
    pub fn sink(&self) -> FeedSink<T> {
        FeedSink::new(Arc::clone(&self.handle))
    }

    /// Sends the values in order to all subscribers, waits for those that have no room, and returns
    /// the total number of deliveries.
    ///
    /// The effect is that of one [`send`](Self::send) for each value, but a feed's own channel
    /// takes many values for little more than the cost of one. The iterator yields 32 values at a
    /// time before any of them is sent, so a value that the iterator is slow to yield delays the
    /// values before it. This allocates at most twice.
    ///
    /// # Panics
    ///
    /// As for [`send`](Self::send). A panic of the iterator propagates at once. The whole blocks of
    /// 32 values that it had yielded have been sent, the rest has not.
    pub fn send_batch<I: IntoIterator<Item = T>>(&self, values: I) -> usize {
        batch::send(&self.core, values)
    }
}

impl<T: Send + 'static> Feed<T> {
    /// Subscribes a channel, which gets every value sent from now on.
    ///
    /// Its receiver is not told which values it misses; [`Subscription::stats`] counts them (see
    /// [`Carrier`]). The receiver of one of the feed's own channels is told
    /// ([`channel`](Self::channel)).
    ///
    /// If the feed is closed, the subscription that this returns has already ended, and the carrier
    /// has been dropped.
    pub fn subscribe<C: Carrier<T> + 'static>(&self, carrier: C) -> Subscription {
        self.subscriber().subscribe(carrier)
    }

    /// Subscribes a closure, which is called with each value, on the thread that sends it.
    ///
    /// Closures are served after channels. The send does not continue before the closure returns,
    /// and unsubscribing waits for the closure (except from inside a delivery), so the closure
    /// should be short. The closure may subscribe, unsubscribe (itself too), and send on any feed.
    /// A value that it sends on its own feed overtakes the outer value at the subscribers that the
    /// outer send has not reached yet. Several sending threads may call it at the same time. A
    /// panic in it ends its subscription with an error.
    ///
    /// A closure that owns a handle of its own feed keeps that feed alive: neither is ever dropped,
    /// unless the feed is [closed](Self::close) or the subscription ended. Let it own a
    /// [`WeakFeed`]:
    ///
    /// ```
    /// let feed = fanfeed::Feed::<u32>::new();
    /// let weak = feed.downgrade();
    /// let _halves = feed.subscribe_fn(move |&value| {
    ///     if value > 1 && let Some(feed) = weak.upgrade() {
    ///         feed.send(value / 2);
    ///     }
    /// });
    /// let mut receiver = feed.channel(8)?;
    /// feed.send(4);
    /// assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [4, 2, 1]);
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    ///
    /// A closure that counts:
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// static SUM: AtomicUsize = AtomicUsize::new(0);
    ///
    /// let feed = fanfeed::Feed::new();
    /// let _subscription = feed.subscribe_fn(|value: &usize| {
    ///     SUM.fetch_add(*value, Ordering::Relaxed);
    /// });
    /// feed.send(1);
    /// feed.send(2);
    /// assert_eq!(SUM.load(Ordering::Relaxed), 3);
    /// ```
    pub fn subscribe_fn<F: Fn(&T) + Send + Sync + 'static>(&self, f: F) -> Subscription {
        self.subscriber().subscribe_fn(f)
    }

    /// Subscribes a channel of the feed's own that holds up to `capacity` values, and returns its
    /// receiver.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or more than 2^30.
    pub fn channel(&self, capacity: usize) -> Result<Receiver<T>, CapacityError> {
        self.subscriber().capacity(capacity).channel()
    }

    /// Lists the subscriptions that have not ended, with their options and figures, for monitoring.
    ///
    /// The order is that of the subscribers' places, which later subscribers take over from earlier
    /// ones. This takes the lock of subscribing and unsubscribing, for some nanoseconds for each
    /// subscriber. It delays no send. While sends run, the figures of two subscribers are from
    /// different moments. It calls [`Carrier::depth`](crate::Carrier::depth) and
    /// [`capacity`](crate::Carrier::capacity) of carriers that the caller brought along.
    ///
    /// # Examples
    ///
    /// Which subscribers are more than half full, and which block a send at this moment:
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let feed = fanfeed::Feed::new();
    /// let screen = feed.subscriber().name("screen").capacity(4).channel()?;
    /// let audit = feed.subscriber().name("audit").capacity(64).channel()?;
    /// for value in 0..3 {
    ///     feed.send(value);
    /// }
    ///
    /// for subscriber in feed.subscriptions() {
    ///     let is_half_full = subscriber.stats.depth > subscriber.capacity.map(|capacity| capacity / 2);
    ///     assert_eq!(is_half_full, subscriber.name.as_deref() == Some("screen"));
    ///     assert_eq!(subscriber.stats.blocked_now, None);
    /// }
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn subscriptions(&self) -> Vec<SubscriberStats> {
        let entries = self.core.entries();
        // Outside the lock, because carriers are user code.
        let live = entries.iter().filter(|entry| !entry.is_cut());
        live.map(|entry| entry.look()).collect()
    }

    /// Subscribes with options: a name, a capacity, what happens on overflow.
    pub fn subscriber(&self) -> SubscriberBuilder<'_, T> {
        SubscriberBuilder::new(&self.core)
    }
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<T> Default for Feed<T> {
    fn default() -> Self {
        Self::new()
    }
}

debug_struct!([T] Feed<T>, |this| Feed { subscribers: this.subscriber_count() });

/// A handle of a [`Feed`] that does not keep it alive. Made by [`Feed::downgrade`].
pub struct WeakFeed<T> {
    handle: Weak<Handle<T>>,
}

// As for `Feed`.
unwind_safe!([T] WeakFeed<T>);

impl<T> WeakFeed<T> {
    /// The feed, or `None` if all its handles have been dropped.
    pub fn upgrade(&self) -> Option<Feed<T>> {
        let handle = self.handle.upgrade()?;
        Some(Feed {
            core: Arc::clone(handle.core()),
            handle,
        })
    }
}

clone_handle!(WeakFeed<T> { handle });

debug_struct!([T] WeakFeed<T>, |this| WeakFeed { alive: this.handle.strong_count() > 0 });

publish_by_methods!(Feed<T>, Feed, [Clone + Send + 'static] -> usize, Undelivered<T>);
publish_by_methods!(&Feed<T>, Feed, [Clone + Send + 'static] -> usize, Undelivered<T>);
