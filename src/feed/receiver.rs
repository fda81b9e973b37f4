//! The receiving half of a feed's own channel.

#[cfg(feature = "async")]
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::queue::Cursor;
use super::slots::Share;
use crate::error::{RecvError, RecvTimeoutError, TryRecvError};
use crate::receive::{self, Receive};
#[cfg(feature = "async")]
use crate::receive::{ForgetWaker, PollReceive};
use crate::subscription::{Stats, Subscription};
use crate::traits::{debug_struct, unwind_safe};
use crate::wait::{Looks, Parker, Patience};
#[cfg(feature = "async")]
use crate::wait::{not_completed, poll_again};

/// The receiver of a feed's own bounded channel, made by [`Feed::channel`](crate::Feed::channel).
/// Dropping it unsubscribes.
///
/// The channel is a lock-free queue with many senders and this one receiver. It holds exactly
/// `capacity` values. A receiver that waits is parked, and uses no CPU.
///
/// # Lagging
///
/// A value that a live subscription was due and did not get is never lost silently. A receive
/// returns `Lagged(n)` once, at the point of the stream where those `n` values would have been. The
/// next receive goes on with the value after it. The iterators and the `Stream` skip `Lagged`, and
/// [`missed`](Self::missed) counts all missed values. Values are missed
///
/// - under [`Overflow::DropNewest`](crate::Overflow::DropNewest) and
///   [`Overflow::DropOldest`](crate::Overflow::DropOldest), for lack of room;
/// - under every policy, if a sender gives a value up: it drops an
///   [`Undelivered`](crate::Undelivered), or a `SendAsync` that was polled and has not completed (a
///   `timeout` or a `select!` does that);
/// - under every policy, if the value's `clone` panics.
///
/// A value that was given up is missing at the position where it was refused. If the receiver has
/// gone past that position, its next receive reports it. A gap wakes a waiting receiver as a value
/// does, and the last gap is reported before `Closed`. After `Closed` nothing is missed.
/// [`len`](Self::len) counts values only, so a receive may return `Lagged` although `len` is 0.
///
/// # Forgetting it
///
/// A receiver that is forgotten ([`std::mem::forget`]) stays subscribed. Under
/// [`Overflow::Block`](crate::Overflow::Block) it blocks every sender once its channel is full,
/// until the feed is closed or another handle ([`split`](Self::split)) ends the subscription.
///
/// # Closing
///
/// Once the subscription has ended, a receive still takes what is in the channel. After that every
/// receive returns `Closed`, or `Overflowed` if the subscription ended because the receiver fell
/// behind under [`Overflow::Disconnect`](crate::Overflow::Disconnect).
///
/// # Examples
///
/// ```
/// let feed = fanfeed::Feed::new();
/// let mut receiver = feed.channel(8)?;
/// feed.send("a");
/// feed.send("b");
/// feed.close();
/// assert_eq!(receiver.recv(), Ok("a"));
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), ["b"]);
/// # Ok::<(), fanfeed::CapacityError>(())
/// ```
pub struct Receiver<T> {
    queue: Share<T>,
    cursor: Cursor,
    looks: Looks,
    subscription: Subscription,
    /// Missed values that a `drain` found after it had handed out values. The next call reports
    /// them.
    untold: u64,
    missed: u64,
}

// A value has left the channel before user code sees it. If user code then panics, the channel is
// as it was after that.
unwind_safe!([T] Receiver<T>);

impl<T> Receiver<T> {
    pub(crate) fn new(queue: Share<T>, subscription: Subscription) -> Self {
        Self {
            queue,
            cursor: Cursor::default(),
            looks: Looks::default(),
            subscription,
            untold: 0,
            missed: 0,
        }
    }

    #[inline]
    fn pop(&mut self) -> Result<T, TryRecvError> {
        self.pop_or_wait(false)
    }

    #[inline(always)]
    fn pop_or_wait(&mut self, waits: bool) -> Result<T, TryRecvError> {
        if self.untold != 0 {
            return Err(TryRecvError::Lagged(std::mem::take(&mut self.untold)));
        }
        let popped = self.queue.pop(&mut self.cursor, waits);
        if let Err(TryRecvError::Lagged(missed)) = popped {
            self.missed += missed;
        }
        popped
    }

