//! Floor 3: `RingFeed`, one ring that all readers share.

mod blocked_senders;
mod builder;
mod carrier;
mod claimant;
mod core;
mod cursor;
mod cuts;
mod event;
mod exclusive;
mod gate;
mod handle;
mod iter;
mod leaders;
mod member;
mod monitor;
mod options;
mod overflow;
mod reader;
mod receiver;
mod refusal;
mod retention;
mod room;
mod seat;
mod seats;
#[cfg(feature = "async")]
mod send_async;
mod shape;
mod storage;
#[cfg(feature = "async")]
mod stream;
mod track;
mod waiting;
mod wakeups;
mod writer;

#[cfg(all(test, not(any(fanfeed_loom, fanfeed_shuttle))))]
#[path = "../tests/wrap/ring.rs"]
mod wrap;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::carrier::{Carrier, Room};
use crate::error::{CapacityError, TrySendError};
use crate::publish::Publish;

use claimant::Claimant;

pub use builder::RingSubscriberBuilder;
pub use cursor::RingCursor;
pub use event::RingEvent;
pub use exclusive::ExclusiveRingFeed;
pub use handle::RingHandle;
pub use iter::{RingIntoIter, RingIter, RingTryIter};
pub use monitor::RingReaderStats;
pub use options::RingBuilder;
pub use overflow::RingOverflow;
pub use receiver::RingReceiver;
#[cfg(feature = "async")]
pub use send_async::RingSendAsync;
#[cfg(feature = "async")]
pub use stream::RingRecvAsync;
pub use waiting::Waiting;

/// One ring of slots that all readers share: sending takes the same time for one reader and for a thousand, and no value is
/// cloned.
///
/// This is the shared sender: a cheap handle whose clones send on the same ring, from many threads. One thread that sends
/// alone is faster with an [`ExclusiveRingFeed`]. The ring ends when the last handle is dropped, or when
/// [`close`](Self::close) is called.
///
/// The ring holds as many values as it was given capacity for, rounded up to a power of two.
///
/// # What it promises
///
/// 1. One total order: every reader sees the same sequence, without gaps unless it is told of them. Each value has a
///    position, counted from 0.
/// 2. A [blocking](RingOverflow::Block) reader (the default) is never overwritten: the ring waits for the slowest. One that
///    [drops the oldest](RingOverflow::DropOldest) never holds a sender, not even while it reads; what it received, what
///    it missed and what it [skipped](RingReceiver::skip_to_newest) are together always what was sent. One that [disconnects](RingOverflow::Disconnect) ends with an error when
///    it has fallen behind by more than seven eighths of the ring.
/// 3. Readers read by reference, in batches ([`RingReceiver::drain`]), or take clones.
/// 4. Readers come and go while senders run. One that leaves, or panics, frees its slots at once.
/// 5. How a reader waits is its own choice ([`Waiting`]). A sender pays for waking only while a reader may be parked, and
///    one that waits for room looks for 10 µs, or for up to 100 µs in all while the readers in the way move on or the
///    ring's last wait was that short, then parks.
/// 6. Every value is dropped exactly once. Usually this happens a lap later, when another value
///    takes its slot: the thread that sends the new value drops the old one, after the new one was
///    published. Otherwise the values are dropped when the last sender and the last reader are
///    gone, by the last of them, even if other handles remain
///    ([`Subscription`](crate::Subscription), [`RingHandle`], [`WeakRingFeed`]). An eighth of the
///    ring that was left to lossy readers while they read keeps its values until they have stopped
///    and blocking readers have passed it. Then the last of these readers drops them, or the
///    sender. So there are never more values than the capacity and an eighth of it for each lossy
///    reader that reads. A panic in a drop leaves the ring sound. While a sender is left, values
///    stay for readers that come later with [`history`](RingSubscriberBuilder::history), even if
///    there are no readers. A ring can be asked to [drop each value once it was
///    read](RingBuilder::drop_when_read) instead.
/// 7. When [`Subscription::unsubscribe`](crate::Subscription::unsubscribe) returns, the reader's next read says `Closed`,
///    and its slots are free; those of a `drain` under way, as soon as that returns.
/// 8. Sending takes no lock and makes no allocation, but once for each eighth of the capacity: then one of the sending
///    threads looks at the readers, under a lock that others wait for only if there is no room left otherwise.
///
/// # What to know
///
/// - A blocking reader that stops reading holds all senders, and with them all readers. Choose it for readers that must not
///   miss anything and can be relied on; else `DropOldest`, or a send with a time limit.
/// - A thread that is preempted between claiming a position and publishing its value holds up all readers there, and senders
///   a lap later, until it runs again.
/// - A send looks at many readers ahead of need, a few at a time, and notifies readers that it has
///   cut off, also a few at a time. One cost remains: once for each eighth of the capacity a send
///   looks at all lossy readers, and moves on those that are in the way, at about 20 ns for each.
///
/// # Examples
///
/// ```
/// use fanfeed::RingFeed;
///
/// let ring = RingFeed::new(1024)?;
/// let mut readers: Vec<_> = (0..3).map(|_| ring.subscribe()).collect();
///
/// let sender = ring.clone();
/// let thread = std::thread::spawn(move || sender.send_batch(1..=100));
/// thread.join().unwrap();
/// drop(ring);
///
/// for reader in &mut readers {
///     assert_eq!(reader.iter().sum::<u32>(), 5050);
/// }
/// # Ok::<(), fanfeed::CapacityError>(())
/// ```
pub struct RingFeed<T> {
    claimant: Arc<Claimant<T>>,
}

