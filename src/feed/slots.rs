//! The slots of an own channel's queue, and what keeps them alive.

use std::mem::{self, MaybeUninit};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::queue::Queue;
use super::sole::Sole;
use crate::overflow::Overflow;
use crate::sync::{AtomicU64, Ordering, UnsafeCell};

/// The place of one value: see the table of stamps in [`queue`](super::queue).
pub(crate) struct Slot<T> {
    pub(super) stamp: AtomicU64,
    pub(super) value: UnsafeCell<MaybeUninit<T>>,
}

/// A queue with its slots. The receiver has one share, and the subscription's port another.
///
/// **The invariant.** The slots live as long as a share does. The last share frees them, with the
/// values that are left in them. Senders use the port's share, while they are entitled to the port
/// (see [`Entry`](super::entry::Entry)); the receiver uses its own. Code that has only the queue
/// (the entry, for its counts and for waking) must not touch a slot. So when the receiver is
/// dropped and its subscription has ended, the slots are freed, even if other handles remain.
///
/// The queue counts its shares itself. An `Arc` of the slots would be one more allocation, and one
/// more cache line, for each channel.
pub(crate) struct Share<T> {
    queue: Arc<Queue<T>>,
    /// The slots as they were allocated, as many as the queue's capacity. The queue uses them.
    slots: NonNull<Slot<T>>,
}

// SAFETY: only the one thread that is entitled to a slot touches its value (see `queue`). Values
// move from thread to thread, which needs `T: Send`, and are never shared.
unsafe impl<T: Send> Sync for Share<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Share<T> {}

impl<T> Share<T> {
    pub(crate) fn new(capacity: usize, overflow: Overflow, sole: Arc<CachePadded<Sole>>) -> Self {
        let slots = (0..capacity as u64).map(|index| Slot {
            stamp: AtomicU64::new(index),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        });
        let slots = NonNull::from(Box::leak(slots.collect::<Box<[_]>>()));
        // SAFETY: they live until the share that this makes, and all clones of it, are dropped.
        let queue = Queue::new(unsafe { slots.as_ref() }, overflow, sole);
        Self {
            queue: Arc::new(queue),
            slots: slots.cast(),
        }
    }

    /// The queue without its slots.
    pub(crate) fn queue(&self) -> &Arc<Queue<T>> {
        &self.queue
    }
}

impl<T> Clone for Share<T> {
    fn clone(&self) -> Self {
        self.queue.shares.fetch_add(1, Ordering::Relaxed);
        Self {
            queue: Arc::clone(&self.queue),
            slots: self.slots,
        }
    }
}

impl<T> Drop for Share<T> {
    fn drop(&mut self) {
        /// Frees the slots.
        struct Slots<T>(NonNull<[Slot<T>]>);
        impl<T> Drop for Slots<T> {
            fn drop(&mut self) {
                // SAFETY: made by `Box::leak`, and the last share is being dropped.
                drop(unsafe { Box::from_raw(self.0.as_ptr()) });
            }
        }
        /// Drops the remaining values if dropping one of them panics.
        struct Rest<'a, T>(&'a Queue<T>);
        impl<T> Drop for Rest<'_, T> {
            fn drop(&mut self) {
                self.0.drop_values();
            }
        }
        // ORDERING: Release pairs with the Acquire of the last share: uses of the slots by another
        // share have ended.
        if self.queue.shares.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let slots = NonNull::slice_from_raw_parts(self.slots, self.queue.capacity());
        let _slots = Slots(slots);
        if mem::needs_drop::<T>() {
            // No thread sends or receives any more.
            let rest = Rest(&self.queue);
            rest.0.drop_values();
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

#[cfg(all(
    test,
    target_pointer_width = "64",
    not(any(fanfeed_loom, fanfeed_shuttle))
))]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::Queue;
    use crate::feed::entry::Entry;

    /// With 30,000 subscribers, each cache line that an operation touches is a cache miss.
    #[test]
    fn a_subscriber_takes_few_cache_lines() {
        assert_eq!(size_of::<Queue<u64>>(), 4 * 64);
        assert_eq!(offset_of!(Queue<u64>, receiver), 2 * 64);
        assert_eq!(size_of::<Entry<u64>>(), 3 * 64);
    }
}
