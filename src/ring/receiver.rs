//! A reader of a ring.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::Waker;
#[cfg(feature = "async")]
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::error::{RecvError, RecvTimeoutError, TryRecvError};
use crate::receive::{self, Receive};
#[cfg(feature = "async")]
use crate::receive::{ForgetWaker, PollReceive};
use crate::subscription::{Stats, Subscription};
use crate::sync::{MODELLED, mutant};
use crate::traits::{debug_struct, unwind_safe};
#[cfg(feature = "async")]
use crate::wait::not_completed;
use crate::wait::{PaceBefore, Parker};

use super::cursor::Cursor;
use super::event::{Event, Events};
use super::reader::Reader;
use super::waiting::{Awake, WaitStrategy};
use super::wakeups::{ReaderPlace, WaitsFor};

/// A reader of a [`RingFeed`](crate::RingFeed). Dropping it unsubscribes, and frees its slots at
/// once.
///
/// It reads by reference, as many values at a time as there are ([`drain`](Self::drain)), or takes
/// clones one by one ([`recv`](Self::recv) and similar methods, the iterators, `Stream`).
///
/// # Lagging
///
/// A reader that [drops the oldest](crate::ring::Overflow::DropOldest) misses values when it falls
/// behind. The next read then returns `Lagged(n)` once, and the read after it goes on with the next
/// value. The iterators and the `Stream` skip `Lagged`, and [`missed`](Self::missed) counts all
/// missed values. What the reader received, missed and [skipped](Self::skipped) always adds up to
/// what was sent.
///
/// # Closing
///
/// Once the ring has ended, the reader can still read what was sent; after that every read returns
/// `Closed`. Once the subscription was cancelled, every read returns `Closed` at once. If the
/// subscription ended because the reader fell behind
/// ([`Overflow::Disconnect`](crate::ring::Overflow::Disconnect)), every read returns
/// `Overflowed`.
///
/// # Leaving
///
/// A [blocking](crate::ring::Overflow::Block) reader that stops reading blocks the senders for
/// ever; that is its promise. So does a reader that is forgotten ([`std::mem::forget`]). The ring
/// is released when the reader is dropped, also by a panic that unwinds through it, or when any
/// thread calls [`Subscription::unsubscribe`](crate::Subscription::unsubscribe).
///
/// # Examples
///
/// ```
/// let mut ring = fanfeed::ExclusiveRingFeed::new(8)?;
/// let mut reader = ring.subscribe();
/// ring.send("a");
/// ring.send("b");
/// ring.close();
/// assert_eq!(reader.recv(), Ok("a"));
/// assert_eq!(reader.iter().collect::<Vec<_>>(), ["b"]);
/// # Ok::<(), fanfeed::CapacityError>(())
/// ```
pub struct Receiver<T> {
    reader: Reader<T>,
    subscription: Subscription,
    awake: Awake,
    /// The reader's place in a wake list while it waits.
    place: ReaderPlace,
    pace: PaceBefore,
}

// A value counts as read before user code sees it. If user code then panics, the reader is behind
// that value.
unwind_safe!([T] Receiver<T>);

impl<T: Send + Sync + 'static> Receiver<T> {
    pub(crate) fn new(reader: Reader<T>, waiting: WaitStrategy) -> Self {
        let pace = PaceBefore::new(reader.position());
        Self {
            subscription: Subscription::from_source(Arc::clone(&reader.member) as _),
            reader,
            awake: Awake::new(waiting),
            place: ReaderPlace::default(),
            pace,
        }
    }
}

impl<T> Receiver<T> {
    /// For the reads that do not wait: see [`drain`](Self::drain).
    #[inline]
    fn pause_if_few(&mut self) {
        // A reader that has waited knows of a value, and takes it at once.
        if !self.reader.has_unread() {
            self.pace.pause(self.reader.position());
        }
    }