// No user code runs between claiming a position and publishing it. A reader whose handler panics
// has read the value that it was given. Wakers and drops run once all is in place. So no thread
// ever finds anything half done.
impl<T> UnwindSafe for RingFeed<T> {}
impl<T> RefUnwindSafe for RingFeed<T> {}

impl<T> RingFeed<T> {
    /// A ring for so many values, rounded up to a power of two, without readers.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or more than 2^30.
    pub fn new(capacity: usize) -> Result<Self, CapacityError> {
        Ok(Self {
            claimant: Arc::new(Claimant::new(capacity, false)?),
        })
    }

    /// Creates a ring with options, made by [`build`](RingBuilder::build) or
    /// [`build_exclusive`](RingBuilder::build_exclusive).
    pub fn builder(capacity: usize) -> RingBuilder<T> {
        RingBuilder::new(capacity)
    }

    /// A ring whose first position is that one instead of 0: for tests of what happens far on.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    #[cfg(any(test, fuzzing))]
    #[doc(hidden)]
    pub fn starting_at(capacity: usize, start: u64) -> Result<Self, CapacityError> {
        Ok(Self {
            claimant: Arc::new(Claimant::starting_at(capacity, start)?),
        })
    }

    /// How many values the ring holds.
    pub fn capacity(&self) -> usize {
        self.claimant.core().track.shape().capacity() as usize
    }

    /// The position of the next value: how many have been sent, or are being sent.
    pub fn position(&self) -> u64 {
        self.claimant.core().track.next()
    }

    /// How many subscriptions there are that have not ended. While others subscribe and unsubscribe it may be another
    /// number a moment later.
    pub fn subscriber_count(&self) -> usize {
        self.claimant.core().count()
    }

    /// Where each reader is whose subscription has not ended, and how far behind, for monitoring. The order is that of their
    /// places in the ring, which later readers take over from earlier ones. A close ends all subscriptions, so after it the
    /// list is empty, even while readers still take what was sent: their [cursors](RingReceiver::cursor) tell where they are.
    ///
    /// It takes the lock under which readers come and go, for some nanoseconds for each reader, and stops neither senders nor
    /// readers: while they run, the figures of two readers are of different moments.
    ///
    /// ```
    /// let ring = fanfeed::RingFeed::new(8)?;
    /// let mut audit = ring.subscriber().name("audit").subscribe();
    /// let _screen = ring.subscriber().name("screen").subscribe();
    /// ring.send_batch(0..5);
    /// audit.drain(|_| {})?;
    ///
    /// let lags: Vec<_> = ring.readers().iter().map(|reader| (reader.name().unwrap().to_owned(), reader.lag())).collect();
    /// assert_eq!(lags, [("audit".to_owned(), 0), ("screen".to_owned(), 5)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn readers(&self) -> Vec<RingReaderStats> {
        self.claimant.core().readers()
    }

    /// Ends the ring: all its subscriptions end without an error, senders that wait go on, and
    /// nothing more can be sent. Readers can still take what was sent before. The ring's values are
    /// dropped when the last reader is dropped, or at once if there are no readers.
    pub fn close(&self) {
        self.claimant.close();
    }

    /// Whether the ring was closed. Once true, it stays true.
    pub fn is_closed(&self) -> bool {
        self.claimant.core().is_closed()
    }

    /// A handle that does not keep the ring from ending, to be made one that sends again.
    pub fn downgrade(&self) -> WeakRingFeed<T> {
        WeakRingFeed {
            claimant: Arc::downgrade(&self.claimant),
        }
    }

    /// A handle to subscribe with. It does not keep the ring from ending.
    pub fn handle(&self) -> RingHandle<T> {
        RingHandle::new(Arc::clone(self.claimant.core()))
    }
}

