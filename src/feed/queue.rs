//! The queue of a feed's own channel: bounded, lock-free, many senders, one receiver.
//!
//! A ring of slots, each with a stamp, after Dmitry Vyukov's bounded queue with the stamp layout of crossbeam's
//! `ArrayQueue`, which is exact for any capacity from 1. It differs from both in that only one thread receives: unless
//! senders may evict, taking a value is a load and two stores, without a read-modify-write.
//!
//! # Positions
//!
//! A position is `lap | closed | index`: the index of a slot in the low bits, above it one bit that the tail alone uses
//! to say that the queue is closed, above that how often the ring has been gone round. A slot's stamp says who may use
//! it next:
//!
//! | stamp | state | who moves it on |
//! |---|---|---|
//! | `p` | free, for the value at position `p` | the sender that moves the tail from `p` to its successor |
//! | `p + 1` | holds the value at position `p` | the receiver, or under `DropOldest` whoever moves the head from `p` |
//! | `p + one lap` | free again, a lap later | |
//!
//! There are at least 2^62 positions, whatever the capacity: 146 years at a billion values a second. What comes after the last
//! is not defined; nothing looks for it.
//!
//! A sender that was preempted between moving the tail and stamping the slot holds up the values behind its own until
//! it runs again; other senders go on.
//!
//! # Waking
//!
//! The receiver is woken by [`WakerCell`]'s protocol. What it looks at once more before it waits is the tail, which a
//! sender moves by a `SeqCst` read-modify-write: so looking whether the receiver waits costs a sender one plain load. If
//! the tail has moved and the value is not there yet, its sender is between the two, and the receiver does not park.
//! Senders that wait for room are in a [`WakerSet`]. The receiver looks at its count after each
//! value it takes and wakes one sender. It fences before that look only when it finds the queue
//! empty: a fence for each value would cost as much as all the rest of taking it. So a sender that
//! joins an empty line in the few nanoseconds in which the receiver's last store is not visible yet
//! may be overlooked by that take. The next take makes up for it, or the receiver when it finds the
//! queue empty. The receiver may do neither for a long time, so the senders that may have been
//! overlooked look again by themselves ([`Again`](crate::wait::Again)).

use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::gaps::{FirstGap, Gaps};
use super::refusal::{End, Pushed, Refusal};
use super::slots::{Slot, closed_bit};
use crate::error::{TryRecvError, TrySendError};
use crate::overflow::Overflow;
use crate::sync::{AtomicU8, AtomicU64, Ordering, mutant, order, seq_cst_order, store_load_fence};
use crate::wait::{Patience, WakerCell, WakerSet, catch};

#[cfg(all(test, not(any(fanfeed_loom, fanfeed_shuttle))))]
#[path = "../../tests/wrap/queue.rs"]
mod wrap;

/// How long a non-blocking receive waits for a value that is being written.
const WRITING: Duration = Duration::from_millis(100);

fn is_soon(patience: &Patience) -> bool {
    patience.has_waited() < WRITING && !mutant!("claimed_place_counts_as_empty")
}

/// The largest capacity: what the layout of positions and a vector of slots can hold with ease.
pub(crate) const MAX_CAPACITY: usize = 1 << 30;

/// All of an own channel except its slots, which its [`Share`](super::slots::Share)s keep.
pub(crate) struct Queue<T> {
    senders: CachePadded<SenderSide<T>>,
    receiver: CachePadded<ReceiverSide>,
    /// The values that the receiver misses, except those that were pushed out.
    gaps: Gaps,
    /// Under `DropOldest`: how many values were pushed out.
    evicted: AtomicU64,
    /// An [`End`], or 0. Set before the tail's bit.
    end: AtomicU8,
}

/// What senders read for each value: one cache line.
struct SenderSide<T> {
    tail: AtomicU64,
    slots: *const [Slot<T>],
    /// The bit that closes the tail. Twice that is one lap.
    closed_bit: u64,
    bell: WakerCell,
    overflow: Overflow,
}