    /// Like `pop`, but waits for a value that is being written.
    #[inline]
    fn pop_now(&mut self) -> Result<T, TryRecvError> {
        self.pop_or_wait(true)
    }

    /// Takes the next value, if there is one now.
    ///
    /// # A value that is being written
    ///
    /// If several threads send on the feed, a sender claims a place in the channel and then writes
    /// its value. This takes some nanoseconds, or longer if the sender is preempted in between.
    /// Meanwhile this call returns `Empty`, as if the value had not been sent. But if another
    /// sender has completed a value behind it, this call waits for the value that is being written,
    /// [`len`](Self::len) counts both, and [`is_empty`](Self::is_empty) is false. The same holds
    /// for [`drain`](Self::drain), [`drain_into`](Self::drain_into), [`try_iter`](Self::try_iter),
    /// and a timed receive at its deadline. They spin for about a microsecond, then yield, then
    /// sleep, for about 100 ms at most. Only if the sender is kept from running for longer than
    /// that do they return `Empty` (or `Timeout`) although a completed value is unread. A poll of a
    /// future never waits: it returns `Pending`, and the sender wakes its task.
    ///
    /// # A receiver that polls
    ///
    /// A call that finds no value may pause and look once more. It pauses if fewer than 32 values
    /// (and fewer than the channel's capacity) were received since the last call that found none.
    /// The pause is 32 spin hints (about a microsecond, or less). Without it, a thread that polls
    /// without a break would move the cache line of each value between the cores, and senders would
    /// wait for it. If 8 values or more were received, and the channel holds 16 times as many,
    /// values come quickly, and the pause is up to 256 hints (6 microseconds where a hint takes 24
    /// ns). It is shorter if the thread polls other such receivers. If the call before also found
    /// no value, the call returns at once.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if there is no value. See [Lagging](#lagging) and
    /// [Closing](#closing) for the others.
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        match self.pop_now() {
            Err(TryRecvError::Empty) if self.cursor.pauses(self.queue.capacity()) => self.pop_now(),
            popped => popped,
        }
    }

    /// Takes the next value, and waits for it.
    ///
    /// # Errors
    ///
    /// See [Lagging](#lagging) and [Closing](#closing).
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.recv_until(None)
            .map_err(RecvTimeoutError::without_limit)
    }

    /// Takes the next value, and waits for it up to `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`] if no value came. See [Lagging](#lagging) and
    /// [Closing](#closing) for the others.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        // A deadline beyond the range of the clock is no deadline.
        self.recv_until(Instant::now().checked_add(timeout))
    }

    /// Takes the next value, and waits for it until `deadline`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`] if no value came. See [Lagging](#lagging) and
    /// [Closing](#closing) for the others.
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Some(deadline))
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        match self.pop() {
            Err(TryRecvError::Empty) => {}
            popped => return popped.map_err(TryRecvError::at_limit),
        }
        // A value that comes in the next few microseconds is received without parking.
        let mut looks = std::mem::take(&mut self.looks);
        let look = |receiver: &mut Self| match receiver.pop() {
            Err(TryRecvError::Empty) => None,
            popped => Some(popped),
        };
        let popped = looks.until(self, look, |receiver| receiver.queue.progress());
        self.looks = looks;
        if let Some(popped) = popped {
            return popped.map_err(TryRecvError::at_limit);
        }
        let parker = Parker::current();
        let mut patience = Patience::new();
        loop {
            self.queue.arm(parker.waker());
            match self.pop() {
                Err(TryRecvError::Empty) => {}
                popped => {
                    self.queue.bell().disarm();
                    return popped.map_err(TryRecvError::at_limit);
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.queue.bell().disarm();
                return self.pop_now().map_err(TryRecvError::at_limit);
            }
            if self.queue.is_unclaimed() {
                parker.park(deadline);
            } else {
                patience.wait();
            }
        }
    }

    /// Passes up to `limit` values that are there now to `f`, in order, and returns how many.
    ///
    /// Values that arrive while it runs are left for the next call, so it ends however fast the
    /// senders are. It stops early at missed values: the next receive reports how many. If the last
    /// call found fewer than 32 values, and fewer than the capacity and its limit, this call first
    /// pauses, as [`try_recv`](Self::try_recv) does when it finds nothing.
    ///
    /// # Errors
    ///
    /// If there is no value to pass, the error that [`try_recv`](Self::try_recv) would return.
    ///
    /// # Panics
    ///
    /// A panic of `f` propagates. The value that `f` was given is gone; the values after it are
    /// still in the channel.
    pub fn drain(&mut self, limit: usize, f: impl FnMut(T)) -> Result<usize, TryRecvError> {
        self.cursor.pauses(self.queue.capacity());
        self.take_up_to(limit, true, f)
    }

    /// Like [`drain`](Self::drain), without a pause. If `waits` is false, it does not wait for a
    /// value that is being written either.
    #[inline(always)]
    fn take_up_to(
        &mut self,
        limit: usize,
        waits: bool,
        mut f: impl FnMut(T),
    ) -> Result<usize, TryRecvError> {
        if self.untold != 0 && limit != 0 {
            return Err(TryRecvError::Lagged(std::mem::take(&mut self.untold)));
        }
        let (there, mut taken) = self.queue.drain(&mut self.cursor, limit, &mut f);
        let may_be_more = there == limit;
        // If nothing is there, one try finds out why.
        let limit = there.max(limit.min(1));
        while taken < limit {
            match self.pop_or_wait(waits) {
                Ok(value) => {
                    taken += 1;
                    f(value);
                }
                Err(error) if taken == 0 => return Err(error),
                Err(TryRecvError::Lagged(missed)) => {
                    self.untold = missed;
                    break;
                }
                // The next call returns this error again.
                Err(_) => break,
            }
        }
        if may_be_more {
            self.cursor.goes_on();
        }
        self.queue.look_for_senders(&mut self.cursor);
        Ok(taken)
    }

    /// Appends up to `limit` values that are there now to `values`, and returns how many. See
    /// [`drain`](Self::drain).
    ///
    /// # Errors
    ///
    /// As for [`drain`](Self::drain).
    pub fn drain_into(&mut self, values: &mut Vec<T>, limit: usize) -> Result<usize, TryRecvError> {
        values.reserve(limit.min(self.len()));
        self.drain(limit, |value| values.push(value))
    }

    /// An iterator that waits for each value. It ends when the subscription has ended and every
    /// value is taken.
    pub fn iter(&mut self) -> receive::Iter<'_, Self> {
        receive::Iter(self)
    }

    /// An iterator over the values that are there. It ends at the first point where there is none,
    /// without waiting. It also takes values that arrive while it runs, so it may not end while
    /// senders are faster. [`drain`](Self::drain) always ends.
    pub fn try_iter(&mut self) -> receive::TryIter<'_, Self> {
        receive::TryIter(self)
    }

    /// How many values are in the channel, complete or [being written](Self::try_recv) before
    /// others. While senders run, the number may grow at any time. It falls only under
    /// [`Overflow::DropOldest`](crate::Overflow::DropOldest), for an instant while a value is
    /// pushed out. Missed values do not count: a receive may return `Lagged` although this is 0.
    pub fn len(&self) -> usize {
        if self.is_empty() { 0 } else { self.queue.len() }
    }

    /// Whether [`len`](Self::len) is 0. While senders run, a result of true may be outdated a
    /// moment later. If the result is false, [`try_recv`](Self::try_recv) returns `Empty` only if
    /// it has waited 100 ms for a sender, as described there.
    pub fn is_empty(&self) -> bool {
        self.queue.ready(&self.cursor, 1) == 0
    }

    /// Whether the channel holds as many values as it can. While senders run, a result of true may
    /// be outdated once a value is taken, and a result of false a moment later.
    ///
    /// ```
    /// let feed = fanfeed::Feed::new();
    /// let mut receiver = feed.channel(2)?;
    /// feed.send_batch([1, 2]);
    /// assert!(receiver.is_full());
    /// receiver.recv().unwrap();
    /// assert!(!receiver.is_full());
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// The most values that the channel holds.
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// Whether the subscription has ended. A receive still takes what is in the channel.
    pub fn is_closed(&self) -> bool {
        // The subscription of a mux ends an instant before its queue.
        self.queue.is_closed() || self.subscription.is_closed()
    }

    /// How many values this receiver has missed so far, in the order of the stream: up to the last
    /// value that it took. After a [`drain`](Self::drain) that stopped at a gap, the number may
    /// include that gap, which the next call returns as `Lagged`.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Ends the subscription: see [`Subscription::unsubscribe`]. The receiver can still take what
    /// is in the channel.
    ///
    /// ```
    /// use fanfeed::RecvError;
    ///
    /// let feed = fanfeed::Feed::new();
    /// let mut receiver = feed.channel(2)?;
    /// feed.send(1);
    /// receiver.unsubscribe();
    /// assert_eq!(feed.send(2), 0);
    /// assert_eq!(receiver.recv(), Ok(1));
    /// assert_eq!(receiver.recv(), Err(RecvError::Closed));
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn unsubscribe(&self) {
        self.subscription.unsubscribe();
    }

    /// The subscription of this channel.
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// The figures of this receiver's subscription.
    pub fn stats(&self) -> Stats {
        self.subscription.stats()
    }

    /// Returns the receiver, and a handle of its subscription for a scope or another thread.
    /// Dropping either ends the subscription; the receiver can then still take what is in the
    /// channel. The values in the channel, and the memory of its slots, are dropped with the
    /// receiver, even if other handles remain.
    pub fn split(self) -> (Self, Subscription) {
        let subscription = self.subscription.share();
        (self, subscription)
    }
}

