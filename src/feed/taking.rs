//! The receiver's side of a queue. The `&mut Cursor` proves that the caller is the only receiver.

use std::ptr;
use std::task::Waker;
use std::time::Duration;

use super::queue::{Cursor, Queue};
use super::refusal::End;
use super::slots::Slot;
use crate::error::TryRecvError;
use crate::overflow::Overflow;
use crate::sync::{MODELLED, Ordering, heavy_fence, mutant, order, store_load_fence};
use crate::wait::Patience;

/// How long a non-blocking receive waits for a value that is being written.
const WRITING: Duration = Duration::from_millis(100);

/// The bytes of a cache line of the most common processors.
const CACHE_LINE: usize = 64;

fn is_soon(patience: &Patience) -> bool {
    patience.has_waited() < WRITING && !mutant!("claimed_place_counts_as_empty")
}

/// The result of [`look`](Queue::look).
struct Ready {
    /// How many values there are.
    count: usize,
    /// How many of them, from the first on, are known to be complete.
    filled: usize,
}

impl<T> Queue<T> {
    #[inline(always)]
    fn filled_slot(&self, position: u64) -> &Slot<T> {
        // SAFETY: the receiver has a share.
        unsafe { self.receiver.shape.slot(position) }
    }

    /// Takes the next value. `waits` says whether to wait, for [`WRITING`] at most, for a value
    /// whose sender has claimed its place but has not filled it.
    #[inline(always)]
    pub(crate) fn pop(&self, cursor: &mut Cursor, waits: bool) -> Result<T, TryRecvError> {
        match self.pop_next(cursor) {
            Some(value) => Ok(value),
            None => self.pop_slow(cursor, waits),
        }
    }

    /// Takes the next value if it is there, no value is missing before it, and senders do not
    /// evict.
    #[inline(always)]
    fn pop_next(&self, cursor: &mut Cursor) -> Option<T> {
        let receiver = &self.receiver;
        let shape = receiver.shape;
        if shape.overflow() == Overflow::DropOldest {
            return None;
        }
        let position = cursor.head;
        let overlooks_gaps = mutant!("gaps_are_looked_for_before_the_stamp")
            && !receiver.first_gap.is_before(position);
        // SAFETY: the receiver has a share.
        let slot = unsafe { shape.slot(position) };
        // ORDERING: Acquire pairs with the Release in `fill`.
        if slot.stamp.load(Ordering::Acquire) != position + 1
            || !overlooks_gaps && receiver.first_gap.is_before(position)
        {
            return None;
        }
        // SAFETY: the stamp says that the slot is filled, and the caller is the receiver.
        Some(unsafe { self.take_next(cursor, slot, shape.next(position)) })
    }

    /// Passes values that are there to `f`, at most `limit`. Stops at a value that may not be
    /// complete, and where values are missing. Returns how many values there were at the start, at
    /// most `limit`, and how many it has passed.
    #[inline(always)]
    pub(crate) fn drain(
        &self,
        cursor: &mut Cursor,
        limit: usize,
        mut f: impl FnMut(T),
    ) -> (usize, usize) {
        let receiver = &self.receiver;
        let shape = receiver.shape;
        let Ready { count, filled } = self.look(cursor, limit);
        let mut position = cursor.head;
        let mut last = shape.last_of_lap(position);
        for taken in 0..filled {
            // Checked for each value, because `f` may give a value up.
            if receiver.first_gap.is_before(position) && !mutant!("drain_overlooks_gaps") {
                return (count, taken);
            }
            let mut next = position + 1;
            if position == last {
                next = shape.next(position);
                last = shape.last_of_lap(next);
            }
            // SAFETY: the receiver has a share. `look` says that the slot is filled, and this is
            // the receiver.
            let value = unsafe { self.take_next(cursor, shape.slot(position), next) };
            position = next;
            f(value);
        }
        (count, filled)
    }