impl<T> RingBuilder<T> {
    /// Builds a ring that many threads may send on.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or more than 2^30.
    pub fn build(self) -> Result<RingFeed<T>, CapacityError> {
        Ok(RingFeed {
            claimant: Arc::new(Claimant::new(self.capacity, self.drop_when_read)?),
        })
    }
}

impl<T: Send + Sync> RingFeed<T> {
    /// Sends a value, and waits for readers that keep the ring full. Returns the value's position: how many were sent
    /// before it.
    ///
    /// On a ring that was closed the value is dropped, and what returns is the position where the ring ended.
    ///
    /// # Panics
    ///
    /// A ring has 2^60 positions, enough for a billion values a second for 36 years; a send beyond the last panics.
    ///
    /// The value that was in the slot a lap before is dropped after this one was published. If its drop panics, that goes
    /// through; the ring is sound, and the value was sent.
    ///
    /// A send without a time limit panics if it would have to wait for room inside a handler of one
    /// of the ring's readers ([`RingReceiver::drain`] and its like), on the same thread: it might
    /// wait for that reader. Nothing is sent then.
    #[inline]
    pub fn send(&self, value: T) -> u64 {
        self.claimant.send(value)
    }

    /// Sends a value if there is room. It waits for no reader; it may wait for another sender that looks for room.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] if there is no room, because of a reader or of a sender that has been at its slot for a whole
    /// lap; [`TrySendError::Closed`] if the ring was closed.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<u64, TrySendError<T>> {
        self.claimant.try_send(value)
    }

    /// Sends a value, and waits for room up to `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`try_send`](Self::try_send), and `Full` if there is no room within `timeout`.
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<u64, TrySendError<T>> {
        // A limit beyond what the clock can count is no limit.
        self.claimant
            .send_until(value, || Instant::now().checked_add(timeout))
    }

    /// Sends a value, and waits for room until `deadline`.
    ///
    /// # Errors
    ///
    /// As for [`try_send`](Self::try_send), and `Full` if there is no room by `deadline`.
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<u64, TrySendError<T>> {
        self.claimant.send_until(value, || Some(deadline))
    }

    /// Sends a value, and waits for room without blocking the thread. The future completes with the value's position, and on a
    /// ring that was closed with the position where the ring ended.
    ///
    /// Cancel-safe: if the future is dropped before it has completed, the value was not sent.
    ///
    /// It waits in the same line as senders that block, first come, first woken. In a handler of one of the ring's readers it
    /// does not panic, but it cannot complete before that has returned if it waits for that reader.
    ///
    /// ```
    /// # tokio_test(async {
    /// let ring = fanfeed::RingFeed::new(1)?;
    /// let mut reader = ring.subscribe();
    /// assert_eq!(ring.send_async("first").await, 0);
    /// let second = ring.send_async("second");
    /// let (sent, received) = tokio::join!(second, reader.recv_async());
    /// assert_eq!((sent, received), (1, Ok("first")));
    /// # Ok(())
    /// # });
    /// # fn tokio_test(test: impl Future<Output = Result<(), fanfeed::CapacityError>>) {
    /// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test).unwrap();
    /// # }
    /// ```
    #[cfg(feature = "async")]
    pub fn send_async(&self, value: T) -> RingSendAsync<'_, T> {
        RingSendAsync::new(&self.claimant, value)
    }

    /// Sends the values in order, and waits for room. Returns the position after the last.
    ///
    /// They are taken from the iterator 32 at a time before any of these is sent, and published together, but for eighths of
    /// the capacity; values of other threads may come between those. It allocates once, and once more for each 32 if values
    /// have to be dropped.
    ///
    /// # Panics
    ///
    /// A panic of the iterator goes through: what was taken from it in whole blocks of 32 has been sent, the rest has not. So
    /// does the panic of an old value's drop, once what took its place was published; the rest of the values is not sent.
    pub fn send_batch<I: IntoIterator<Item = T>>(&self, values: I) -> u64 {
        self.claimant.send_batch(values)
    }

    /// Sends as many of the values as there is room for, in order. Returns the position after the last.
    ///
    /// They are taken from the iterator 32 at a time, and published together as with [`send_batch`](Self::send_batch).
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] with the values that found no room, because of a reader or of a sender that has been at its slot
    /// for a whole lap; [`TrySendError::Closed`] with those that were left when the ring was closed. The ones before them have
    /// been sent. So the iterator is taken to its end in any case, and must have one. An empty batch does not fail.
    ///
    /// # Panics
    ///
    /// As for [`send_batch`](Self::send_batch). If the iterator panics once there is no more room, the values that it yielded
    /// and that found none are dropped.
    ///
    /// ```
    /// use fanfeed::{RingFeed, TrySendError};
    ///
    /// let ring = RingFeed::new(4)?;
    /// let mut reader = ring.subscribe();
    /// let Err(TrySendError::Full(rest)) = ring.try_send_batch(1..=6) else {
    ///     panic!("there was room for more than four");
    /// };
    /// assert_eq!(rest, [5, 6]);
    /// assert!(reader.try_iter().eq(1..=4));
    /// assert_eq!(ring.try_send_batch(rest), Ok(6));
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn try_send_batch<I: IntoIterator<Item = T>>(
        &self,
        values: I,
    ) -> Result<u64, TrySendError<Vec<T>>> {
        self.claimant.try_send_batch(values)
    }

    /// Sends the values in order, and waits up to `timeout` for room, for all of them together. Returns the position after
    /// the last.
    ///
    /// # Errors
    ///
    /// As for [`try_send_batch`](Self::try_send_batch), `Full` with the values that were not sent in time.
    ///
    /// # Panics
    ///
    /// As for [`try_send_batch`](Self::try_send_batch).
    pub fn send_batch_timeout<I: IntoIterator<Item = T>>(
        &self,
        values: I,
        timeout: Duration,
    ) -> Result<u64, TrySendError<Vec<T>>> {
        // A limit beyond what the clock can count is no limit.
        self.claimant
            .send_batch_until(values, || Instant::now().checked_add(timeout))
    }

    /// Sends the values in order, and waits until `deadline` for room. Returns the position after the last.
    ///
    /// # Errors
    ///
    /// As for [`try_send_batch`](Self::try_send_batch), `Full` with the values that were not sent by then.
    ///
    /// # Panics
    ///
    /// As for [`try_send_batch`](Self::try_send_batch).
    pub fn send_batch_deadline<I: IntoIterator<Item = T>>(
        &self,
        values: I,
        deadline: Instant,
    ) -> Result<u64, TrySendError<Vec<T>>> {
        self.claimant.send_batch_until(values, || Some(deadline))
    }

    /// Sends clones of the values in order: [`send_batch`](Self::send_batch) of a slice.
    pub fn send_slice(&self, values: &[T]) -> u64
    where
        T: Clone,
    {
        self.send_batch(values.iter().cloned())
    }

    /// Sends the value that `write` makes from the default one, and waits for room. Returns its
    /// position.
    ///
    /// The value is complete before its position is claimed, so a slow `write` holds up no other
    /// sender and no reader. The price is one move of the value into its slot. To write large
    /// values in place, over an old one whose memory can be reused, use an [`ExclusiveRingFeed`]
    /// ([`send_with`](ExclusiveRingFeed::send_with)). On a closed ring `write` is not called.
    ///
    /// # Panics
    ///
    /// If `write` or the value's default panics, nothing is sent and the panic goes through. Otherwise as for
    /// [`send`](Self::send).
    ///
    /// ```
    /// let ring = fanfeed::RingFeed::<[u64; 32]>::new(16)?;
    /// let mut reader = ring.subscribe();
    /// ring.send_with(|table| table[7] = 49);
    /// reader.drain(|table| assert_eq!(table[7], 49))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_with(&self, write: impl FnOnce(&mut T)) -> u64
    where
        T: Default,
    {
        if self.is_closed() {
            return self.position();
        }
        let mut value = T::default();
        write(&mut value);
        self.send(value)
    }
}