    /// Passes all values that are there to `f`, in order and by reference, and returns how many. It
    /// does not wait: see [`wait`](Self::wait).
    ///
    /// On a ring that many threads may send on, "there" means what one of the readers has last
    /// seen, if this reader has not yet read all of it. Values that were sent since then come with
    /// the next call. (It would cost the senders too much if each reader looked for itself.)
    ///
    /// Slots are released half of the ring at a time, or when this returns. While a parked sender
    /// waits for this reader, they are released an eighth at a time. The call stops early where
    /// values were missed: the next read says how many.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if there is no value to pass. See [Lagging](#lagging) and
    /// [Closing](#closing) for the others.
    ///
    /// # Panics
    ///
    /// A panic of `f` propagates. The value that `f` was given has been read, the values after it
    /// have not. `f` may send on the same ring if there is room. The slots that are being read are
    /// not free until this returns, so a [`send`](crate::RingFeed::send) that would have to wait
    /// for room panics. Use [`try_send`](crate::RingFeed::try_send) or
    /// [`send_timeout`](crate::RingFeed::send_timeout) there. (A send on a feed that this ring is
    /// subscribed to is not detected, and waits.)
    ///
    /// # A reader that polls
    ///
    /// A call that knows of no value may pause before it looks. It pauses if fewer than 32 values
    /// were read since the last call that knew of none. The pause is 32 spin hints (about a
    /// microsecond, or less). Without it, a thread that polls without a break would move a cache
    /// line between the cores for each value, and senders would wait for it. The pause is two hints
    /// shorter for each look of another reader on this thread in the meantime that also followed
    /// only a few values. So a thread that polls more than sixteen such readers in turn does not
    /// pause. A reader that finds nothing twice does not pause again, and there is no pause after
    /// [`wait`](Self::wait). The same holds for all reads that do not wait.
    ///
    /// # Stopping
    ///
    /// Once `f` has cancelled the subscription, `f` gets no other value. If another thread cancels
    /// it, `f` may still get the rest of the current eighth of the ring, because the loop reads
    /// nothing that other threads write. [`drain_with`](Self::drain_with) checks after each value,
    /// and its handler can stop it.
    #[inline]
    pub fn drain(&mut self, f: impl FnMut(&T)) -> Result<usize, TryRecvError> {
        self.pause_if_few();
        self.reader.read(usize::MAX, f)
    }

    /// Like [`drain`](Self::drain), for up to `limit` values.
    ///
    /// # Errors
    ///
    /// As for [`drain`](Self::drain).
    #[inline]
    pub fn drain_up_to(&mut self, limit: usize, f: impl FnMut(&T)) -> Result<usize, TryRecvError> {
        self.pause_if_few();
        self.reader.read(limit, f)
    }