/// What the receiver writes for each value.
struct ReceiverSide {
    head: AtomicU64,
    first_gap: FirstGap,
    room: WakerSet,
}

// SAFETY: the slots are `Sync` when `T: Send`, and live while they are used (see `Share`);
// everything else is `Sync` by itself.
unsafe impl<T: Send> Sync for Queue<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Queue<T> {}

/// The receiver's own part: where it is.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// The position to take next, unless senders evict: then the queue's `head` is.
    head: u64,
    /// Under `DropOldest`: the number, counted from 0, of the next value that the receiver expects.
    expected: u64,
    /// Whether it has taken values since it last fenced.
    unfenced: bool,
}

impl<T> Queue<T> {
    /// A queue over these slots.
    pub(super) fn new(slots: &[Slot<T>], overflow: Overflow) -> Self {
        let capacity = slots.len();
        debug_assert!((1..=MAX_CAPACITY).contains(&capacity));
        Self {
            senders: CachePadded::new(SenderSide {
                tail: AtomicU64::new(0),
                slots,
                closed_bit: closed_bit(capacity),
                bell: WakerCell::new(),
                overflow,
            }),
            receiver: CachePadded::new(ReceiverSide {
                head: AtomicU64::new(0),
                first_gap: FirstGap::new(),
                room: WakerSet::unfenced(),
            }),
            gaps: Gaps::new(capacity),
            evicted: AtomicU64::new(0),
            end: AtomicU8::new(0),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.senders.slots.len()
    }

    /// Where the receiver waits.
    pub(crate) fn bell(&self) -> &WakerCell {
        &self.senders.bell
    }

    /// Where senders wait for room.
    pub(crate) fn room(&self) -> &WakerSet {
        &self.receiver.room
    }

    pub(crate) fn overflow(&self) -> Overflow {
        self.senders.overflow
    }

    #[inline]
    fn closed_bit(&self) -> u64 {
        self.senders.closed_bit
    }

    #[inline]
    fn one_lap(&self) -> u64 {
        self.closed_bit() * 2
    }

    #[inline]
    fn slot(&self, position: u64) -> &Slot<T> {
        let index = self.index(position);
        // SAFETY: the caller has a share, or is entitled to one, so the slots are there. Positions are made by `after`, which
        // keeps the index below the number of slots.
        unsafe { &*self.senders.slots.cast::<Slot<T>>().add(index) }
    }

    #[inline]
    fn index(&self, position: u64) -> usize {
        (position & (self.closed_bit() - 1)) as usize
    }

    /// The position `count` after this one; at most a lap.
    #[inline]
    fn after(&self, position: u64, count: usize) -> u64 {
        let index = self.index(position) + count;
        let capacity = self.senders.slots.len();
        if index < capacity {
            position + count as u64
        } else {
            let lap = position & !(self.one_lap() - 1);
            lap.wrapping_add(self.one_lap()) + (index - capacity) as u64
        }
    }

    /// Counts a position from 0: how many positions come before it.
    fn number(&self, position: u64) -> u64 {
        let lap = position >> self.one_lap().trailing_zeros();
        lap * self.senders.slots.len() as u64 + self.index(position) as u64
    }

    // ---- The senders' side ----

    /// Puts a value into the queue, or deals with it as the overflow policy says. `Ok(true)` if the receiver waits and
    /// is to be woken by [`ring`](Self::ring).
    #[inline]
    pub(crate) fn offer(&self, value: T) -> Result<bool, Refusal<T>> {
        match self.try_push(value) {
            Ok(()) => Ok(self.senders.bell.is_armed()),
            Err(TrySendError::Closed(value)) => Err(Refusal::Closed(value)),
            Err(TrySendError::Full(value)) => self.offer_full(value),
        }
    }

    #[cold]
    fn offer_full(&self, value: T) -> Result<bool, Refusal<T>> {
        match self.senders.overflow {
            Overflow::Block => Err(Refusal::Full(value)),
            Overflow::Disconnect => Err(Refusal::Overflowed(value)),
            Overflow::DropNewest => {
                self.miss(self.place(), 1);
                Err(Refusal::Missed(value))
            }
            Overflow::DropOldest => self.push_evicting(value),
        }
    }

    /// The position of the next value in the stream, which is also the place of a value refused
    /// now.
    pub(crate) fn place(&self) -> u64 {
        self.senders.tail.load(Ordering::Relaxed) & !self.closed_bit()
    }

    /// Tells the receiver that it misses `count` values at that place.
    pub(crate) fn miss(&self, place: u64, count: u64) {
        if self.gaps.record(&self.receiver.first_gap, place, count) {
            // The four: the store in `FirstGap::set`, `is_armed`; the store in `arm`, the load in `FirstGap::is_at`. The list
            // itself lies under a lock.
            seq_cst_order!("sender_of_a_gap_looks_without_order");
            if self.senders.bell.is_armed() && !mutant!("gap_wakes_nobody") {
                self.ring();
            }
        }
    }

    /// Wakes the receiver if it waits.
    #[cold]
    pub(crate) fn ring(&self) {
        self.senders.bell.wake();
    }

    #[inline]
    fn try_push(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut tail = self.senders.tail.load(Ordering::Relaxed);
        loop {
            if tail & self.closed_bit() != 0 {
                return Err(TrySendError::Closed(value));
            }
            let slot = self.slot(tail);
            // ORDERING: Acquire pairs with the Release in `pop`: the receiver is done with what the slot held.
            if slot.stamp.load(Ordering::Acquire) == tail {
                let next = self.after(tail, 1);
                // ORDERING: SeqCst for the waking: see `WakerCell`. The four: this, `is_armed`; the store in `arm`, the load of the
                // tail in `pop_nothing`, `pop_contended` or `is_unclaimed`. The stamp that follows is released by itself.
                match self.senders.tail.compare_exchange_weak(
                    tail,
                    next,
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        seq_cst_order!("sender_looks_without_order");
                        self.fill(tail, value);
                        return Ok(());
                    }
                    Err(now) => tail = now,
                }
            } else {
                let now = self.senders.tail.load(Ordering::Relaxed);
                if now == tail {
                    return Err(TrySendError::Full(value));
                }
                tail = now;
            }
        }
    }

