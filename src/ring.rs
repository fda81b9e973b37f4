//! The types around [`RingFeed`] and [`ExclusiveRingFeed`]: one ring that all readers share.
//!
//! A [`Receiver`] reads values, by reference or as clones. [`SubscriberBuilder`] has its options:
//! its [`Overflow`], its [`WaitStrategy`], where it begins, and which other readers it follows. A
//! [`Handle`] subscribes without sending. [`docs::ring`](crate::docs::ring) explains the promises
//! of a ring.
//!
//! ```
//! use fanfeed::{ExclusiveRingFeed, ring};
//!
//! let mut feed = ExclusiveRingFeed::new(8)?;
//! let mut reader: ring::Receiver<u32> = feed
//!     .subscriber()
//!     .overflow(ring::Overflow::DropOldest)
//!     .wait_strategy(ring::WaitStrategy::Spin)
//!     .subscribe();
//! feed.send(7);
//! assert_eq!(reader.recv(), Ok(7));
//! # Ok::<(), fanfeed::CapacityError>(())
//! ```

mod blocked_senders;
mod builder;
mod claimant;
mod core;
mod cursor;
mod cuts;
mod event;
mod exclusive;
mod gate;
mod handle;
mod hold;
mod leaders;
mod member;
mod monitor;
mod options;
mod overflow;
mod reader;
mod receiver;
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

use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::carrier::{Carrier, Room};
use crate::error::{CapacityError, TrySendError};
use crate::publish::publish_by_methods;
use crate::receive;
use crate::subscription::Closed;
use crate::traits::{clone_handle, debug_struct, unwind_safe};

use claimant::Claimant;
use core::Core;
use handle::subscribing_methods;

pub use builder::SubscriberBuilder;
pub use cursor::Cursor;
pub use event::Event;
pub use exclusive::ExclusiveRingFeed;
pub use handle::Handle;
pub use monitor::ReaderStats;
pub use options::Builder;
pub use overflow::Overflow;
pub use receiver::Receiver;
#[cfg(feature = "async")]
pub use send_async::SendAsync;
#[cfg(feature = "async")]
pub use stream::WaitAsync;
pub use waiting::WaitStrategy;

/// Waits for each value of a [`Receiver`], and clones it. Made by [`Receiver::iter`].
pub type Iter<'a, T> = receive::Iter<'a, Receiver<T>>;

/// Clones of the values that are there for a [`Receiver`] now. Made by [`Receiver::try_iter`].
pub type TryIter<'a, T> = receive::TryIter<'a, Receiver<T>>;

/// A [`Receiver`] as an iterator that waits for each value, and clones it.
pub type IntoIter<T> = receive::IntoIter<Receiver<T>>;

/// A receive that waits without blocking a thread. Made by [`Receiver::recv_async`].
#[cfg(feature = "async")]
pub type RecvAsync<'a, T> = receive::RecvAsync<'a, Receiver<T>>;

/// A receive of several values that waits without blocking a thread. Made by
/// [`Receiver::recv_many`].
#[cfg(feature = "async")]
pub type RecvMany<'a, T> = receive::RecvMany<'a, Receiver<T>>;

