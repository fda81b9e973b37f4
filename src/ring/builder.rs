//! Subscribing to a ring with options.

use std::fmt;
use std::sync::Arc;

use crate::error::{FollowError, PositionError};
use crate::traits::unwind_safe;

use super::core::{Begin, Core, Joining};
use super::cursor::Cursor;
use super::member::Member;
use super::overflow::Overflow;
use super::reader::Reader;
use super::receiver::Receiver;
use super::waiting::WaitStrategy;

/// Options of a new reader, from [`RingFeed::subscriber`](crate::RingFeed::subscriber).
///
/// `B` is `()` at first. It is `u64` once the caller has given a position [to begin
/// from](Self::from), so that subscribing can fail.
///
/// ```
/// use fanfeed::ring::Overflow;
/// use fanfeed::{ExclusiveRingFeed, TryRecvError};
///
/// let mut ring = ExclusiveRingFeed::new(8)?;
/// let mut latest = ring.subscriber().name("latest").overflow(Overflow::DropOldest).subscribe();
/// ring.send_batch(0..10);
/// assert_eq!(latest.try_recv(), Err(TryRecvError::Lagged(2)));
/// assert_eq!(latest.try_recv(), Ok(2));
///
/// let mut late = ring.subscriber().history(3).subscribe();
/// assert_eq!(late.try_iter().collect::<Vec<_>>(), [7, 8, 9]);
/// # Ok::<(), fanfeed::CapacityError>(())
/// ```
///
/// A reader that continues where another one stopped, [from](Self::from) a position:
///
/// ```
/// # use fanfeed::{ExclusiveRingFeed, PositionError};
/// let mut ring = ExclusiveRingFeed::new(8)?;
/// ring.send_batch(0..5);
/// let mut reader = ring.subscriber().name("journal").from(3).subscribe()?;
/// assert_eq!(reader.recv_with_position(), Ok((3, 3)));
///
/// ring.send_batch(5..10);
/// let error = ring.subscriber().from(1).subscribe().unwrap_err();
/// assert_eq!(error, PositionError::Gone { oldest: 2 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "options do nothing until `subscribe` is called"]
pub struct SubscriberBuilder<'r, T, B = ()> {
    core: &'r Arc<Core<T>>,
    joining: Joining,
    leaders: Vec<Arc<Member<T>>>,
    waiting: WaitStrategy,
    /// The position where the reader begins, or `()` if the caller gave none.
    begin: B,
}

// Plain options, and the ring, which is unwind-safe.
unwind_safe!([T, B] SubscriberBuilder<'_, T, B>);

impl<'r, T> SubscriberBuilder<'r, T> {
    pub(crate) fn new(core: &'r Arc<Core<T>>) -> Self {
        Self {
            core,
            joining: Joining::default(),
            leaders: Vec::new(),
            waiting: WaitStrategy::default(),
            begin: (),
        }
    }

    /// Lets the reader begin with up to `values` of the values that were sent before: as many as
    /// are still safe in the ring. That is at least the smallest of `values`, all that were sent,
    /// and seven eighths of the capacity (in a ring of less than 8, all but one).
    pub fn history(mut self, values: u64) -> Self {
        self.joining.begin = Begin::Back(values);
        self
    }

    /// Lets the reader begin with the value at `position`, which [`send`](crate::RingFeed::send)
    /// returned, or which [a reader](Receiver::position) had reached. Subscribing then fails if
    /// that is not possible. This replaces [`history`](Self::history).
    pub fn from(self, position: u64) -> SubscriberBuilder<'r, T, u64> {
        SubscriberBuilder {
            core: self.core,
            joining: self.joining,
            leaders: self.leaders,
            waiting: self.waiting,
            begin: position,
        }
    }
}