    /// Writes the value of a position that this thread has claimed.
    #[inline]
    fn fill(&self, position: u64, value: T) {
        let slot = self.slot(position);
        // SAFETY: the stamp was `position` and this thread moved the tail from it: the slot is this thread's alone.
        slot.value.with_mut(|cell| unsafe { (*cell).write(value) });
        // ORDERING: Release pairs with the Acquire in `pop`.
        let order = order!(Release, "value_is_published_relaxed");
        slot.stamp.store(position + 1, order);
    }

    /// How many values there is room for, at most `wanted`. Others may take it; more may come.
    pub(crate) fn room_for(&self, wanted: usize) -> usize {
        wanted.min(self.capacity() - self.len())
    }

    /// Puts as many values as there is room for, at most `wanted`, into consecutive places, and returns how many.
    /// `next` must not panic. `Err` if the queue is closed.
    ///
    /// Not for queues whose senders evict: there the slots come free in no order.
    pub(crate) fn push_many(
        &self,
        wanted: usize,
        mut next: impl FnMut() -> T,
    ) -> Result<usize, ()> {
        debug_assert!(self.senders.overflow != Overflow::DropOldest);
        let mut tail = self.senders.tail.load(Ordering::Relaxed);
        loop {
            if tail & self.closed_bit() != 0 {
                return Err(());
            }
            // ORDERING: Acquire pairs with the Release in `pop`, which stores the head last: all slots before it are free.
            let head = self.receiver.head.load(Ordering::Acquire);
            let used = self.number(tail).saturating_sub(self.number(head)) as usize;
            let free = wanted.min(self.capacity().saturating_sub(used));
            if free == 0 {
                let now = self.senders.tail.load(Ordering::Relaxed);
                if now == tail {
                    return Ok(0);
                }
                tail = now;
                continue;
            }
            let end = self.after(tail, free);
            // ORDERING: as in `try_push`.
            match self.senders.tail.compare_exchange_weak(
                tail,
                end,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    seq_cst_order!("sender_of_many_looks_without_order");
                    let mut position = tail;
                    for _ in 0..free {
                        self.fill(position, next());
                        position = self.after(position, 1);
                    }
                    return Ok(free);
                }
                Err(now) => tail = now,
            }
        }
    }

    /// Puts a value into the queue, pushing out the oldest where there is no room.
    fn push_evicting(&self, mut value: T) -> Result<bool, Refusal<T>> {
        let mut patience = Patience::new();
        let mut panic = None;
        loop {
            match self.try_push(value) {
                Ok(()) => {
                    let waits = self.senders.bell.is_armed();
                    return match panic {
                        None => Ok(waits),
                        Some(panic) => Err(Refusal::Pushed(Box::new(Pushed { waits, panic }))),
                    };
                }
                Err(TrySendError::Closed(value)) => return Err(Refusal::Closed(value)),
                Err(TrySendError::Full(back)) => value = back,
            }
            let head = self.receiver.head.load(Ordering::Acquire);
            let tail = self.senders.tail.load(Ordering::Acquire) & !self.closed_bit();
            let is_full = head.wrapping_add(self.one_lap()) == tail;
            // Where it is not full, somebody is between taking a value and freeing its slot; where the oldest is not
            // there yet, its sender is between claiming the slot and filling it. Both are a few instructions.
            match if is_full { self.claim(head) } else { None } {
                Some(oldest) => {
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                    if std::mem::needs_drop::<T>() {
                        panic = panic.or(catch(|| drop(oldest)).err());
                    }
                }
                None => patience.wait(),
            }
        }
    }

    /// Closes the queue: it takes no more values. Values in the queue can still be received. Wakes
    /// no thread: see [`wake_all`](Self::wake_all).
    pub(crate) fn close(&self, end: End) {
        let mark = || {
            // ORDERING: Release pairs with the Acquire loads of the tail: a thread that sees the
            // bit sees the reason. SeqCst for the waking, as in `try_push`.
            let closed = self.closed_bit();
            self.senders.tail.fetch_or(closed, Ordering::SeqCst);
        };
        if mutant!("end_is_told_before_its_reason") {
            mark();
        }
        self.end.store(end as u8, Ordering::Relaxed);
        mark();
    }

    /// Wakes the receiver, and the senders that wait for room. Called once the queue has been closed.
    pub(crate) fn wake_all(&self) {
        if self.senders.bell.is_armed() {
            self.ring();
        }
        if !mutant!("end_wakes_no_sender") {
            self.receiver.room.wake_all();
        }
    }

    // ---- The receiver's side. The cursor stands for its being the only one. ----

    /// Takes the next value. `waits` says whether to wait, for [`WRITING`] at most, for a value
    /// whose sender has claimed its place but has not filled it.
    #[inline]
    pub(crate) fn pop(&self, cursor: &mut Cursor, waits: bool) -> Result<T, TryRecvError> {
        if self.senders.overflow == Overflow::DropOldest {
            return self.pop_contended(cursor, waits);
        }
        let position = cursor.head;
        let slot = self.slot(position);
        let overlooks_gaps = mutant!("gaps_are_looked_for_before_the_stamp")
            && !self.receiver.first_gap.is_before(position);
        // ORDERING: Acquire pairs with the Release in `fill`.
        if slot.stamp.load(Ordering::Acquire) != position + 1 {
            return self.pop_nothing(cursor, waits);
        }
        if !overlooks_gaps && self.receiver.first_gap.is_before(position) {
            return Err(self.lagged(position));
        }
        // SAFETY: the stamp says that the slot is filled, and nobody but the receiver changes that; the value is read once,
        // because the stamp and the cursor move on.
        let value = slot
            .value
            .with(|cell| unsafe { (*cell).assume_init_read() });
        let next = self.after(position, 1);
        // ORDERING: Release pairs with the Acquire in `try_push`: the value was read before its slot is free. The head
        // comes after it, for `push_many`.
        let order = order!(Release, "slot_is_freed_relaxed");
        slot.stamp
            .store(position.wrapping_add(self.one_lap()), order);
        self.receiver.head.store(next, Ordering::Release);
        cursor.head = next;
        cursor.unfenced = true;
        if self.receiver.room.is_waited_on() {
            self.receiver.room.wake(1);
        }
        Ok(value)
    }

    /// Wakes senders that the looks without a fence have missed. The receiver calls this before it
    /// stops taking values for a while.
    pub(crate) fn look_for_senders(&self, cursor: &mut Cursor) {
        if std::mem::take(&mut cursor.unfenced) {
            // ORDERING: pairs with the fence in `WakerSet::join`: whoever joined before it is seen, whoever joins after
            // it sees the room.
            store_load_fence!("receiver_finds_empty_without_fence");
            if self.receiver.room.is_waited_on() {
                let places = self.room_for(self.capacity());
                self.receiver.room.wake_for(places);
            }
        }
    }

    /// Finds nothing to take at the cursor, and says why.
    fn pop_nothing(&self, cursor: &mut Cursor, waits: bool) -> Result<T, TryRecvError> {
        self.look_for_senders(cursor);
        let mut patience = Patience::new();
        loop {
            let overlooks_gaps = mutant!("gaps_are_looked_for_before_the_tail")
                && !self.receiver.first_gap.is_at(cursor.head);
            // ORDERING: Acquire pairs with the claim and with `close`. SeqCst with the stores in `WakerCell`: a receiver
            // that has armed its bell looks here once more.
            let tail = self.senders.tail.load(Ordering::SeqCst);
            let is_closed = tail & self.closed_bit() != 0;
            if tail & !self.closed_bit() == cursor.head {
                if overlooks_gaps {
                    return Err(if is_closed {
                        self.ended()
                    } else {
                        TryRecvError::Empty
                    });
                }
                return Err(self.nothing(cursor.head, is_closed));
            }
            if self.slot(cursor.head).stamp.load(Ordering::Acquire) == cursor.head + 1 {
                return self.pop(cursor, waits);
            }
            // A sender has claimed this place and is about to fill it. Values behind it may be
            // complete already.
            if !(is_closed || waits && is_soon(&patience)) {
                return Err(TryRecvError::Empty);
            }
            patience.wait();
        }
    }

    /// Says why there is no value at the head, which the tail has not passed.
    fn nothing(&self, head: u64, is_closed: bool) -> TryRecvError {
        // Read after the tail: everything missed before the queue was closed is reported before its
        // end.
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

    /// Takes the next value where senders may push it out at the same time.
    fn pop_contended(&self, cursor: &mut Cursor, waits: bool) -> Result<T, TryRecvError> {
        let mut patience = Patience::new();
        loop {
            let head = self.receiver.head.load(Ordering::Acquire);
            let number = self.number(head);
            if number > cursor.expected {
                let evicted = number - std::mem::replace(&mut cursor.expected, number);
                // Values missed at the same point for another reason are reported together with
                // these. The next receive reports a gap that this does not see yet.
                let others = if self.receiver.first_gap.is_before(head) {
                    self.gaps.take(&self.receiver.first_gap, head)
                } else {
                    0
                };
                return Err(TryRecvError::Lagged(evicted + others));
            }
            // ORDERING: Acquire pairs with the Release in `fill`.
            if self.slot(head).stamp.load(Ordering::Acquire) == head + 1 {
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
            let tail = self.senders.tail.load(Ordering::SeqCst);
            let is_closed = tail & self.closed_bit() != 0;
            if tail & !self.closed_bit() == head {
                return Err(self.nothing(head, is_closed));
            }
            if self.slot(head).stamp.load(Ordering::Acquire) == head + 1 {
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
    fn claim(&self, head: u64) -> Option<T> {
        let slot = self.slot(head);
        // ORDERING: Acquire pairs with the Release in `fill`.
        if slot.stamp.load(Ordering::Acquire) != head + 1 {
            return None;
        }
        self.take(head)
    }

    /// Takes the value at the head by moving the head. The value is there, and other threads may be
    /// moving the head too.
    #[inline]
    fn take(&self, head: u64) -> Option<T> {
        let slot = self.slot(head);
        let next = self.after(head, 1);
        self.receiver
            .head
            .compare_exchange(head, next, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        // SAFETY: the slot was filled, and this thread alone moved the head from it.
        let value = slot
            .value
            .with(|cell| unsafe { (*cell).assume_init_read() });
        // ORDERING: Release pairs with the Acquire in `try_push`.
        let order = order!(Release, "slot_is_freed_relaxed");
        slot.stamp.store(head.wrapping_add(self.one_lap()), order);
        Some(value)
    }

    /// Whether there is nothing to wait for but a sender: false if one has claimed the next place and is about to fill
    /// it. For a receiver that has armed its bell and found nothing.
    pub(crate) fn is_unclaimed(&self) -> bool {
        if mutant!("receiver_parks_on_a_claimed_place") {
            return true;
        }
        // ORDERING: SeqCst with the stores in `WakerCell`. The head is the receiver's own, or has moved since.
        let tail = self.senders.tail.load(Ordering::SeqCst) & !self.closed_bit();
        tail == self.receiver.head.load(Ordering::Acquire)
    }

    fn ended(&self) -> TryRecvError {
        match End::numbered(self.end.load(Ordering::Relaxed)) {
            Some(End::Overflowed) => TryRecvError::Overflowed,
            Some(End::Closed) | None => TryRecvError::Closed,
        }
    }

    // ---- What anybody may ask ----

    /// How many values are in it, including those whose senders are about to fill their slots.
    pub(crate) fn len(&self) -> usize {
        loop {
            let tail = self.senders.tail.load(Ordering::Acquire);
            let head = self.receiver.head.load(Ordering::Acquire);
            if self.senders.tail.load(Ordering::Acquire) == tail {
                let used = self
                    .number(tail & !self.closed_bit())
                    .saturating_sub(self.number(head));
                return (used as usize).min(self.capacity());
            }
        }
    }

    /// Whether there are misses not yet reported to the receiver.
    #[cfg(feature = "async")]
    pub(crate) fn has_gap(&self) -> bool {
        self.receiver.first_gap.is_at(u64::MAX - 1)
    }

    /// Whether it takes no more values.
    pub(crate) fn is_closed(&self) -> bool {
        self.senders.tail.load(Ordering::Acquire) & self.closed_bit() != 0
    }

    /// How many values were put into it and not pushed out.
    pub(crate) fn delivered(&self) -> u64 {
        let tail = self.senders.tail.load(Ordering::Acquire) & !self.closed_bit();
        self.number(tail)
            .saturating_sub(self.evicted.load(Ordering::Relaxed))
    }

    /// How many values the receiver has missed.
    pub(crate) fn dropped(&self) -> u64 {
        self.gaps.missed() + self.evicted.load(Ordering::Relaxed)
    }
}

impl<T> Queue<T> {
    /// Drops what is in the queue. The caller is the only one who receives.
    pub(crate) fn drop_values(&self) {
        loop {
            let head = self.receiver.head.load(Ordering::Acquire);
            match self.claim(head) {
                Some(value) => drop(value),
                None if self.receiver.head.load(Ordering::Acquire) == head => break,
                None => {}
            }
        }
    }
}