/// One ring of slots that all readers share. A send takes the same time for one reader and for a
/// thousand, and no value is cloned.
///
/// This is the shared sender: a cheap handle whose clones send on the same ring, from many threads.
/// One thread that sends alone is faster with an [`ExclusiveRingFeed`]. The ring ends when the last
/// handle is dropped, or when [`close`](Self::close) is called.
///
/// The ring holds as many values as its capacity, which is rounded up to a power of two.
///
/// # What it promises
///
/// 1. One total order: every reader sees the same sequence, without gaps that it is not told about.
///    Each value has a position, counted from 0.
/// 2. A [blocking](Overflow::Block) reader (the default) is never overwritten: the ring waits
///    for the slowest one. A reader that [drops the oldest](Overflow::DropOldest) never blocks
///    a sender, not even while it reads. What it received, what it missed and what it
///    [skipped](Receiver::skip_to_newest) always add up to what was sent. A reader that
///    [disconnects](Overflow::Disconnect) ends with an error when it has fallen behind by more
///    than seven eighths of the ring.
/// 3. Readers read by reference, in batches ([`Receiver::drain`]), or take clones.
/// 4. Readers come and go while senders run. A reader that leaves, or panics, frees its slots at
///    once.
/// 5. Each reader chooses how it waits ([`WaitStrategy`]). A sender pays for waking only while a
///    reader may be parked. A sender that waits for room looks for 10 µs before it parks. It looks
///    for up to 100 µs in all while the readers in its way move on, or if the ring's last wait was
///    that short.
/// 6. Every value is dropped exactly once. Usually this happens a lap later, when another value
///    takes its slot: the thread that sends the new value drops the old one, after it has published
///    the new one. Otherwise the last sender or reader drops the values when it leaves, even if
///    other handles remain ([`Subscription`](crate::Subscription), [`Handle`],
///    [`WeakRingFeed`]). An eighth of the ring that was left to lossy readers while they read keeps
///    its values until they have stopped and blocking readers have passed it. Then the last of
///    these readers, or the sender, drops them. So there are never more values than the capacity
///    plus an eighth of it for each lossy reader that reads. A panic in a drop leaves the ring
///    sound. While a sender is left, values stay for readers that come later with
///    [`history`](SubscriberBuilder::history), even if there are no readers. With
///    [`drop_when_read`](Builder::drop_when_read), the ring drops each value once it was read.
/// 7. When [`Subscription::unsubscribe`](crate::Subscription::unsubscribe) returns, the reader's
///    next read says `Closed`, and its slots are free. The slots of a `drain` under way are free as
///    soon as the `drain` returns.
/// 8. A send takes no lock and allocates nothing, except once for each eighth of the capacity. Then
///    one of the sending threads looks at the readers, under a lock. Other senders wait for that
///    lock only if there is no other room left.
///
/// # What to know
///
/// - A blocking reader that stops reading blocks all senders, and with them all readers. Use it
///   only for readers that must not miss anything and that will not stop. Otherwise use
///   `DropOldest`, or a send with a timeout.
/// - If a thread is preempted after it has claimed a position and before it has published its
///   value, all readers wait there until it runs again, and so do senders a lap later.
/// - A send looks at many readers ahead of need, a few at a time. It also notifies the readers that
///   it has disconnected a few at a time. One cost remains: once for each eighth of the capacity, a
///   send looks at all lossy readers, and moves on those that are in its way, at about 20 ns for
///   each.
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
// has read the value that it was given. Wakers and drops run only when the state is consistent. So
// no thread ever finds the ring half changed.
unwind_safe!([T] RingFeed<T>);

impl<T> RingFeed<T> {
    /// Creates a ring without readers. Its capacity is rounded up to a power of two.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or more than 2^30.
    pub fn new(capacity: usize) -> Result<Self, CapacityError> {
        Builder::new(capacity).build()
    }

    /// Creates a ring with options, made by [`build`](Builder::build) or
    /// [`build_exclusive`](Builder::build_exclusive).
    pub fn builder(capacity: usize) -> Builder<T> {
        Builder::new(capacity)
    }

    /// Creates a ring whose first position is `start` instead of 0, for tests of large positions.
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

    /// The position of the next value: the number of values that were sent or are being sent.
    pub fn position(&self) -> u64 {
        self.core().track.next()
    }

    /// Ends the ring. All its subscriptions end without an error, blocked senders return, and
    /// nothing more can be sent. Readers can still take what was sent before. The ring's values are
    /// dropped when the last reader is dropped, or at once if there are no readers.
    pub fn close(&self) {
        self.claimant.close();
    }

