//! Floor 3: `Feed`, its carriers and its own channel.

mod alone;
mod batch;
mod blocked;
mod builder;
mod chunk;
mod claiming;
mod core;
mod crossbeam;
mod delivery;
mod directory;
mod entry;
mod gaps;
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
mod slots;
mod sole;
#[cfg(feature = "async")]
mod stream;
mod taking;
#[cfg(feature = "async")]
mod tokio_carrier;
mod undelivered;

#[cfg(all(test, not(any(fanfeed_loom, fanfeed_shuttle))))]
#[path = "../tests/wrap/visits.rs"]
mod wrap;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::carrier::Carrier;
use crate::error::CapacityError;
use crate::publish::Publish;
use crate::subscription::Subscription;

use self::core::Core;
use delivery::Delivery;

pub use builder::{OverflowPolicy, SubscriberBuilder};

pub use lane::ThreadSlot;
pub use receiver::{IntoIter, Iter, Receiver, TryIter};
#[cfg(feature = "async")]
pub use send_async::SendAsync;
#[cfg(feature = "async")]
pub use stream::RecvAsync;
pub use undelivered::{Cause, Missed, Undelivered};

/// Fans each value out to all subscribed channels.
///
/// A `Feed` is a cheap handle: clones share the same subscribers. It ends when the last handle is dropped, or when
/// [`close`](Self::close) is called.
///
/// # What it promises
///
/// 1. A value goes to every subscription that was made before the send began and not cancelled before its turn.
/// 2. Values of one sending thread reach each subscriber in the order sent. Those of several threads interleave as they
///    may, and differently for each subscriber.
/// 3. A full subscriber keeps the send waiting, never another subscriber: first all that have room are served, then the
///    rest as they make room.
/// 4. When [`Subscription::unsubscribe`] returns, nothing more is put on that channel by any thread.
/// 5. A subscription whose receiver is gone ends by itself.
/// 6. The same channel subscribed k times gets k copies; each subscription is cancelled on its own.
/// 7. A send takes no lock and allocates nothing while nobody is full and nobody is gone (but for the first send of a
///    thread on a feed, which sets up a record of 128 bytes). To wake a receiver that sleeps takes the lock under which
///    its waker lies, for some instructions.
/// 8. A subscription fails at most once, and [`Subscription::err`] says why.
/// 9. n subscribers cost at most n - 1 clones.
/// 10. A panic in a value's `clone` goes on after everybody else was served; whoever it was for has missed the value. So does
///     a panic in the `drop` of a value that another pushed out, and nobody has missed that other one. A panic of a carrier
///     ends its own subscription and goes no further; that of a receiver's waker goes no further either.
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

// Whatever panics in a send, be it a clone, a drop, a carrier or a waker: what the handles share is as the documentation says
// (see promise 10), and nothing that was half done is left for others to find.
impl<T> UnwindSafe for Feed<T> {}
impl<T> RefUnwindSafe for Feed<T> {}

/// What all handles of a feed share and nobody else has: its end is the feed's.
struct Handle<T> {
    core: Arc<Core<T>>,
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl<T> Feed<T> {
    /// A feed without subscribers.
    pub fn new() -> Self {
        let core = Arc::new(Core::new());
        Self {
            handle: Arc::new(Handle {
                core: Arc::clone(&core),
            }),
            core,
        }
    }

    /// How many subscriptions there are that have not ended. While others subscribe and unsubscribe it may be another
    /// number a moment later.
    pub fn subscriber_count(&self) -> usize {
        self.core.count()
    }

    /// Ends the feed: all its subscriptions end without an error, sends that are blocked go on, and values sent from now
    /// on reach nobody. Receivers can still take what is in their channels.
    ///
    /// When this returns, no thread puts anything more on any channel, as if each subscription had
    /// been [unsubscribed](Subscription::unsubscribe). Carriers that were not in use have been
    /// dropped before this waits for those in use. It does not wait for a carrier that another
    /// thread has begun to drop.
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

    /// A handle that does not keep the feed alive.
    pub fn downgrade(&self) -> WeakFeed<T> {
        WeakFeed {
            handle: Arc::downgrade(&self.handle),
        }
    }
}

impl<T: Clone + Send + 'static> Feed<T> {
    /// Sends a value to all subscribers, waits for those that have no room, and returns how many it reached: 0 if nobody
    /// is subscribed or the feed is closed.
    ///
    /// # Panics
    ///
    /// A panic of the value's `clone` goes on once everybody else was served, and one in the `drop` of a value that this one
    /// pushed out, or of this one where nobody keeps it, once everybody was. Of several the first goes on.
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

    /// Sends a value to all subscribers that have room, and returns how many it reached.
    ///
    /// # Errors
    ///
    /// [`Undelivered`] if some have none: it names them, and can be retried for those alone.
    ///
    /// # Panics
    ///
    /// As for [`send`](Self::send).
    pub fn try_send(&self, value: T) -> Result<usize, Undelivered<T>> {
        let mut delivery = Delivery::new(value);
        delivery.serve(&self.core);
        Undelivered::outcome(&self.core, delivery, Cause::Full)
    }

    /// Sends a value to all subscribers, waits up to `timeout` for those that have no room, and returns how many it
    /// reached.
    ///
    /// # Errors
    ///
    /// [`Undelivered`] if some had none in that time: it names them, and can be retried for those alone.
    ///
    /// # Panics
    ///
    /// As for [`send`](Self::send).
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<usize, Undelivered<T>> {
        // A limit beyond what the clock can count is no limit.
        self.send_until(value, || Instant::now().checked_add(timeout))
    }

