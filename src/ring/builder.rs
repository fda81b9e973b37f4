//! Subscribing to a ring with options.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::error::PositionError;

use super::core::{Begin, Core, Joining};
use super::overflow::RingOverflow;
use super::receiver::RingReceiver;
use super::waiting::Waiting;

/// Options of a reader to be, from [`RingFeed::subscriber`](crate::RingFeed::subscriber).
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
/// assert_eq!(error, PositionError::Gone { oldest: 3 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "options do nothing until `subscribe` is called"]
pub struct RingSubscriberBuilder<'r, T, B = ()> {
    core: &'r Arc<Core<T>>,
    joining: Joining,
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
}

impl<T: Send + Sync + 'static> RingSubscriberBuilder<'_, T> {
    /// Subscribes the reader. On a ring that has ended the subscription has too.
    pub fn subscribe(self) -> RingReceiver<T> {
        RingReceiver::new(self.core.join(self.joining), self.waiting)
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
        let reader = self.core.join(joining);
        let position = reader.position();
        if position == self.begin || reader.member.is_cut() {
            return Ok(RingReceiver::new(reader, self.waiting));
        }
        // It has joined at the nearest position that there was, for which nobody has asked.
        reader.member.leave();
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
            .finish_non_exhaustive()
    }
}