    /// Takes the value of the slot at the cursor, moves the cursor on to `next`, and wakes a sender
    /// that waits for room.
    ///
    /// # Safety
    ///
    /// As for [`take_from`](Self::take_from). The slot is that of the cursor, and `next` is the
    /// position after it.
    #[inline(always)]
    unsafe fn take_next(&self, cursor: &mut Cursor, slot: &Slot<T>, next: u64) -> T {
        // SAFETY: the caller guarantees this.
        let value = unsafe { self.take_from(slot, next) };
        cursor.head = next;
        cursor.taken = cursor.taken.wrapping_add(1);
        let room = &self.receiver.room;
        if room.is_waited_on() {
            room.wake(1);
        }
        value
    }

    #[cold]
    #[inline(never)]
    fn pop_slow(&self, cursor: &mut Cursor, waits: bool) -> Result<T, TryRecvError> {
        if self.receiver.shape.overflow() == Overflow::DropOldest {
            return self.pop_contended(cursor, waits);
        }
        let position = cursor.head;
        // ORDERING: as in `pop_next`.
        if self.filled_slot(position).stamp.load(Ordering::Acquire) == position + 1
            && self.receiver.first_gap.is_before(position)
        {
            return Err(self.lagged(position));
        }
        self.pop_nothing(cursor, waits)
    }

    /// Takes the value of the slot at the head, where senders do not evict, and moves the head to
    /// `next`.
    ///
    /// # Safety
    ///
    /// The value is there, and the caller is the only receiver.
    #[inline(always)]
    unsafe fn take_from(&self, slot: &Slot<T>, next: u64) -> T {
        // SAFETY: no sender writes to the slot before the head has moved, and after that no thread
        // reads the value again.
        let value = slot
            .value
            .with(|cell| unsafe { (*cell).assume_init_read() });
        // ORDERING: Release pairs with the Acquire in `free_up_to`: the value is read before its
        // slot is free.
        let order = order!(Release, "slot_is_freed_relaxed");
        self.receiver.head.store(next, order);
        value
    }

    /// Wakes senders that the looks without a fence have overlooked. The receiver calls this before
    /// it stops taking values for a while.
    pub(crate) fn look_for_senders(&self, cursor: &mut Cursor) {
        // A sender waits only if the queue is full. The last fence made the head of that time
        // visible to all senders. So if a sender has since seen the queue full and the receiver now
        // finds it empty, the receiver has taken a whole queue of values since that fence.
        let is_due = cursor.taken.wrapping_sub(cursor.fenced_at) >= self.receiver.shape.capacity();
        if is_due || mutant!("values_taken_are_forgotten_without_fence") {
            cursor.fenced_at = cursor.taken;
        }
        if is_due {
            // ORDERING: pairs with the fence in `WakerSet::join`. The receiver sees a sender that
            // joined before this fence; a sender that joins after it sees the room.
            store_load_fence!("receiver_finds_empty_without_fence");
            if self.receiver.room.is_waited_on() {
                let places = self.room_for(self.receiver.shape.capacity());
                self.receiver.room.wake_for(places);
            }
        }
    }

    /// Called if there is no value to take at the cursor. Returns the reason, or a value that has
    /// come since.
    fn pop_nothing(&self, cursor: &mut Cursor, waits: bool) -> Result<T, TryRecvError> {
        self.look_for_senders(cursor);
        let mut patience = Patience::new();
        loop {
            let overlooks_gaps = mutant!("gaps_are_looked_for_before_the_end")
                && !self.receiver.first_gap.is_at(cursor.head);
            let is_closed = self.is_closed();
            if !is_closed && !self.is_overtaken(cursor.head) {
                // No value is complete behind the head. A look at the tail would take a cache line
                // from the senders.
                return Err(self.nothing(cursor.head, false));
            }
            // ORDERING: Acquire pairs with the claim. SeqCst with the stores in `WakerCell`: a
            // receiver that has armed its waker looks here once more.
            let tail = self.senders.tail.load(Ordering::SeqCst) & !self.receiver.shape.closed_bit();
            if tail == cursor.head {
                if overlooks_gaps {
                    return Err(if is_closed {
                        self.ended()
                    } else {
                        TryRecvError::Empty
                    });
                }
                return Err(self.nothing(cursor.head, is_closed));
            }
            if self.filled_slot(cursor.head).stamp.load(Ordering::Acquire) == cursor.head + 1 {
                return self.pop(cursor, waits);
            }
            // A sender has claimed this place and is about to fill it, or to take its claim back.
            // Values behind it may be complete already.
            if !(is_closed || waits && is_soon(&patience)) {
                return Err(TryRecvError::Empty);
            }
            patience.wait();
        }
    }

