//! The slots of an own channel's queue, and what keeps them alive.

use std::mem::MaybeUninit;
use std::ops::Deref;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::queue::Queue;
use super::sole::Sole;
use crate::overflow::Overflow;
use crate::sync::{AtomicU64, UnsafeCell};

/// The place of one value: see the table of stamps in [`queue`](super::queue).
pub(crate) struct Slot<T> {
    pub(super) stamp: AtomicU64,
    pub(super) value: UnsafeCell<MaybeUninit<T>>,
}

/// All slots of a queue. The last [`Share`] frees them, with the values that are left in them.
pub(crate) struct Slots<T> {
    queue: Arc<Queue<T>>,
    /// The queue uses them.
    _slots: Box<[Slot<T>]>,
}

// SAFETY: a slot's value is touched only by the one thread that is entitled to it (see `queue`): values move from thread to
// thread, which takes `T: Send`, and are never shared.
unsafe impl<T: Send> Sync for Slots<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Slots<T> {}

impl<T> Slots<T> {
    fn new(capacity: usize, overflow: Overflow, sole: Arc<CachePadded<Sole>>) -> Self {
        let slots = (0..capacity as u64).map(|index| Slot {
            stamp: AtomicU64::new(index),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        });
        let slots: Box<[Slot<T>]> = slots.collect();
        let queue = Arc::new(Queue::new(&slots, overflow, sole));
        Self {
            queue,
            _slots: slots,
        }
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        /// Drops the remaining values if dropping one of them panics.
        struct Rest<'a, T>(&'a Queue<T>);
        impl<T> Drop for Rest<'_, T> {
            fn drop(&mut self) {
                self.0.drop_values();
            }
        }
        if std::mem::needs_drop::<T>() {
            // Nobody sends or receives any more.
            let rest = Rest(&self.queue);
            rest.0.drop_values();
        }
    }
}

/// A queue with its slots: the receiver has one, and the subscription's port another.
///
/// **The invariant.** The slots live as long as a share. Senders use the port's, while they are
/// entitled to the port (see [`Entry`](super::entry::Entry)); the receiver uses its own. Code that
/// has only the queue (the entry, for its counts and for waking) must not touch a slot. So when the
/// receiver is dropped and its subscription has ended, the slots are freed, even if other handles
/// remain.
pub(crate) struct Share<T> {
    queue: Arc<Queue<T>>,
    /// Keeps the slots alive. The queue uses them.
    _slots: Arc<Slots<T>>,
}

impl<T> Share<T> {
    pub(crate) fn new(capacity: usize, overflow: Overflow, sole: Arc<CachePadded<Sole>>) -> Self {
        let slots = Arc::new(Slots::new(capacity, overflow, sole));
        Self {
            queue: Arc::clone(&slots.queue),
            _slots: slots,
        }
    }

    /// The queue without its slots.
    pub(crate) fn queue(&self) -> &Arc<Queue<T>> {
        &self.queue
    }
}

impl<T> Clone for Share<T> {
    fn clone(&self) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
            _slots: Arc::clone(&self._slots),
        }
    }
}

impl<T> Deref for Share<T> {
    type Target = Queue<T>;

    #[inline]
    fn deref(&self) -> &Queue<T> {
        &self.queue
    }
}