    /// Passes a batch of the values that are there to `f`, each with its position; `f` can stop the
    /// batch. Returns `Continue` with the number of values passed, if `f` was given the whole batch
    /// or the subscription was cancelled meanwhile. Returns `Break` with what `f` returned if `f`
    /// stopped the batch.
    ///
    /// A batch is what [`drain`](Self::drain) would pass. For a reader that is not
    /// [blocking](crate::ring::Overflow::Block), a batch ends with the current eighth of the ring,
    /// because values may be missing after it. The last value of the batch [says
    /// so](Event::is_last).
    ///
    /// The values that `f` was given have been read, including the one at which it stopped. The
    /// others stay for the next read. Once the subscription has been cancelled, by `f` or on
    /// another thread, `f` gets no other value. If `f` cancelled or stopped the batch, slots that
    /// were not read are free when this returns.
    ///
    /// It takes a little longer for each value than `drain`, which passes no positions.
    ///
    /// # Errors
    ///
    /// As for [`drain`](Self::drain).
    ///
    /// # Panics
    ///
    /// As for [`drain`](Self::drain).
    ///
    /// # Examples
    ///
    /// A journal that is flushed at the end of each batch, and ends at a certain value:
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// let mut ring = fanfeed::ExclusiveRingFeed::new(8)?;
    /// let mut reader = ring.subscribe();
    /// ring.send_batch(["a", "b", "stop", "c"]);
    ///
    /// let (mut pending, mut journal) = (Vec::new(), Vec::new());
    /// let outcome = reader.drain_with(|event| {
    ///     if *event.value() == "stop" {
    ///         return ControlFlow::Break(event.position());
    ///     }
    ///     pending.push((event.position(), *event.value()));
    ///     if event.is_last() {
    ///         journal.append(&mut pending);
    ///     }
    ///     ControlFlow::Continue(())
    /// });
    /// assert_eq!(outcome, Ok(ControlFlow::Break(2)));
    /// assert_eq!(pending, [(0, "a"), (1, "b")]);
    /// assert_eq!(journal, []);
    /// // The rest is still there.
    /// assert_eq!(reader.position(), 3);
    /// assert_eq!(reader.recv(), Ok("c"));
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    #[inline]
    pub fn drain_with<B>(
        &mut self,
        f: impl FnMut(Event<'_, T>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B, usize>, TryRecvError> {
        self.pause_if_few();
        self.reader.read_batch(Events(f))
    }

    /// The position of the next value that the reader will get, unless it misses that value. This
    /// is the position where the reader began, plus the number of values that it was given, was
    /// told to have missed, and skipped.
    ///
    /// So right after any kind of receive has returned a value, that value's position is one less.
    /// To continue here later, after a restart of the program or on another ring with the same
    /// positions, subscribe a reader [from](crate::ring::SubscriberBuilder::from) this position.
    ///
    /// ```
    /// let mut ring = fanfeed::ExclusiveRingFeed::new(8)?;
    /// ring.send("before");
    /// let mut reader = ring.subscribe();
    /// assert_eq!(reader.position(), 1);
    /// assert_eq!(ring.send("first"), 1);
    /// assert_eq!(reader.recv(), Ok("first"));
    /// assert_eq!(reader.position(), 2);
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn position(&self) -> u64 {
        self.reader.told()
    }

    /// Skips all values that are there except the newest, which the next read then returns. Returns
    /// how many values it skipped. Their slots are free at once.
    ///
    /// This is for a reader that wants the current state without its history. Skipped values are
    /// not [missed](Self::missed); they are [counted](Self::skipped) separately. Among the
    /// [figures](Self::stats) they count as delivered. On a ring that many threads may send on, the
    /// reader may not see a value yet that a sender completes at the same time, as with
    /// [`drain`](Self::drain).
    ///
    /// # Errors
    ///
    /// As for [`drain`](Self::drain). In particular, where values were missed, this returns
    /// [`TryRecvError::Lagged`] and skips nothing. A reader that is not blocking may still be
    /// overtaken before its next read, which then says so.
    ///
    /// ```
    /// let mut ring = fanfeed::ExclusiveRingFeed::new(8)?;
    /// let mut screen = ring.subscribe();
    /// ring.send_batch(["old", "older", "new"]);
    /// assert_eq!(screen.skip_to_newest(), Ok(2));
    /// assert_eq!(screen.recv(), Ok("new"));
    /// assert_eq!((screen.skipped(), screen.missed()), (2, 0));
    /// assert!(screen.skip_to_newest().unwrap_err().is_empty());
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn skip_to_newest(&mut self) -> Result<u64, TryRecvError> {
        self.reader.skip_to_newest()
    }

    /// Waits, in the reader's [way of waiting](WaitStrategy), until the next read returns something
    /// other than `Empty`.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] or [`RecvError::Overflowed`] if no value will come any more.
    ///
    /// ```
    /// let mut ring = fanfeed::ExclusiveRingFeed::new(8)?;
    /// let mut reader = ring.subscribe();
    /// let sum = std::thread::spawn(move || {
    ///     let mut sum = 0;
    ///     while reader.wait().is_ok() {
    ///         let _ = reader.drain(|number| sum += number);
    ///     }
    ///     sum
    /// });
    /// ring.send_batch(1..=100);
    /// drop(ring);
    /// assert_eq!(sum.join().unwrap(), 5050);
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn wait(&mut self) -> Result<(), RecvError> {
        self.wait_until(None)
            .map_err(RecvTimeoutError::without_limit)
    }

    /// Like [`wait`](Self::wait), but waits at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`] if no value came; otherwise as for [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<(), RecvTimeoutError> {
        // A deadline beyond the range of the clock is no deadline.
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// Like [`wait`](Self::wait), but waits until `deadline`.
    ///
    /// # Errors
    ///
    /// As for [`wait_timeout`](Self::wait_timeout).
    pub fn wait_deadline(&mut self, deadline: Instant) -> Result<(), RecvTimeoutError> {
        self.wait_until(Some(deadline))
    }

    /// The number of values that were sent and that this reader has neither read nor counted as
    /// missed. It may grow at any time while senders run.
    ///
    /// On a ring that many threads may send on, values that senders are still writing count too,
    /// and so do the values behind them. So for a moment this may be more than 0 while
    /// [`try_recv`](Self::try_recv) returns `Empty`. It is never 0 while there is a value that
    /// `try_recv` would return.
    pub fn lag(&self) -> u64 {
        let next = self.reader.core().track.next();
        if self.reader.member.is_cut() {
            0
        } else {
            next.saturating_sub(self.reader.position())
        }
    }

    /// Whether the [`lag`](Self::lag) is 0. While senders run, a result of true may be outdated a
    /// moment later.
    ///
    /// ```
    /// let ring = fanfeed::RingFeed::new(4)?;
    /// let reader = ring.subscribe();
    /// assert!(reader.is_empty());
    /// ring.send(1);
    /// assert!(!reader.is_empty());
    /// assert_eq!(reader.lag(), 1);
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.lag() == 0
    }