    /// Whether both are handles of one ring.
    ///
    /// ```
    /// let ring = fanfeed::RingFeed::<u8>::new(4)?;
    /// assert!(ring.same_channel(&ring.clone()));
    /// assert!(!ring.same_channel(&fanfeed::RingFeed::new(4)?));
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.claimant, &other.claimant)
    }

    /// A handle that does not keep the ring alive. It can be upgraded to a handle that sends.
    pub fn downgrade(&self) -> WeakRingFeed<T> {
        WeakRingFeed {
            claimant: Arc::downgrade(&self.claimant),
        }
    }

    /// A handle to subscribe with. It does not keep the ring alive.
    pub fn handle(&self) -> Handle<T> {
        Handle::new(Arc::clone(self.core()))
    }

    fn core(&self) -> &Arc<Core<T>> {
        self.claimant.core()
    }
}

impl<T> Builder<T> {
    /// Builds a ring that many threads may send on.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or more than 2^30.
    pub fn build(self) -> Result<RingFeed<T>, CapacityError> {
        let claimant = Arc::new(Claimant::new(self.capacity, self.drop_when_read)?);
        #[cfg(feature = "tracing")]
        self.set_up(claimant.core());
        Ok(RingFeed { claimant })
    }
}

impl<T: Send + Sync> RingFeed<T> {
    /// Sends a value, and waits for readers that keep the ring full. Returns the value's position:
    /// the number of values sent before it.
    ///
    /// On a closed ring this drops the value, and returns the position where the ring ended.
    ///
    /// A wait blocks the thread, and so the other tasks of an async executor's thread. In a task,
    /// use `send_async` (feature `async`).
    ///
    /// # Panics
    ///
    /// A ring has 2^60 positions, enough for a billion values a second for 36 years. A send beyond
    /// the last position panics.
    ///
    /// The value that was in the slot a lap before is dropped after this one is published. If its
    /// drop panics, the panic propagates; the ring is sound, and the value was sent.
    ///
    /// A send without a timeout panics if it would have to wait for room inside a handler of one of
    /// the ring's readers ([`Receiver::drain`] and similar methods), on the same thread: it
    /// might wait for that reader. It then sends nothing.
    #[inline]
    pub fn send(&self, value: T) -> u64 {
        self.claimant.send(value)
    }

    /// Sends a value if there is room. It waits for no reader. It may wait for another sender that
    /// looks for room.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] if there is no room, because of a reader, or because of a sender that
    /// has not filled its slot for a whole lap. [`slowest`](Self::slowest) tells which reader.
    /// [`TrySendError::Closed`] if the ring is closed.
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
        // A deadline beyond the range of the clock is no deadline.
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

