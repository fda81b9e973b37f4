//! Subscribing to a ring with options.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::error::{FollowError, PositionError};

use super::core::{Begin, Core, Joining};
use super::cursor::RingCursor;
use super::member::Member;
use super::overflow::RingOverflow;
use super::receiver::RingReceiver;
use super::waiting::Waiting;

/// Options of a reader to be, from [`RingFeed::subscriber`](crate::RingFeed::subscriber).
///
/// `B` is `u64` once a position was given [to begin from](Self::from), so that subscribing can fail, and `()` before.
///
/// ```
/// use fanfeed::{ExclusiveRingFeed, RingOverflow, TryRecvError};
///
/// let mut ring = ExclusiveRingFeed::new(8)?;
/// let mut latest = ring.subscriber().name("latest").overflow(RingOverflow::DropOldest).subscribe();
/// ring.send_batch(0..10);
/// assert_eq!(latest.try_recv(), Err(TryRecvError::Lagged(2)));
/// assert_eq!(latest.try_recv(), Ok(2));
///
/// let mut late = ring.subscriber().history(3).subscribe();
/// assert_eq!(late.try_iter().collect::<Vec<_>>(), [7, 8, 9]);
/// # Ok::<(), fanfeed::CapacityError>(())
/// ```
///
/// A reader that goes on where another one stopped, [from](Self::from) a position:
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
pub struct RingSubscriberBuilder<'r, T, B = ()> {
    core: &'r Arc<Core<T>>,
    joining: Joining,
    leaders: Vec<Arc<Member<T>>>,
    waiting: Waiting,
    /// The position where the reader begins, if one was asked for; else `()`.
    begin: B,
}

// Plain options, and the ring, which says why.
impl<T, B> UnwindSafe for RingSubscriberBuilder<'_, T, B> {}
impl<T, B> RefUnwindSafe for RingSubscriberBuilder<'_, T, B> {}

impl<'r, T> RingSubscriberBuilder<'r, T> {
    pub(crate) fn new(core: &'r Arc<Core<T>>) -> Self {
        Self {
            core,
            joining: Joining::default(),
            leaders: Vec::new(),
            waiting: Waiting::default(),
            begin: (),
        }
    }

    /// Has the reader begin with up to so many of the values that were sent before: as many as are still safe in the ring,
    /// at least the smaller of `values`, all that were sent, and seven eighths of the capacity (in a ring of less than 8, all
    /// but one).
    pub fn history(mut self, values: u64) -> Self {
        self.joining.begin = Begin::Back(values);
        self
    }

    /// Has the reader begin with the value at that position, which [`send`](crate::RingFeed::send) returned, or which
    /// [a reader](RingReceiver::position) had come to. Subscribing then fails if that is not possible. What
    /// [`history`](Self::history) said is forgotten.
    pub fn from(self, position: u64) -> RingSubscriberBuilder<'r, T, u64> {
        RingSubscriberBuilder {
            core: self.core,
            joining: self.joining,
            leaders: self.leaders,
            waiting: self.waiting,
            begin: position,
        }
    }
}