impl<T, B> SubscriberBuilder<'_, T, B> {
    /// Names the subscription. Errors and figures use the name.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.joining.name = Some(name.into());
        self
    }

    /// Sets what happens when the reader falls behind and a sender needs its slots. By default the
    /// sender waits.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.joining.overflow = overflow;
        self
    }

    /// Sets how the reader waits for values. By default it [parks](WaitStrategy::Park).
    pub fn wait_strategy(mut self, waiting: WaitStrategy) -> Self {
        self.waiting = waiting;
        self
    }

    /// Lets the reader follow these readers: it sees a value when all of them have passed it. A
    /// further call adds more readers. So stages of work form a pipeline, or a diamond, and no
    /// stage needs its own queue.
    ///
    /// A reader has passed a value when the read that handed it out has returned. If a
    /// [`drain`](Receiver::drain) reads more than half of the ring, the first half is passed
    /// when the drain begins with the second. The follower sees what a leader's handler did before
    /// that. What was sent before a leader joined counts as passed by it, and so does what the
    /// leader [skips](Receiver::skip_to_newest).
    ///
    /// A leader whose handler panics has passed the value that it was given. If the panic ends its
    /// thread, the leader is dropped, and its followers go on without it. A follower that must not
    /// do so (an engine behind a journal) checks the leader's [`position`](Cursor::position)
    /// before it acts: it is `None` once the leader has ended.
    ///
    /// Readers join and leave at run time. When a leader ends, because it is dropped or
    /// unsubscribed, its followers go on behind the leaders that are left, or behind the senders if
    /// none is left. What a `drain` under way is reading then counts as passed when the drain has
    /// returned. A leader that stops reading without ending blocks its followers, as it blocks the
    /// senders. A follower cannot get another leader later: subscribe a new reader
    /// [from](Self::from) its position.
    ///
    /// A follower waits in [its own way](Self::wait_strategy). A follower that parks while its
    /// leaders are behind is woken by leaders: by each read of each leader of the ring, including
    /// leaders that it does not follow. Leaders pay for that as senders do, and only while they
    /// have followers.
    ///
    /// A follower may drop values itself ([`overflow`](Self::overflow)). It then misses what it did
    /// not read in time after its leaders, and also what its leaders had not passed when a sender
    /// needed the slots.
    ///
    /// # Errors
    ///
    /// If one of the readers belongs to another ring, or is a reader that senders do not wait for
    /// ([`DropOldest`](Overflow::DropOldest), [`Disconnect`](Overflow::Disconnect)),
    /// because it does not see every value.
    ///
    /// # Examples
    ///
    /// A journal and a replica see every order first; the engine sees it when both have it.
    ///
    /// ```
    /// use fanfeed::{ExclusiveRingFeed, TryRecvError};
    ///
    /// let mut ring = ExclusiveRingFeed::new(1024)?;
    /// let mut journal = ring.subscribe();
    /// let mut replica = ring.subscribe();
    /// let after = [journal.cursor(), replica.cursor()];
    /// let mut engine = ring.subscriber().after(&after)?.subscribe();
    ///
    /// ring.send("buy 7");
    /// assert_eq!(journal.recv(), Ok("buy 7"));
    /// assert_eq!(engine.try_recv(), Err(TryRecvError::Empty));
    /// assert_eq!(replica.recv(), Ok("buy 7"));
    /// assert_eq!(engine.try_recv(), Ok("buy 7"));
    ///
    /// // Without the replica, the engine goes on behind the journal.
    /// ring.send("sell 3");
    /// drop(replica);
    /// assert_eq!(journal.recv(), Ok("sell 3"));
    /// assert_eq!(engine.recv(), Ok("sell 3"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn after(mut self, readers: &[Cursor<T>]) -> Result<Self, FollowError> {
        for reader in readers {
            let member = reader.member();
            if !Arc::ptr_eq(member.core(), self.core) {
                return Err(FollowError::OtherRing);
            }
            if member.is_lossy() {
                return Err(FollowError::Lossy);
            }
        }
        self.leaders
            .extend(readers.iter().map(|reader| Arc::clone(reader.member())));
        Ok(self)
    }
}

impl<T: Send + Sync + 'static> SubscriberBuilder<'_, T> {
    /// Subscribes the reader. If the ring has ended, the subscription has ended too.
    #[must_use = "dropping it unsubscribes"]
    pub fn subscribe(self) -> Receiver<T> {
        let mut reader = Reader::join(self.core, self.joining);
        reader.follow(self.leaders);
        Receiver::new(reader, self.waiting)
    }
}

impl<T: Send + Sync + 'static> SubscriberBuilder<'_, T, u64> {
    /// Subscribes the reader at its position. If the ring has ended, the subscription has ended
    /// too, whatever the position.
    ///
    /// # Errors
    ///
    /// - [`PositionError::Gone`] if the ring no longer holds the value at that position, or is
    ///   about to overwrite it. The ring keeps as many of the last values as
    ///   [`history`](SubscriberBuilder::history) says. For a [blocking](Overflow::Block)
    ///   reader it also keeps the values that another blocking reader has yet to read. (If that
    ///   reader has only just joined, a sender may be checking whether it can pass. Then this may
    ///   fail once, and succeed when it is called again.)
    /// - [`PositionError::Ahead`] if values before that position have not been sent yet. The
    ///   position of the next value is allowed.
    pub fn subscribe(self) -> Result<Receiver<T>, PositionError> {
        let mut joining = self.joining;
        joining.begin = Begin::At(self.begin);
        let mut reader = Reader::join(self.core, joining);
        let position = reader.position();
        if position == self.begin || reader.member.is_cut() {
            reader.follow(self.leaders);
            return Ok(Receiver::new(reader, self.waiting));
        }
        // The reader joined at the nearest possible position, which the caller did not ask for.
        reader.member.leave(false);
        Err(if position > self.begin {
            PositionError::Gone { oldest: position }
        } else {
            PositionError::Ahead { next: position }
        })
    }
}

impl<T, B: Clone> Clone for SubscriberBuilder<'_, T, B> {
    fn clone(&self) -> Self {
        Self {
            core: self.core,
            joining: self.joining.clone(),
            leaders: self.leaders.clone(),
            waiting: self.waiting,
            begin: self.begin.clone(),
        }
    }
}

impl<T, B: fmt::Debug> fmt::Debug for SubscriberBuilder<'_, T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Begin::Back(history) | Begin::At(history)) = self.joining.begin;
        f.debug_struct("SubscriberBuilder")
            .field("name", &self.joining.name)
            .field("overflow", &self.joining.overflow)
            .field("waiting", &self.waiting)
            .field("history", &history)
            .field("from", &self.begin)
            .field("leaders", &self.leaders.len())
            .finish_non_exhaustive()
    }
}
