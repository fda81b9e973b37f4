//! A reader of a ring.

use std::fmt;
use std::ops::ControlFlow;
use std::panic::{RefUnwindSafe, UnwindSafe};
#[cfg(feature = "async")]
use std::ptr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::error::{RecvError, RecvTimeoutError, TryRecvError};
use crate::subscription::{Stats, Subscription};
use crate::sync::{MODELLED, mutant};
use crate::wait::{PaceBefore, Parker};
#[cfg(feature = "async")]
use crate::wait::{not_completed, poll_turn};

use super::cursor::RingCursor;
use super::event::{Events, RingEvent};
use super::iter::{RingIter, RingTryIter};
use super::reader::Reader;
use super::waiting::{Awake, Waiting};
use super::wakeups::{ReaderPlace, WaitsFor};

/// A reader of a [`RingFeed`](crate::RingFeed). Dropping it unsubscribes, and its slots are free at once.
///
/// It reads by reference, as many values at a time as there are ([`drain`](Self::drain)), or takes clones one by one
/// ([`recv`](Self::recv) and its like, the iterators, `Stream`).
///
/// # Lagging
///
/// A reader that [drops the oldest](crate::RingOverflow::DropOldest) misses values when it falls behind. The next read then
/// returns `Lagged(n)` once, and the one after it goes on with the next value. The iterators and the `Stream` skip these,
/// and [`missed`](Self::missed) counts them all: received, missed and [skipped](Self::skipped) are together always what was
/// sent.
///
/// # Closing
///
/// Once the ring has ended, what was sent can still be read; after that every read returns `Closed`. Once the subscription
/// was cancelled, every read returns `Closed` at once; and `Overflowed` if it ended because the reader fell behind
/// ([`RingOverflow::Disconnect`](crate::RingOverflow::Disconnect)).
///
/// # Leaving
///
/// A [blocking](crate::RingOverflow::Block) reader that stops reading holds the sender for ever; that is its promise. One that
/// is forgotten ([`std::mem::forget`]) does too: what releases the ring is dropping it, a panic that unwinds through it, or
/// [`Subscription::unsubscribe`](crate::Subscription::unsubscribe), from any thread.
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
pub struct RingReceiver<T> {
    reader: Reader<T>,
    subscription: Subscription,
    awake: Awake,
    /// Its place in a wake list while it waits.
    place: ReaderPlace,
    pace: PaceBefore,
}

// A value counts as read before code of others sees it, so what panics then leaves the reader behind that value.
impl<T> UnwindSafe for RingReceiver<T> {}
impl<T> RefUnwindSafe for RingReceiver<T> {}

