//! Subscribing to a ring with options.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use super::core::{Core, Joining};
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
#[must_use = "options do nothing until `subscribe` is called"]
pub struct RingSubscriberBuilder<'r, T> {
    core: &'r Arc<Core<T>>,
    joining: Joining,
    waiting: Waiting,
}

// Plain options, and the ring, which says why.
impl<T> UnwindSafe for RingSubscriberBuilder<'_, T> {}
impl<T> RefUnwindSafe for RingSubscriberBuilder<'_, T> {}

impl<'r, T> RingSubscriberBuilder<'r, T> {
    pub(crate) fn new(core: &'r Arc<Core<T>>) -> Self {
        Self {
            core,
            joining: Joining::default(),
            waiting: Waiting::default(),
        }
    }

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

    /// Has the reader begin with up to so many of the values that were sent before: as many as are still safe in the ring,
    /// at least the smaller of `values`, all that were sent, and seven eighths of the capacity (in a ring of less than 8, all
    /// but one).
    pub fn history(mut self, values: u64) -> Self {
        self.joining.history = values;
        self
    }
}

impl<T: Send + Sync + 'static> RingSubscriberBuilder<'_, T> {
    /// Subscribes the reader. On a ring that has ended the subscription has too.
    pub fn subscribe(self) -> RingReceiver<T> {
        RingReceiver::new(self.core.join(self.joining), self.waiting)
    }
}

impl<T> Clone for RingSubscriberBuilder<'_, T> {
    fn clone(&self) -> Self {
        Self {
            core: self.core,
            joining: self.joining.clone(),
            waiting: self.waiting,
        }
    }
}

impl<T> fmt::Debug for RingSubscriberBuilder<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingSubscriberBuilder")
            .field("name", &self.joining.name)
            .field("overflow", &self.joining.overflow)
            .field("waiting", &self.waiting)
            .field("history", &self.joining.history)
            .finish_non_exhaustive()
    }
}