#[cfg(feature = "async")]
impl<T> Receiver<T> {
    /// Whether no value and no gap will be received any more.
    pub(crate) fn is_at_end(&self) -> bool {
        self.queue.is_closed() && self.is_empty() && self.untold == 0 && !self.queue.has_gap()
    }

    /// Returns what `take` finds, or registers the task's waker if it finds nothing.
    #[inline]
    fn poll_take<R>(
        &mut self,
        context: &Context<'_>,
        mut take: impl FnMut(&mut Self) -> Result<R, TryRecvError>,
    ) -> Poll<Result<R, RecvError>> {
        let mut armed = false;
        let taken = loop {
            match take(self) {
                Ok(taken) => break Ok(taken),
                Err(TryRecvError::Empty) if armed => {
                    if !self.queue.is_unclaimed() {
                        // The sender is about to complete the next value.
                        poll_again(context);
                    }
                    not_completed();
                    return Poll::Pending;
                }
                Err(TryRecvError::Empty) => {
                    self.queue.arm(context.waker());
                    armed = true;
                }
                Err(error) => break Err(error.at_limit().without_limit()),
            }
        };
        if armed {
            self.queue.bell().clear();
        }
        Poll::Ready(taken)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.subscription.unsubscribe();
        self.queue.drop_values();
    }
}