    /// Sends a value, and waits for room without blocking the thread. The future completes with the
    /// value's position. On a closed ring it completes with the position where the ring ended.
    ///
    /// Cancel-safe: if the future is dropped before it has completed, the value was not sent.
    ///
    /// The send waits in the same line as blocked senders, in order of arrival. Inside a handler of
    /// one of the ring's readers it does not panic. If it waits for that reader, it cannot complete
    /// before the handler has returned.
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
    pub fn send_async(&self, value: T) -> SendAsync<'_, T> {
        SendAsync::new(&self.claimant, value)
    }

    /// Sends the values in order, and waits for room. Returns the position after the last value.
    ///
    /// The iterator yields 32 values at a time before any of these is sent. They are published
    /// together, except at the borders of eighths of the capacity; there, values of other threads
    /// may come in between. This allocates once, and once more for each 32 values if values have to
    /// be dropped.
    ///
    /// # Panics
    ///
    /// A panic of the iterator propagates. The whole blocks of 32 values that it had yielded have
    /// been sent, the rest has not. A panic of an old value's drop propagates too, after the value
    /// that took its slot was published; the rest of the values is not sent.
    pub fn send_batch<I: IntoIterator<Item = T>>(&self, values: I) -> u64 {
        self.claimant.send_batch(values)
    }

    /// Sends as many of the values as there is room for, in order. Returns the position after the
    /// last value.
    ///
    /// The iterator yields 32 values at a time, which are published together as with
    /// [`send_batch`](Self::send_batch).
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] with the values that found no room, because of a reader, or because
    /// of a sender that has not filled its slot for a whole lap. [`TrySendError::Closed`] with the
    /// values that were left when the ring was closed. The values before them have been sent. The
    /// iterator is read to its end in any case, so it must end. An empty batch does not fail.
    ///
    /// # Panics
    ///
    /// As for [`send_batch`](Self::send_batch). If the iterator panics after room has run out, the
    /// values that it yielded and that found no room are dropped.
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

    /// Sends the values in order, and waits up to `timeout` in all for room. Returns the position
    /// after the last value.
    ///
    /// # Errors
    ///
    /// As for [`try_send_batch`](Self::try_send_batch). `Full` has the values that were not sent in
    /// time.
    ///
    /// # Panics
    ///
    /// As for [`try_send_batch`](Self::try_send_batch).
    pub fn send_batch_timeout<I: IntoIterator<Item = T>>(
        &self,
        values: I,
        timeout: Duration,
    ) -> Result<u64, TrySendError<Vec<T>>> {
        // A deadline beyond the range of the clock is no deadline.
        self.claimant
            .send_batch_until(values, || Instant::now().checked_add(timeout))
    }

    /// Sends the values in order, and waits until `deadline` for room. Returns the position after
    /// the last value.
    ///
    /// # Errors
    ///
    /// As for [`try_send_batch`](Self::try_send_batch). `Full` has the values that were not sent in
    /// time.
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

    /// Makes a value from the default one with `write`, sends it, and waits for room. Returns the
    /// value's position.
    ///
    /// The value is complete before its position is claimed, so a slow `write` delays no other
    /// sender and no reader. The price is one move of the value into its slot. To write large
    /// values in place, over an old value whose memory can be reused, use an [`ExclusiveRingFeed`]
    /// ([`send_with`](ExclusiveRingFeed::send_with)). On a closed ring `write` is not called.
    ///
    /// # Panics
    ///
    /// If `write` or the value's default panics, nothing is sent and the panic propagates.
    /// Otherwise as for [`send`](Self::send).
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

subscribing_methods!(RingFeed);

clone_handle!(RingFeed<T> { claimant });

debug_struct!([T] RingFeed<T>, |this| RingFeed {
    capacity: this.capacity(),
    position: this.position(),
    subscribers: this.subscriber_count(),
});

/// A ring as a channel of a [`Feed`](crate::Feed). So one feed can serve a few channels and a
/// thousand readers of a ring. The feed clones each value once for the whole ring.
///
/// The ring is full when its slowest blocking reader is a whole ring behind. It ends when it has no
/// other handles and the feed drops its handle.
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
        self.claimant.poll_room(waker)
    }

    fn forget_waker(&self, waker: &Waker) {
        self.claimant.forget_waker(waker);
    }

    fn depth(&self) -> Option<usize> {
        self.claimant.core().depth()
    }

    fn capacity(&self) -> Option<usize> {
        Some(Self::capacity(self))
    }
}

/// A handle of a [`RingFeed`] that does not keep the ring alive. Made by [`RingFeed::downgrade`].
pub struct WeakRingFeed<T> {
    claimant: Weak<Claimant<T>>,
}

// As for `RingFeed`.
unwind_safe!([T] WeakRingFeed<T>);

impl<T> WeakRingFeed<T> {
    /// The ring, or `None` if all its sending handles have been dropped.
    pub fn upgrade(&self) -> Option<RingFeed<T>> {
        let claimant = self.claimant.upgrade()?;
        Some(RingFeed { claimant })
    }
}

clone_handle!(WeakRingFeed<T> { claimant });

debug_struct!([T] WeakRingFeed<T>, |this| WeakRingFeed {
    alive: this.claimant.strong_count() > 0,
});

publish_by_methods!(RingFeed<T>, RingFeed, [Send + Sync] -> u64, TrySendError<T>);
publish_by_methods!(&RingFeed<T>, RingFeed, [Send + Sync] -> u64, TrySendError<T>);