impl<T: Send + Sync + 'static> RingReceiver<T> {
    pub(crate) fn new(reader: Reader<T>, waiting: Waiting) -> Self {
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

impl<T> RingReceiver<T> {
    /// For the reads that do not wait: see [`drain`](Self::drain).
    #[inline]
    fn pause_if_few(&mut self) {
        // A reader that has waited knows of a value, and gets it at once.
        if !self.reader.has_unread() {
            self.pace.pause(self.reader.position());
        }
    }

    /// Hands all values that are there to `f`, in order and by reference, and returns how many. It does not wait: see
    /// [`wait`](Self::wait).
    ///
    /// On a ring that many threads may send on, this is what one of the readers has last seen to be there, if this reader has
    /// not read that yet: then values that were sent since come with the next call. (Each reader's looking for itself
    /// would cost the senders too much.)
    ///
    /// Slots are released half of the ring at a time, or when this returns; an eighth at a time while a parked sender waits
    /// for this reader. It stops early where values were missed: the next read says how many.
    ///
    /// # Errors
    ///
    /// If there is no value to hand out: [`TryRecvError::Empty`], and see [Lagging](#lagging) and [Closing](#closing).
    ///
    /// # Panics
    ///
    /// A panic of `f` goes through. The value it was given has been read, those after it have not.
    /// `f` may send on the same ring if there is room. The slots that are being read are not free
    /// until this returns, so a [`send`](crate::RingFeed::send) that would have to wait for room
    /// panics. Use [`try_send`](crate::RingFeed::try_send) or
    /// [`send_timeout`](crate::RingFeed::send_timeout) there. (A send on a feed that this ring is
    /// subscribed to is not detected, and waits.)
    ///
    /// # A reader that polls
    ///
    /// A call that knows of no value, after fewer than 32 values since another call did, pauses for 32 spin hints (about a
    /// microsecond, or less) and looks then. If it did not, a thread that polls without a break would move a cache line between
    /// the cores for each value, and senders would wait for it. The pause is shorter by two
    /// hints for each look of another reader on this thread meanwhile, after few values too: a thread that polls more than sixteen
    /// such readers in turn does not pause. A reader that finds
    /// nothing twice does not pause again, and after [`wait`](Self::wait) there is no pause. The same holds for all reads that do
    /// not wait.
    ///
    /// # Stopping
    ///
    /// Once `f` has cancelled the subscription, it gets no other value. If another thread cancels it, `f` may still get the
    /// rest of that eighth of the ring: the loop looks at nothing that other threads write.
    /// [`drain_with`](Self::drain_with) looks after each value, and its handler can stop it.
    #[inline]
    pub fn drain(&mut self, f: impl FnMut(&T)) -> Result<usize, TryRecvError> {
        self.pause_if_few();
        self.reader.read(usize::MAX, f)
    }

    /// As [`drain`](Self::drain), for up to `limit` values.
    ///
    /// # Errors
    ///
    /// As for [`drain`](Self::drain).
    #[inline]
    pub fn drain_up_to(&mut self, limit: usize, f: impl FnMut(&T)) -> Result<usize, TryRecvError> {
        self.pause_if_few();
        self.reader.read(limit, f)
    }

    /// Hands a batch of the values that are there to `f`, each with its position; `f` can stop it. Returns
    /// `Continue` with the number of values that `f` was given if it was given the whole batch, or if the subscription was
    /// cancelled meanwhile; and `Break` with what `f` returned if `f` stopped it.
    ///
    /// A batch is what [`drain`](Self::drain) would hand out; only for a reader that is not
    /// [blocking](crate::RingOverflow::Block) it ends with that eighth of the ring, because values may be missing after it.
    /// The last value of the batch [says so](RingEvent::is_last).
    ///
    /// The values that `f` was given have been read, including the one at which it stopped. The others stay for the next
    /// read. Once the subscription has been cancelled, by `f` or on another thread, `f` gets no other value. If it was
    /// cancelled by `f`, or stopped by it, slots that were not read are free when this returns.
    ///
    /// It takes a little longer for each value than `drain`, which knows only the values.
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
    /// A journal that is flushed at the end of each batch, and ends with a certain value:
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
        f: impl FnMut(RingEvent<'_, T>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B, usize>, TryRecvError> {
        self.pause_if_few();
        self.reader.read_batch(Events(f))
    }

    /// Where the reader is: the position of the next value, unless that will have been missed. It is the position where the
    /// reader began, plus the values that it was handed, those that it was told to have missed, and those that it skipped.
    ///
    /// So right after a receive has returned a value, of whatever kind, that value's position is one less. A reader that is
    /// to go on from here later, after the program was started again or on another ring with the same positions, begins
    /// [from](crate::RingSubscriberBuilder::from) this.
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

    /// Passes over all values that are there except the newest, which the next read then returns. Returns how many it passed
    /// over. Their slots are free at once.
    ///
    /// For a reader that wants the current state, and no history of it. What is skipped on request is not
    /// [missed](Self::missed), but [counted](Self::skipped) apart; among the [figures](Self::stats) it counts as delivered.
    /// On a ring that many threads may send on, a value that a sender completes at the same time may not be seen yet, as
    /// with [`drain`](Self::drain).
    ///
    /// # Errors
    ///
    /// As for [`drain`](Self::drain): in particular [`TryRecvError::Lagged`] comes first where values were missed, and
    /// nothing is skipped then. A reader that is not blocking may still be overtaken before its next read, which then says
    /// so.
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

    /// Waits, in [its way](Waiting), until the next read returns something other than `Empty`.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] or [`RecvError::Overflowed`] if nothing will come any more.
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
    /// [`RecvTimeoutError::Timeout`] if nothing came; otherwise as for [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<(), RecvTimeoutError> {
        // A limit beyond what the clock can count is no limit.
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

    /// How many values were sent that this reader has neither read nor counted as missed. While senders run there may be
    /// more a moment later.
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

    /// How many values this reader has missed so far, by the order of the stream: up to the last value it was handed. What it
    /// has [skipped](Self::skip_to_newest) is not missed.
    pub fn missed(&self) -> u64 {
        self.reader.missed()
    }

    /// How many values this reader has passed over so far, by [`skip_to_newest`](Self::skip_to_newest).
    pub fn skipped(&self) -> u64 {
        self.reader.skipped()
    }

    /// How many values the ring holds.
    pub fn capacity(&self) -> usize {
        self.reader.core().track.shape().capacity() as usize
    }

    /// Where this reader is, for readers that are to [follow](crate::RingSubscriberBuilder::after)
    /// it, and for other threads to watch.
    pub fn cursor(&self) -> RingCursor<T> {
        RingCursor::new(Arc::clone(&self.reader.member))
    }

    /// How it waits.
    pub fn waiting(&self) -> Waiting {
        self.awake.waiting()
    }

    /// Whether the subscription has ended. Unless it was cancelled, what was sent before can still be read.
    pub fn is_closed(&self) -> bool {
        self.subscription.is_closed()
    }

    /// The subscription of this reader.
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// The figures of its subscription: `delivered` is what was sent to it and not missed, read or not; `depth` its lag.
    pub fn stats(&self) -> Stats {
        self.subscription.stats()
    }

    /// Gives the subscription a handle of its own, for a scope or another thread. Dropping either ends the subscription.
    pub fn split(self) -> (Self, Subscription) {
        let subscription = self.subscription.share();
        (self, subscription)
    }

    // ---- Waiting ----

    fn wait_until(&mut self, deadline: Option<Instant>) -> Result<(), RecvTimeoutError> {
        let reader = &mut self.reader;
        if !reader.has_unread() && !self.awake.wait(deadline, || reader.is_ready()) {
            if self.awake.waiting() == Waiting::Spin && !MODELLED {
                // It has spun until the deadline.
                return Err(RecvTimeoutError::Timeout);
            }
            self.park_until(deadline)?;
        } else {
            self.count_wait();
        }
        self.reader.say_if_ended()
    }

    /// A reader that has gone for a while without parking need not cost senders a fence.
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

    /// Senders are to look whether this reader is parked.
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
            // Mostly it was woken, and is in the list no more.
            if self.reader.is_ready() {
                break Ok(());
            }
        };
        self.leave_line();
        outcome
    }

    /// Joins the list of readers that wait for the same. It has to look once more, and to join again if it then waits for
    /// something else.
    fn join_line(&mut self, waker: &Waker) -> WaitsFor {
        let list = self.reader.waits_for();
        let wakeups = &self.reader.core().wakeups;
        wakeups.join_readers(&mut self.place, list, waker);
        list
    }

    pub(crate) fn leave_line(&mut self) {
        let wakeups = &self.reader.core().wakeups;
        wakeups.leave_readers(&mut self.place);
    }
}

