//! The slots of an own channel's queue, and what keeps them alive.

use std::mem::MaybeUninit;
use std::ops::Deref;
use std::sync::Arc;

use super::queue::Queue;
use crate::overflow::Overflow;
use crate::sync::{AtomicU64, Ordering, UnsafeCell};

/// The place of one value: see the table of stamps in [`queue`](super::queue).
pub(crate) struct Slot<T> {
    pub(super) stamp: AtomicU64,
    pub(super) value: UnsafeCell<MaybeUninit<T>>,
}

/// All slots of a queue. The last [`Share`] frees them, with the values that are left in them.
pub(crate) struct Slots<T>(Box<[Slot<T>]>);

// SAFETY: a slot's value is touched only by the one thread that its stamp entitles: values move from thread to thread, which
// takes `T: Send`, and are never shared.
unsafe impl<T: Send> Sync for Slots<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Slots<T> {}

impl<T> Slots<T> {
    fn new(capacity: usize) -> Self {
        let slots = (0..capacity as u64).map(|index| Slot {
            stamp: AtomicU64::new(index),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        });
        Self(slots.collect())
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        /// Drops the remaining values if dropping one of them panics.
        struct Rest<'a, T> {
            slots: std::iter::Enumerate<std::slice::Iter<'a, Slot<T>>>,
            index_bits: u64,
        }
        impl<T> Drop for Rest<'_, T> {
            fn drop(&mut self) {
                self.drop_values();
            }
        }
        impl<T> Rest<'_, T> {
            fn drop_values(&mut self) {
                for (index, slot) in self.slots.by_ref() {
                    let stamp = slot.stamp.load(Ordering::Relaxed) & self.index_bits;
                    if stamp == index as u64 + 1 {
                        // SAFETY: the stamp says that the slot holds a value, nothing else has
                        // the slots any more, and the iterator comes here once.
                        drop(
                            slot.value
                                .with(|cell| unsafe { (*cell).assume_init_read() }),
                        );
                    }
                }
            }
        }
        if std::mem::needs_drop::<T>() {
            Rest {
                slots: self.0.iter().enumerate(),
                index_bits: closed_bit(self.0.len()) - 1,
            }
            .drop_values();
        }
    }
}

/// The bit of a position that closes the tail: the lowest bit above those of an index plus 1.
pub(super) fn closed_bit(capacity: usize) -> u64 {
    (capacity as u64 + 1).next_power_of_two()
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
    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Self {
        let slots = Arc::new(Slots::new(capacity));
        Self {
            queue: Arc::new(Queue::new(&slots.0, overflow)),
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