    /// How many values this reader has missed so far, in the order of the stream: up to the last
    /// value that it was given. [Skipped](Self::skip_to_newest) values are not missed.
    pub fn missed(&self) -> u64 {
        self.reader.missed()
    }

    /// How many values this reader has skipped so far, by [`skip_to_newest`](Self::skip_to_newest).
    pub fn skipped(&self) -> u64 {
        self.reader.skipped()
    }

    /// The most values that the ring holds.
    pub fn capacity(&self) -> usize {
        self.reader.core().track.shape().capacity() as usize
    }

    /// A cursor of this reader: other readers can [follow](crate::ring::SubscriberBuilder::after)
    /// it, and other threads can watch it.
    pub fn cursor(&self) -> Cursor<T> {
        Cursor::new(Arc::clone(&self.reader.member))
    }

    /// How this reader waits.
    pub fn wait_strategy(&self) -> WaitStrategy {
        self.awake.wait_strategy()
    }

    /// Whether the subscription has ended. Unless it was cancelled, the reader can still read what
    /// was sent before.
    pub fn is_closed(&self) -> bool {
        self.subscription.is_closed()
    }

    /// Ends the subscription: see [`Subscription::unsubscribe`]. Afterwards the reader holds no slot,
    /// and every read returns `Closed`.
    ///
    /// ```
    /// use fanfeed::TryRecvError;
    ///
    /// let ring = fanfeed::RingFeed::new(4)?;
    /// let mut reader = ring.subscribe();
    /// ring.send(1);
    /// reader.unsubscribe();
    /// assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
    /// assert_eq!(ring.subscriber_count(), 0);
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn unsubscribe(&self) {
        self.subscription.unsubscribe();
    }

    /// The subscription of this reader.
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// The figures of this reader's subscription. `delivered` is what was sent to it and not
    /// missed, read or not; `depth` is its lag.
    pub fn stats(&self) -> Stats {
        self.subscription.stats()
    }

    /// Returns the reader, and a handle of its subscription for a scope or another thread. Dropping
    /// either ends the subscription.
    pub fn split(self) -> (Self, Subscription) {
        let subscription = self.subscription.share();
        (self, subscription)
    }

    // ---- Waiting ----

    fn wait_until(&mut self, deadline: Option<Instant>) -> Result<(), RecvTimeoutError> {
        let reader = &mut self.reader;
        if !reader.has_unread() && !self.awake.wait(deadline, || reader.is_ready()) {
            if self.awake.wait_strategy() == WaitStrategy::Spin && !MODELLED {
                // The reader has spun until the deadline.
                return Err(RecvTimeoutError::Timeout);
            }
            self.park_until(deadline)?;
        } else {
            self.count_wait();
        }
        self.reader.say_if_ended()
    }

    /// Counts a wait that ended without parking. After enough of them in a row, senders need no
    /// longer pay a fence for this reader.
    fn count_wait(&mut self) {
        if self.awake.count_wait() {
            self.grow_lively();
        }
    }

    fn grow_lively(&mut self) {
        if self.awake.set_drowsy(false) {
            self.reader.core().wakeups.grow_lively();
        }
    }

    /// From now on senders check whether this reader is parked.
    fn grow_drowsy(&mut self) {
        if !self.awake.set_drowsy(true) {
            self.reader.core().wakeups.grow_drowsy();
        }
    }