    /// Sends a value to all subscribers, waits until `deadline` for those that have no room, and returns how many it
    /// reached.
    ///
    /// # Errors
    ///
    /// [`Undelivered`] if some had none by `deadline`: it names them, and can be retried for those alone.
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

    /// Sends a value to all subscribers, and waits for those that have no room without blocking the thread. The future
    /// completes with the number of subscribers that the value reached.
    ///
    /// Own channels, rings and tokio senders wake the task when they have room. Other carriers,
    /// crossbeam's among them, are tried again on a timer, after 50 µs at first, doubling to 1 ms.
    /// At a crossbeam channel of capacity 0 such a try meets a receiver that waits at that moment,
    /// in `recv`, `recv_timeout` or `select!`. It does not meet one that only polls with
    /// `try_recv`. ([`send`](Self::send), which blocks, meets both.)
    ///
    /// See [`SendAsync`] for what becomes of the value when the future is dropped.
    #[cfg(feature = "async")]
    pub fn send_async(&self, value: T) -> SendAsync<T> {
        SendAsync::new(Arc::clone(&self.core), value)
    }

    /// Sends the values in order to all subscribers, waits for those that have no room, and returns how many deliveries
    /// that made in all.
    ///
    /// It does what as many [`send`](Self::send)s would, but a channel of the feed's own takes many values for little
    /// more than the price of one. Values are taken from the iterator 32 at a time before any of them is sent, so one that
    /// is slow to yield delays those before it. It allocates at most twice.
    ///
    /// # Panics
    ///
    /// As for [`send`](Self::send). A panic of the iterator goes through at once: what was taken from it in whole blocks of 32
    /// has been sent, the rest has not.
    pub fn send_batch<I: IntoIterator<Item = T>>(&self, values: I) -> usize {
        batch::send(&self.core, values)
    }
}

impl<T: Send + 'static> Feed<T> {
    /// Subscribes a channel, which gets every value sent from now on.
    ///
    /// Its receiver is not told which values it misses: [`Subscription::stats`] counts them (see
    /// [`Carrier`]). The receiver of one of the feed's own channels is told
    /// ([`channel`](Self::channel)).
    ///
    /// On a feed that was closed the subscription has ended already, and the carrier was dropped.
    pub fn subscribe<C: Carrier<T> + 'static>(&self, carrier: C) -> Subscription {
        self.subscriber().subscribe(carrier)
    }

    /// Subscribes a closure, which is called with each value, on the thread that sends it.
    ///
    /// Closures are served after channels. Until it returns, the send does not go on, and unsubscribing it waits
    /// (except from inside a delivery); so it should be short. It may subscribe, unsubscribe (itself too), and send on
    /// any feed. A value that it sends on its own feed overtakes the outer one where that has not been yet. Several
    /// sending threads call it at the same time. A panic in it ends its subscription with an error.
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

    /// Subscribes a channel of the feed's own that holds so many values, and returns its receiver.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or more than 2^30.
    pub fn channel(&self, capacity: usize) -> Result<Receiver<T>, CapacityError> {
        self.subscriber().capacity(capacity).channel()
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

impl<T> fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("subscribers", &self.subscriber_count())
            .finish_non_exhaustive()
    }
}

/// A handle of a [`Feed`] that does not keep it alive. Made by [`Feed::downgrade`].
pub struct WeakFeed<T> {
    handle: Weak<Handle<T>>,
}

// As of the feed.
impl<T> UnwindSafe for WeakFeed<T> {}
impl<T> RefUnwindSafe for WeakFeed<T> {}

impl<T> WeakFeed<T> {
    /// The feed, unless all its handles have been dropped.
    pub fn upgrade(&self) -> Option<Feed<T>> {
        let handle = self.handle.upgrade()?;
        Some(Feed {
            core: Arc::clone(&handle.core),
            handle,
        })
    }
}

impl<T> Clone for WeakFeed<T> {
    fn clone(&self) -> Self {
        Self {
            handle: Weak::clone(&self.handle),
        }
    }
}

impl<T> fmt::Debug for WeakFeed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakFeed")
            .field("alive", &(self.handle.strong_count() > 0))
            .finish()
    }
}

macro_rules! publish_by_shared_reference {
    ($feed:ty) => {
        impl<T: Clone + Send + 'static> Publish<T> for $feed {
            type Sent = usize;
            type Unsent = Undelivered<T>;

            fn send(&mut self, value: T) -> usize {
                Feed::send(self, value)
            }

            fn try_send(&mut self, value: T) -> Result<usize, Undelivered<T>> {
                Feed::try_send(self, value)
            }

            fn send_deadline(
                &mut self,
                value: T,
                deadline: Instant,
            ) -> Result<usize, Undelivered<T>> {
                Feed::send_deadline(self, value, deadline)
            }

            fn send_timeout(
                &mut self,
                value: T,
                timeout: Duration,
            ) -> Result<usize, Undelivered<T>> {
                Feed::send_timeout(self, value, timeout)
            }

            fn send_batch<I: IntoIterator<Item = T>>(&mut self, values: I) -> usize {
                Feed::send_batch(self, values)
            }
        }
    };
}

publish_by_shared_reference!(Feed<T>);
publish_by_shared_reference!(&Feed<T>);
