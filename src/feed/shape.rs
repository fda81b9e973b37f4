//! The slots of a queue, and its positions. See [`queue`](super::queue) for what a position is.

use super::slots::Slot;
use crate::overflow::Overflow;

/// The constants of a queue. Its senders and its receiver each have a copy, in the cache line that
/// they use.
pub(crate) struct Shape<T> {
    slots: *const Slot<T>,
    /// The mask of an index, and of an index plus 1. The bit above it closes the tail, and the bit
    /// above that is one lap.
    index_bits: u64,
    capacity: u32,
    overflow: Overflow,
}

impl<T> Clone for Shape<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shape<T> {}

impl<T> Shape<T> {
    pub(crate) fn new(slots: &[Slot<T>], overflow: Overflow) -> Self {
        Self {
            slots: slots.as_ptr(),
            index_bits: (slots.len() as u64 + 1).next_power_of_two() - 1,
            capacity: u32::try_from(slots.len()).expect("at most `MAX_CAPACITY`"),
            overflow,
        }
    }

    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    #[inline]
    pub(crate) fn overflow(&self) -> Overflow {
        self.overflow
    }

    #[inline]
    pub(crate) fn closed_bit(&self) -> u64 {
        self.index_bits + 1
    }

    #[inline]
    pub(crate) fn one_lap(&self) -> u64 {
        self.closed_bit() * 2
    }

    /// The slot of a position.
    ///
    /// # Safety
    ///
    /// The slots are alive: the caller has a share, or is entitled to one.
    #[inline(always)]
    pub(crate) unsafe fn slot<'a>(&self, position: u64) -> &'a Slot<T> {
        // SAFETY: the caller guarantees that the slots are alive. `after` makes positions, and
        // keeps the index below the number of slots.
        unsafe { &*self.slots.add(self.index(position)) }
    }

    /// The address of a position's slot. For a number that is not a position, it may be the address
    /// of no slot.
    #[inline(always)]
    pub(crate) fn address(&self, position: u64) -> *const Slot<T> {
        self.slots.wrapping_add(self.index(position))
    }

    #[inline(always)]
    pub(crate) fn index(&self, position: u64) -> usize {
        (position & self.index_bits) as usize
    }

    /// The position after this one.
    #[inline(always)]
    pub(crate) fn next(&self, position: u64) -> u64 {
        self.after(position, 1)
    }

    /// The position `count` after this one; `count` is at most one lap.
    #[inline(always)]
    pub(crate) fn after(&self, position: u64, count: usize) -> u64 {
        let index = self.index(position) + count;
        if index < self.capacity() {
            position + count as u64
        } else {
            let lap = position & !(self.one_lap() - 1);
            lap.wrapping_add(self.one_lap()) + (index - self.capacity()) as u64
        }
    }

    /// The position of the last slot in the lap of `position`.
    #[inline]
    pub(crate) fn last_of_lap(&self, position: u64) -> u64 {
        (position & !(self.one_lap() - 1)) + (self.capacity() as u64 - 1)
    }

    /// The position before this one. Before the first position, a number that is never the position
    /// of a value.
    #[inline(always)]
    pub(crate) fn before(&self, position: u64) -> u64 {
        if self.index(position) == 0 {
            position.wrapping_sub(self.one_lap()) + (self.capacity() as u64 - 1)
        } else {
            position - 1
        }
    }

    /// The number of a position, counted from 0: how many positions come before it.
    pub(crate) fn number(&self, position: u64) -> u64 {
        let lap = position >> self.one_lap().trailing_zeros();
        lap * self.capacity() as u64 + self.index(position) as u64
    }
}