    #[cold]
    fn park_until(&mut self, deadline: Option<Instant>) -> Result<(), RecvTimeoutError> {
        let parker = Parker::current();
        self.grow_drowsy();
        let outcome = loop {
            let list = self.join_line(parker.waker());
            if self.reader.is_ready() {
                break Ok(());
            }
            if self.reader.waits_for() != list && !mutant!("reader_stays_in_its_list") {
                continue;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break Err(RecvTimeoutError::Timeout);
            }
            parker.park(deadline);
            // Usually a sender woke the reader, and the reader is no longer in the list.
            if self.reader.is_ready() {
                break Ok(());
            }
        };
        self.leave_line();
        outcome
    }

    /// Joins the list of readers that wait for the same event. The caller must then look once more,
    /// and join again if the reader now waits for something else.
    fn join_line(&mut self, waker: &Waker) -> WaitsFor {
        let list = self.reader.waits_for();
        let wakeups = &self.reader.core().wakeups;
        wakeups.join_readers(&mut self.place, list, waker);
        list
    }

    fn leave_line(&mut self) {
        let wakeups = &self.reader.core().wakeups;
        wakeups.leave_readers(&mut self.place);
    }
}

impl<T: Clone> Receiver<T> {
    /// Takes a clone of the next value, if there is one now.
    ///
    /// A ring has one total order. If a sender has completed a value behind one that another sender
    /// is still writing, the completed value is not published before the other one. In that case
    /// this returns `Empty`, and does not wait for the sender that is writing.
    /// [`wait`](Self::wait), [`recv`](Self::recv) and the `Stream` wait for both. So a thread that
    /// has got its own value's position from [`send`](crate::RingFeed::send) may not find that
    /// value with this.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if there is no value. See [Lagging](#lagging) and
    /// [Closing](#closing) for the others.
    ///
    /// # Panics
    ///
    /// A panic of the value's `clone` propagates; the value has been read.
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.pause_if_few();
        self.take()
    }

    /// Like [`try_recv`](Self::try_recv), without a pause.
    #[inline]
    fn take(&mut self) -> Result<T, TryRecvError> {
        let mut taken = None;
        self.reader.read(1, |value| taken = Some(value.clone()))?;
        // Without an error, exactly one value was passed.
        taken.ok_or(TryRecvError::Empty)
    }

    /// Takes a clone of the next value, and waits for it.
    ///
    /// # Errors
    ///
    /// See [Lagging](#lagging) and [Closing](#closing).
    ///
    /// # Panics
    ///
    /// As for [`try_recv`](Self::try_recv).
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.recv_until(None)
            .map_err(RecvTimeoutError::without_limit)
    }

    /// Like [`try_recv`](Self::try_recv), with the value's position: the number of values sent
    /// before it.
    ///
    /// # Errors
    ///
    /// As for [`try_recv`](Self::try_recv).
    ///
    /// # Panics
    ///
    /// As for [`try_recv`](Self::try_recv).
    pub fn try_recv_with_position(&mut self) -> Result<(u64, T), TryRecvError> {
        let value = self.try_recv()?;
        Ok((self.position() - 1, value))
    }

    /// Like [`recv`](Self::recv), with the value's position: the number of values sent before it.
    /// After any other receive, the position is one less than [`position`](Self::position).
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv).
    ///
    /// # Panics
    ///
    /// As for [`try_recv`](Self::try_recv).
    ///
    /// ```
    /// let mut ring = fanfeed::ExclusiveRingFeed::new(8)?;
    /// let mut reader = ring.subscribe();
    /// let sent = ring.send("a");
    /// assert_eq!(reader.recv_with_position(), Ok((sent, "a")));
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn recv_with_position(&mut self) -> Result<(u64, T), RecvError> {
        let value = self.recv()?;
        Ok((self.position() - 1, value))
    }

    /// Takes a clone of the next value, and waits for it up to `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`] if no value came. See [Lagging](#lagging) and
    /// [Closing](#closing) for the others.
    ///
    /// # Panics
    ///
    /// As for [`try_recv`](Self::try_recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        // A deadline beyond the range of the clock is no deadline.
        self.recv_until(Instant::now().checked_add(timeout))
    }

    /// Takes a clone of the next value, and waits for it until `deadline`.
    ///
    /// # Errors
    ///
    /// As for [`recv_timeout`](Self::recv_timeout).
    ///
    /// # Panics
    ///
    /// As for [`try_recv`](Self::try_recv).
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Some(deadline))
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        loop {
            match self.take() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Empty) => self.wait_until(deadline)?,
                Err(error) => return Err(error.at_limit()),
            }
        }
    }

    /// An iterator that waits for each value. It ends when the subscription has ended and every
    /// value is taken.
    pub fn iter(&mut self) -> receive::Iter<'_, Self> {
        receive::Iter(self)
    }

    /// An iterator over the values that are there. It ends where there is none, without waiting.
    pub fn try_iter(&mut self) -> receive::TryIter<'_, Self> {
        receive::TryIter(self)
    }
}