    /// Whether a value or a gap may be complete behind a place that is not filled.
    #[inline]
    fn is_overtaken(&self, head: u64) -> bool {
        // ORDERING: see `note_overtaken`.
        head < self.overtaken.load(Ordering::Relaxed)
    }

    /// Returns why there is no value at the head, which the tail has not passed.
    fn nothing(&self, head: u64, is_closed: bool) -> TryRecvError {
        // Read after the end was seen: every gap from before the queue was closed is reported
        // before the end.
        if self.receiver.first_gap.is_at(head) {
            return self.lagged(head);
        }
        if !is_closed {
            return TryRecvError::Empty;
        }
        match self.gaps.end(&self.receiver.first_gap) {
            0 => self.ended(),
            missed => TryRecvError::Lagged(missed),
        }
    }

    /// Takes the gaps that come before the value at the head.
    #[cold]
    fn lagged(&self, head: u64) -> TryRecvError {
        TryRecvError::Lagged(self.gaps.take(&self.receiver.first_gap, head))
    }

    /// Takes the next value while senders may push it out at the same time.
    fn pop_contended(&self, cursor: &mut Cursor, waits: bool) -> Result<T, TryRecvError> {
        let mut patience = Patience::new();
        loop {
            let head = self.receiver.head.load(Ordering::Acquire);
            let number = self.receiver.shape.number(head);
            if number > cursor.expected {
                let evicted = number - std::mem::replace(&mut cursor.expected, number);
                // Values missed at the same point for another reason are reported together with
                // these. If this load does not see a gap yet, the next receive reports it.
                let others = if self.receiver.first_gap.is_before(head) {
                    self.gaps.take(&self.receiver.first_gap, head)
                } else {
                    0
                };
                return Err(TryRecvError::Lagged(evicted + others));
            }
            // ORDERING: Acquire pairs with the Release in `fill`.
            if self.filled_slot(head).stamp.load(Ordering::Acquire) == head + 1 {
                if self.receiver.first_gap.is_before(head) {
                    return Err(self.lagged(head));
                }
                if let Some(value) = self.take(head) {
                    cursor.expected = number + 1;
                    return Ok(value);
                }
            }
            if self.receiver.head.load(Ordering::Acquire) != head {
                continue;
            }
            // ORDERING: as in `pop_nothing`.
            let is_closed = self.is_closed();
            let tail = self.senders.tail.load(Ordering::SeqCst) & !self.receiver.shape.closed_bit();
            if tail == head {
                return Err(self.nothing(head, is_closed));
            }
            if self.filled_slot(head).stamp.load(Ordering::Acquire) == head + 1 {
                continue;
            }
            // A sender has claimed this place and is about to fill it. Values behind it may be
            // complete already.
            if !(is_closed || waits && is_soon(&patience)) {
                return Err(TryRecvError::Empty);
            }
            patience.wait();
        }
    }

    /// Takes the value at the head if it is there.
    pub(super) fn claim(&self, head: u64) -> Option<T> {
        let slot = self.filled_slot(head);
        // ORDERING: Acquire pairs with the Release in `fill`.
        if slot.stamp.load(Ordering::Acquire) != head + 1 {
            return None;
        }
        self.take(head)
    }