impl<T: Send + Sync + 'static> RingFeed<T> {
    /// Subscribes a reader that gets every value sent from now on. Senders wait for it when the ring is full.
    pub fn subscribe(&self) -> RingReceiver<T> {
        self.subscriber().subscribe()
    }

    /// Subscribes with options: a name, what happens when the reader falls behind, how it waits, where it begins.
    pub fn subscriber(&self) -> RingSubscriberBuilder<'_, T> {
        RingSubscriberBuilder::new(self.claimant.core())
    }
}

impl<T> Clone for RingFeed<T> {
    fn clone(&self) -> Self {
        Self {
            claimant: Arc::clone(&self.claimant),
        }
    }
}

impl<T> fmt::Debug for RingFeed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingFeed")
            .field("capacity", &self.capacity())
            .field("position", &self.position())
            .field("subscribers", &self.subscriber_count())
            .finish_non_exhaustive()
    }
}

/// A ring as a channel of a [`Feed`](crate::Feed), which can so serve a few channels and a thousand readers of a ring at
/// once. The feed clones each value once for all of them.
///
/// The ring is full when its slowest blocking reader is a whole ring behind. It ends when it has no other handles and the
/// feed drops its own.
///
/// ```
/// use fanfeed::{Feed, RingFeed};
///
/// let feed = Feed::new();
/// let mut channel = feed.channel(16)?;
/// let ring = RingFeed::new(1024)?;
/// let mut readers: Vec<_> = (0..1000).map(|_| ring.subscribe()).collect();
/// let subscription = feed.subscribe(ring);
///
/// assert_eq!(feed.send("to all"), 2);
/// assert_eq!(channel.recv(), Ok("to all"));
/// assert!(readers.iter_mut().all(|reader| reader.recv() == Ok("to all")));
/// # Ok::<(), fanfeed::CapacityError>(())
/// ```
impl<T: Send + Sync> Carrier<T> for RingFeed<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.claimant.try_send(value).map(drop)
    }

    fn poll_room(&self, waker: &Waker) -> Room {
        carrier::poll_room(&self.claimant, waker)
    }

    fn forget_waker(&self, waker: &Waker) {
        self.claimant.forget_waker(waker);
    }

    fn depth(&self) -> Option<usize> {
        carrier::depth(self.claimant.core())
    }
}