#[cfg(feature = "async")]
impl<T> Receiver<T> {
    /// Registers the task's waker if there is nothing to read or to report.
    pub(crate) fn poll_wait(&mut self, context: &Context<'_>) -> Poll<Result<(), RecvError>> {
        let found = self.poll_look(context, |receiver| match receiver.reader.is_ready() {
            true => Ok(()),
            false => Err(TryRecvError::Empty),
        });
        found.map(|found| {
            found?;
            let ended = self.reader.say_if_ended();
            ended.map_err(RecvTimeoutError::without_limit)
        })
    }

    /// Returns what `look` finds, or registers the task's waker if it finds nothing.
    #[inline]
    fn poll_look<R>(
        &mut self,
        context: &Context<'_>,
        mut look: impl FnMut(&mut Self) -> Result<R, TryRecvError>,
    ) -> Poll<Result<R, RecvError>> {
        let mut list = None;
        loop {
            let result = match look(self) {
                Ok(found) => Ok(found),
                Err(TryRecvError::Empty) if list == Some(self.reader.waits_for()) => {
                    not_completed();
                    return Poll::Pending;
                }
                Err(TryRecvError::Empty) => {
                    self.grow_drowsy();
                    list = Some(self.join_line(context.waker()));
                    continue;
                }
                Err(error) => Err(error.at_limit().without_limit()),
            };
            self.leave_line();
            self.count_wait();
            return Poll::Ready(result);
        }
    }

    /// Whether nothing will be read any more.
    pub(crate) fn is_at_end(&self) -> bool {
        self.reader.member.is_cut() || self.reader.is_at_end()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.leave_line();
        self.grow_lively();
        // This receiver has two references, in the reader and in the subscription, and the ring has
        // a weak one. References that other threads take from the ring's do not ask for figures. A
        // `SubscriptionHandle` has a weak one too, and may ask until the last reference is gone.
        let member = &self.reader.member;
        let has_handles = Arc::strong_count(member) > 2 || Arc::weak_count(member) > 1;
        self.reader.member.leave(has_handles);
    }
}

debug_struct!([T] Receiver<T>, |this| Receiver {
    subscription: this.subscription,
    lag: this.lag(),
    capacity: this.capacity(),
    waiting: this.wait_strategy(),
});

#[cfg(feature = "async")]
impl<T> ForgetWaker for Receiver<T> {
    fn forget_waker(&mut self) {
        self.leave_line();
    }
}

impl<T: Clone> Receive for Receiver<T> {
    type Value = T;

    fn next_value(&mut self) -> Result<T, RecvError> {
        self.recv()
    }

    fn next_value_now(&mut self) -> Result<T, TryRecvError> {
        self.try_recv()
    }
}

#[cfg(feature = "async")]
impl<T: Clone> PollReceive for Receiver<T> {
    type Value = T;

    #[inline]
    fn poll_value(&mut self, context: &Context<'_>) -> Poll<Result<T, RecvError>> {
        self.poll_look(context, Self::take)
    }

    fn poll_values(
        &mut self,
        context: &Context<'_>,
        values: &mut Vec<T>,
        limit: usize,
    ) -> Poll<Result<usize, RecvError>> {
        self.poll_look(context, |receiver| {
            let clone = |value: &T| values.push(value.clone());
            match receiver.reader.read(limit, clone)? {
                0 => Err(TryRecvError::Empty),
                read => Ok(read),
            }
        })
    }
}

impl<T: Clone> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = receive::IntoIter<Self>;

    fn into_iter(self) -> Self::IntoIter {
        receive::IntoIter(self)
    }
}

impl<'a, T: Clone> IntoIterator for &'a mut Receiver<T> {
    type Item = T;
    type IntoIter = receive::Iter<'a, Receiver<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