debug_struct!([T] Receiver<T>, |this| Receiver {
    subscription: this.subscription,
    len: this.len(),
    capacity: this.capacity(),
    overflow: this.queue.overflow(),
});

#[cfg(feature = "async")]
impl<T> ForgetWaker for Receiver<T> {
    fn forget_waker(&mut self) {
        self.queue.bell().clear();
    }
}

impl<T> Receive for Receiver<T> {
    type Value = T;

    fn next_value(&mut self) -> Result<T, RecvError> {
        self.recv()
    }

    fn next_value_now(&mut self) -> Result<T, TryRecvError> {
        self.pop_now()
    }
}

#[cfg(feature = "async")]
impl<T> PollReceive for Receiver<T> {
    type Value = T;

    #[inline]
    fn poll_value(&mut self, context: &Context<'_>) -> Poll<Result<T, RecvError>> {
        self.poll_take(context, Self::pop)
    }

    fn poll_values(
        &mut self,
        context: &Context<'_>,
        values: &mut Vec<T>,
        limit: usize,
    ) -> Poll<Result<usize, RecvError>> {
        self.poll_take(context, |receiver| {
            values.reserve(limit.min(receiver.len()));
            receiver.take_up_to(limit, false, |value| values.push(value))
        })
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = receive::IntoIter<Self>;

    fn into_iter(self) -> Self::IntoIter {
        receive::IntoIter(self)
    }
}

impl<'a, T> IntoIterator for &'a mut Receiver<T> {
    type Item = T;
    type IntoIter = receive::Iter<'a, Receiver<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