/// A handle of a [`RingFeed`] that does not keep the ring from ending. Made by [`RingFeed::downgrade`].
pub struct WeakRingFeed<T> {
    claimant: Weak<Claimant<T>>,
}

// As of the ring.
impl<T> UnwindSafe for WeakRingFeed<T> {}
impl<T> RefUnwindSafe for WeakRingFeed<T> {}

impl<T> WeakRingFeed<T> {
    /// The ring, unless all its sending handles have been dropped.
    pub fn upgrade(&self) -> Option<RingFeed<T>> {
        let claimant = self.claimant.upgrade()?;
        Some(RingFeed { claimant })
    }
}

impl<T> Clone for WeakRingFeed<T> {
    fn clone(&self) -> Self {
        Self {
            claimant: Weak::clone(&self.claimant),
        }
    }
}

impl<T> fmt::Debug for WeakRingFeed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakRingFeed")
            .field("alive", &(self.claimant.strong_count() > 0))
            .finish()
    }
}

macro_rules! publish_by_shared_reference {
    ($ring:ty) => {
        impl<T: Send + Sync> Publish<T> for $ring {
            type Sent = u64;
            type Unsent = TrySendError<T>;

            fn send(&mut self, value: T) -> u64 {
                RingFeed::send(self, value)
            }

            fn try_send(&mut self, value: T) -> Result<u64, TrySendError<T>> {
                RingFeed::try_send(self, value)
            }

            fn send_deadline(
                &mut self,
                value: T,
                deadline: Instant,
            ) -> Result<u64, TrySendError<T>> {
                RingFeed::send_deadline(self, value, deadline)
            }

            fn send_timeout(
                &mut self,
                value: T,
                timeout: Duration,
            ) -> Result<u64, TrySendError<T>> {
                RingFeed::send_timeout(self, value, timeout)
            }

            fn send_batch<I: IntoIterator<Item = T>>(&mut self, values: I) -> u64 {
                RingFeed::send_batch(self, values)
            }
        }
    };
}

publish_by_shared_reference!(RingFeed<T>);
publish_by_shared_reference!(&RingFeed<T>);