    /// Takes the value at the head by moving the head. The value is there, and other threads may
    /// move the head at the same time.
    #[inline]
    fn take(&self, head: u64) -> Option<T> {
        let slot = self.filled_slot(head);
        let next = self.receiver.shape.next(head);
        self.receiver
            .head
            .compare_exchange(head, next, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        // SAFETY: the slot was filled, and only this thread moved the head from it.
        let value = slot
            .value
            .with(|cell| unsafe { (*cell).assume_init_read() });
        // ORDERING: Release pairs with the Acquire in `claim_by_stamp`.
        let order = order!(Release, "evicted_slot_is_freed_relaxed");
        slot.stamp
            .store(head.wrapping_add(self.receiver.shape.one_lap()), order);
        Some(value)
    }

    /// Whether no sender has claimed the next place. If one has, it is about to fill it, and the
    /// receiver need not park. For a receiver that has armed its waker and found no value.
    pub(crate) fn is_unclaimed(&self) -> bool {
        if mutant!("receiver_parks_on_a_claimed_place") {
            return true;
        }
        // ORDERING: SeqCst with the stores in `WakerCell`. Only the receiver moves the head, or it
        // has moved since.
        let tail = self.senders.tail.load(Ordering::SeqCst) & !self.receiver.shape.closed_bit();
        tail == self.receiver.head.load(Ordering::Acquire)
    }

    fn ended(&self) -> TryRecvError {
        match End::numbered(self.receiver.end.load(Ordering::Relaxed)) {
            Some(End::Overflowed) => TryRecvError::Overflowed,
            Some(End::Closed) | None => TryRecvError::Closed,
        }
    }

    /// Registers `waker` to be woken when there may be a value. The receiver must look once more
    /// after this.
    pub(crate) fn arm(&self, waker: &Waker) {
        self.senders.bell.arm(waker);
        // ORDERING: pairs with the light fence in `claim_alone`. Other senders make their own
        // fence.
        if self.sole.is_another() {
            heavy_fence!("receiver_arms_without_heavy_fence");
        }
    }

    /// How many slots, from this position on, have their stamps in the same cache line.
    #[inline(always)]
    fn slots_to_end_of_line(&self, position: u64) -> usize {
        if MODELLED {
            // Addresses differ from run to run. A model has two slots to a line, so that a look at
            // the second stands for both.
            return 2 - self.receiver.shape.index(position) % 2;
        }
        let stamp = ptr::from_ref(&self.filled_slot(position).stamp).addr();
        (CACHE_LINE - stamp % CACHE_LINE).div_ceil(size_of::<Slot<T>>())
    }

    /// How many values are there for the receiver now, at most `limit`. Values that are being
    /// written count if others behind them may be complete.
    pub(crate) fn ready(&self, cursor: &Cursor, limit: usize) -> usize {
        self.look(cursor, limit).count
    }

    fn look(&self, cursor: &Cursor, limit: usize) -> Ready {
        let shape = self.receiver.shape;
        let at_most = |limit: usize| Ready {
            count: limit.min(self.len()),
            filled: 0,
        };
        if shape.overflow() == Overflow::DropOldest || self.is_closed() {
            return at_most(limit);
        }
        // The tail would tell, but it is in the senders' cache line. Slots are filled in order,
        // unless overtaken.
        let limit = limit.min(shape.capacity());
        let is_filled = |count: usize| {
            let position = shape.after(cursor.head, count - 1);
            // ORDERING: Acquire, so that the count covers every send that has returned before the
            // caller's call. It pairs with the Release in `fill`, for this slot and those before
            // it: see "No value, or a value that is being written" in `queue`.
            self.filled_slot(position).stamp.load(Ordering::Acquire) == position + 1
        };
        // Looks at the last slot of each cache line first. A line without a value belongs to the
        // sender and is not touched.
        let mut filled = 0;
        while filled < limit {
            let here = self.slots_to_end_of_line(shape.after(cursor.head, filled));
            if filled + here > limit || !is_filled(filled + here) {
                break;
            }
            filled += here;
        }
        while filled < limit && is_filled(filled + 1) {
            filled += 1;
        }
        // Read after the stamps: if a stamp behind an empty slot is visible, so is the note.
        if self.is_overtaken(cursor.head) && !mutant!("overtaking_is_overlooked_by_drain") {
            return at_most(limit);
        }
        Ready {
            count: filled,
            filled,
        }
    }

    /// Drops the values in the queue. The caller must be the only receiver.
    pub(crate) fn drop_values(&self) {
        loop {
            let head = self.receiver.head.load(Ordering::Acquire);
            let slot = self.filled_slot(head);
            if slot.stamp.load(Ordering::Acquire) != head + 1 {
                if self.receiver.head.load(Ordering::Acquire) == head {
                    return;
                }
            } else if self.receiver.shape.overflow() == Overflow::DropOldest {
                drop(self.take(head));
            } else {
                // SAFETY: the stamp says that the value is there, and the caller is the only
                // receiver.
                drop(unsafe { self.take_from(slot, self.receiver.shape.next(head)) });
            }
        }
    }
}