impl<T, B> RingSubscriberBuilder<'_, T, B> {
    /// Names the subscription: errors and figures then tell it from others.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.joining.name = Some(name.into());
        self
    }

    /// Sets what happens when the reader falls behind and its values are to be overwritten. By
    /// default the sender waits.
    pub fn overflow(mut self, overflow: RingOverflow) -> Self {
        self.joining.overflow = overflow;
        self
    }

    /// How the reader waits for values; it [parks](Waiting::Park) if this is not called.
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// Has the reader follow these readers: it sees a value when all of them have passed it. Called
    /// again, it adds more. So stages of work make a pipeline, or a diamond, and no stage needs a
    /// queue of its own.
    ///
    /// A reader has passed a value when the read that handed it out has returned; of a
    /// [`drain`](RingReceiver::drain) of more than half of the ring, the first half when it begins
    /// with the second. What a leader's handler did before that, the follower sees. What was sent
    /// before a leader joined counts as passed by it, and so does what the leader
    /// [skips](RingReceiver::skip_to_newest).
    ///
    /// A leader whose handler panics has passed the value that it was given. If the panic ends its
    /// thread, the leader is dropped, and its followers go on without it. A follower that must not
    /// do so (an engine behind a journal) looks at the leader's [`position`](RingCursor::position)
    /// before it acts: it is `None` once the leader has ended.
    ///
    /// Readers join and leave at run time. When a leader ends, because it is dropped or unsubscribed,
    /// its followers go on behind those that are left, or behind the senders if none is left. What a
    /// `drain` under way has in hand then counts as passed when the drain has returned. A leader that
    /// stops reading without ending holds its followers, as it holds the senders. A follower cannot be
    /// given another leader later: subscribe a new one [from](Self::from) its position.
    ///
    /// A follower waits in [its own way](Self::waiting). One that parks while its
    /// leaders are behind is woken by leaders: by each read of each leader of the ring, also one that
    /// it does not follow. Leaders pay for that as senders do, and only while they have followers.
    ///
    /// A follower may drop values itself ([`overflow`](Self::overflow)): it then misses what it did not
    /// read in time after its leaders, and also what its leaders had not passed when a sender needed
    /// the slots.
    ///
    /// # Errors
    ///
    /// If one of the readers is of another ring, or is one that senders do not wait for
    /// ([`DropOldest`](RingOverflow::DropOldest), [`Disconnect`](RingOverflow::Disconnect)): it does
    /// not see every value.
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
    pub fn after(mut self, readers: &[RingCursor<T>]) -> Result<Self, FollowError> {
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

impl<T: Send + Sync + 'static> RingSubscriberBuilder<'_, T> {
    /// Subscribes the reader. On a ring that has ended the subscription has too.
    pub fn subscribe(self) -> RingReceiver<T> {
        let mut reader = self.core.join(self.joining);
        reader.follow(self.leaders);
        RingReceiver::new(reader, self.waiting)
    }
}

impl<T: Send + Sync + 'static> RingSubscriberBuilder<'_, T, u64> {
    /// Subscribes the reader at its position. On a ring that has ended the subscription has too, whatever the position.
    ///
    /// # Errors
    ///
    /// - [`PositionError::Gone`] if the value there is no longer kept, or about to be overwritten. The last values are kept,
    ///   as many as [`history`](RingSubscriberBuilder::history) says; for a [blocking](RingOverflow::Block) reader also
    ///   those that another blocking reader has yet to read. (If that reader has only just joined itself, a sender may
    ///   be looking whether it can pass; then this may fail once, and works when it is called again.)
    /// - [`PositionError::Ahead`] if values before that position have not been sent yet. The position of the next value is
    ///   allowed.
    pub fn subscribe(self) -> Result<RingReceiver<T>, PositionError> {
        let mut joining = self.joining;
        joining.begin = Begin::At(self.begin);
        let mut reader = self.core.join(joining);
        let position = reader.position();
        if position == self.begin || reader.member.is_cut() {
            reader.follow(self.leaders);
            return Ok(RingReceiver::new(reader, self.waiting));
        }
        // It has joined at the nearest position that there was, for which nobody has asked.
        reader.member.leave(false);
        Err(if position > self.begin {
            PositionError::Gone { oldest: position }
        } else {
            PositionError::Ahead { next: position }
        })
    }
}

impl<T, B: Clone> Clone for RingSubscriberBuilder<'_, T, B> {
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

impl<T, B: fmt::Debug> fmt::Debug for RingSubscriberBuilder<'_, T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Begin::Back(history) | Begin::At(history)) = self.joining.begin;
        f.debug_struct("RingSubscriberBuilder")
            .field("name", &self.joining.name)
            .field("overflow", &self.joining.overflow)
            .field("waiting", &self.waiting)
            .field("history", &history)
            .field("from", &self.begin)
            .field("leaders", &self.leaders.len())
            .finish_non_exhaustive()
    }
}