impl<T: Clone> RingReceiver<T> {
    /// Takes a clone of the next value, if there is one now.
    ///
    /// A ring has one total order. A value that a sender has completed behind one that another
    /// sender is still writing is not published before that one. In that case this returns `Empty`,
    /// and does not wait for the writer. [`wait`](Self::wait), [`recv`](Self::recv) and the
    /// `Stream` wait for both. So a thread that has got its own value's position from
    /// [`send`](crate::RingFeed::send) may not find the value with this.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if there is none, and see [Lagging](#lagging) and [Closing](#closing).
    ///
    /// # Panics
    ///
    /// A panic of the value's `clone` goes through; the value has been read.
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.pause_if_few();
        self.take()
    }

    /// As [`try_recv`](Self::try_recv), without a pause.
    #[inline]
    fn take(&mut self) -> Result<T, TryRecvError> {
        let mut taken = None;
        self.reader.read(1, |value| taken = Some(value.clone()))?;
        // One value was handed out, or there was an error.
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

    /// As [`try_recv`](Self::try_recv), with the value's position: how many values were sent before it.
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

    /// As [`recv`](Self::recv), with the value's position: how many values were sent before it. After other ways of
    /// receiving, ask for [`position`](Self::position): it is one more.
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
    /// [`RecvTimeoutError::Timeout`] if none came, and see [Lagging](#lagging) and [Closing](#closing).
    ///
    /// # Panics
    ///
    /// As for [`try_recv`](Self::try_recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        // A limit beyond what the clock can count is no limit.
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

    /// An iterator that waits for each value, and ends when the subscription has ended and everything was taken.
    pub fn iter(&mut self) -> RingIter<'_, T> {
        RingIter::new(self)
    }

    /// An iterator over the values that are there; it ends where there is none, without waiting.
    pub fn try_iter(&mut self) -> RingTryIter<'_, T> {
        RingTryIter::new(self)
    }
}

#[cfg(feature = "async")]
impl<T: Clone> RingReceiver<T> {
    /// Takes a clone of the next value if there is one, else has the task woken when there may be.
    pub(crate) fn poll_next_value(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<T, RecvError>> {
        use std::task::Poll;

        if poll_turn(context, ptr::from_ref(&*self).cast()).is_pending() {
            return Poll::Pending;
        }
        let mut list = None;
        loop {
            let result = match self.take() {
                Ok(value) => Ok(value),
                Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                Err(TryRecvError::Closed) => Err(RecvError::Closed),
                Err(TryRecvError::Overflowed) => Err(RecvError::Overflowed),
                Err(TryRecvError::Empty) if list == Some(self.reader.waits_for()) => {
                    not_completed();
                    return Poll::Pending;
                }
                Err(TryRecvError::Empty) => {
                    self.grow_drowsy();
                    list = Some(self.join_line(context.waker()));
                    continue;
                }
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

impl<T> Drop for RingReceiver<T> {
    fn drop(&mut self) {
        self.leave_line();
        self.grow_lively();
        // This receiver has two references, in the reader and in the subscription. References that
        // others make of those that the ring has do not ask for figures.
        let has_handles = Arc::strong_count(&self.reader.member) > 2;
        self.reader.member.leave(has_handles);
    }
}

impl<T> fmt::Debug for RingReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingReceiver")
            .field("subscription", &self.subscription)
            .field("lag", &self.lag())
            .field("capacity", &self.capacity())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}
