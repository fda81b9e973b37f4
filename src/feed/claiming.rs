//! The senders' side of a queue: claiming places, and filling them.

use super::queue::Queue;
use super::record::Section;
use super::refusal::{Pushed, Refusal};
use super::slots::Slot;
use super::sole::OpenWindow;
use crate::overflow::Overflow;
use crate::sync::{Ordering, light_fence, mutant, order, prefetch_to_write, seq_cst_order};
use crate::wait::{Patience, catch};

/// Why no place was claimed.
enum Unclaimed {
    Full,
    Closed,
}

impl<T> Queue<T> {
    #[inline(always)]
    fn slot(&self, position: u64) -> &Slot<T> {
        // SAFETY: a sender is entitled to the share of its subscription's port.
        unsafe { self.senders.shape.slot(position) }
    }

    /// Puts a value into the queue, or treats it as the overflow policy says. Returns `Ok(true)` if
    /// the receiver waits and the caller must wake it with [`ring`](Self::ring).
    #[inline]
    pub(crate) fn offer(&self, value: T, by: &Section<'_>) -> Result<bool, Refusal<T>> {
        if self.senders.shape.overflow() == Overflow::DropOldest {
            return match self.claim_by_stamp() {
                Ok(place) => Ok(self.put(place, value)),
                Err(unclaimed) => self.refuse(unclaimed, value),
            };
        }
        let window = by.open();
        match self.claim_places(1, window.as_ref()) {
            Ok((place, _)) => {
                let waits = self.put(place, value);
                self.fetch_ahead(place);
                Ok(waits)
            }
            Err(unclaimed) => {
                drop(window);
                self.refuse(unclaimed, value)
            }
        }
    }

    /// Whether there is room at this moment, for a thread that is about to use it. For queues whose
    /// senders do not evict.
    #[inline(always)]
    pub(crate) fn has_room(&self) -> bool {
        let tail = self.senders.tail.load(Ordering::Relaxed);
        let has_room = self.is_before_limit(tail) || self.free_up_to(tail, 1).is_ok();
        if has_room {
            // While the queue is being closed, the tail may not be a position for an instant: see
            // `is_before_limit`.
            prefetch_to_write(self.senders.shape.address(tail));
        }
        has_room
    }

    /// Puts a value into the queue, in the window if there is one, and otherwise as one of several
    /// senders; for queues whose senders do not evict. Returns true if the receiver waits. Gives the
    /// value back if there is no room, or the queue is closed.
    #[inline(always)]
    pub(crate) fn offer_now(&self, value: T, window: Option<&OpenWindow<'_>>) -> Result<bool, T> {
        let Ok((place, _)) = self.claim_places(1, window) else {
            return Err(value);
        };
        let waits = self.put(place, value);
        self.fetch_ahead(place);
        Ok(waits)
    }

    /// Prefetches the cache line that a sender will write some values later. The receiver has read
    /// that line, so it comes from another core.
    #[inline(always)]
    fn fetch_ahead(&self, place: u64) {
        let slot = size_of::<Slot<T>>();
        let (line, ahead) = ((64 / slot).max(1) as u64, (256 / slot).max(2) as u64);
        let later = place.wrapping_add(ahead);
        if place.is_multiple_of(line) && later < self.senders.limit.load(Ordering::Relaxed) {
            // The limit may be in a later lap by now. Then `later` may not be a position.
            prefetch_to_write(self.senders.shape.address(later));
        }
    }

    /// Claims up to `wanted` places, and returns the first and their number. The caller fills them
    /// before it closes the window, if it has one.
    #[inline(always)]
    fn claim_places(
        &self,
        wanted: usize,
        window: Option<&OpenWindow<'_>>,
    ) -> Result<(u64, usize), Unclaimed> {
        if window.is_some() {
            return self.claim_alone(wanted);
        }
        let claimed = self.claim_shared(wanted);
        if let Ok((place, _)) = claimed {
            self.note_overtaking(place);
        }
        claimed
    }

    /// Puts a value into the place that was claimed for it. Returns true if the receiver waits.
    #[inline(always)]
    fn put(&self, place: u64, value: T) -> bool {
        let waits = self.senders.bell.is_armed();
        self.fill(place, value);
        waits
    }

    #[cold]
    #[inline(never)]
    fn refuse(&self, unclaimed: Unclaimed, value: T) -> Result<bool, Refusal<T>> {
        match unclaimed {
            Unclaimed::Closed => Err(Refusal::Closed(value)),
            Unclaimed::Full => self.offer_full(value),
        }
    }

    fn offer_full(&self, value: T) -> Result<bool, Refusal<T>> {
        match self.senders.shape.overflow() {
            Overflow::Block => Err(Refusal::Full(value)),
            Overflow::Disconnect => Err(Refusal::Overflowed(value)),
            Overflow::DropNewest => {
                self.miss(self.place(), 1);
                Err(Refusal::Missed(value))
            }
            Overflow::DropOldest => self.push_evicting(value),
        }
    }

    /// The position of the next value in the stream. A value that is refused now is missing at this
    /// position.
    pub(crate) fn place(&self) -> u64 {
        self.senders.tail.load(Ordering::Relaxed) & !self.senders.shape.closed_bit()
    }

    /// Tells the receiver that it misses `count` values at `place`. This touches no slot, because a
    /// send that gives a value up calls it outside of its visits, when the slots may be gone.
    pub(crate) fn miss(&self, place: u64, count: u64) {
        // A place before it may be claimed and not filled.
        self.note_overtaken(place);
        if self.gaps.record(&self.receiver.first_gap, place, count) {
            // The four accesses: the store in `FirstGap::set`, `is_armed`; the store in `arm`, the
            // load in `FirstGap::is_at`. The list itself is protected by a lock.
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

    /// Claims up to `wanted` places for the sole sender, and returns the first and their number.
    #[inline(always)]
    fn claim_alone(&self, wanted: usize) -> Result<(u64, usize), Unclaimed> {
        let senders = &self.senders;
        // Only this thread moves the tail, except for its closed bit.
        // ORDERING: Acquire pairs with the closing in `close`. If an earlier sole sender has put
        // the tail back, this thread also sees what that sender saw, by way of its window. Either
        // way, a thread that reads a closed tail finds `is_closing` set below.
        let tail = senders.tail.load(Ordering::Acquire);
        let (next, free) = if wanted == 1 && self.is_before_limit(tail) {
            (tail + 1, 1)
        } else {
            self.free_from(tail, wanted)?
        };
        self.move_tail_alone(next);
        // ORDERING: pairs with the heavy fences in `arm` and `Records::observe`: see "Closing" and
        // "Waking" in `queue`.
        if !mutant!("receiver_arms_without_heavy_fence") {
            // A light fence without its heavy half is no fence, so this mutant leaves out both.
            light_fence!("sole_sender_looks_without_light_fence");
        }
        if senders.is_closing.load(Ordering::Relaxed) && !mutant!("sole_sender_overlooks_closing") {
            // The store above may have undone the closing of the tail.
            self.move_tail_alone(tail | senders.shape.closed_bit());
            return Err(Unclaimed::Closed);
        }
        Ok((tail, free))
    }

    /// A plain store by the sole sender.
    #[inline(always)]
    fn move_tail_alone(&self, tail: u64) {
        #[cfg(not(fanfeed_loom))]
        self.senders.tail.store(tail, Ordering::Relaxed);
        // loom may order a store before a read-modify-write that has read the value that the store
        // replaced. It orders a swap correctly.
        #[cfg(fanfeed_loom)]
        self.senders.tail.swap(tail, Ordering::Relaxed);
    }

    /// Claims up to `wanted` places, and returns the first and their number.
    #[inline]
    fn claim_shared(&self, wanted: usize) -> Result<(u64, usize), Unclaimed> {
        let mut tail = self.senders.tail.load(Ordering::Relaxed);
        loop {
            let (next, free) = match self.free_from(tail, wanted) {
                Ok(found) => found,
                Err(unclaimed) => {
                    let now = self.senders.tail.load(Ordering::Relaxed);
                    if now == tail {
                        return Err(unclaimed);
                    }
                    tail = now;
                    continue;
                }
            };
            // ORDERING: SeqCst for the waking: see `WakerCell`. The four accesses: this,
            // `is_armed`; the store in `arm`, the load of the tail in `pop_nothing` or
            // `is_unclaimed`. The stamp that follows has its own Release.
            match self.senders.tail.compare_exchange_weak(
                tail,
                next,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    seq_cst_order!("sender_looks_without_order");
                    return Ok((tail, free));
                }
                Err(now) => tail = now,
            }
        }
    }

    /// Whether the place at `tail` is free and the next place is in the same lap, if the tail is
    /// not closed.
    ///
    /// A closed tail can be before the limit only after a claim was taken back while another thread
    /// had stored a limit for the next lap. A claim after that moves the tail, finds `is_closing`,
    /// and puts the tail back. A look for room before that reports room, and the offer that follows
    /// does not find it.
    #[inline(always)]
    fn is_before_limit(&self, tail: u64) -> bool {
        // ORDERING: Acquire pairs with the Release in `free_up_to`, for a limit that another sender
        // has stored.
        tail < self.senders.limit.load(Ordering::Acquire)
    }

    /// How many places are free from `tail` on, at most `wanted`, and the tail behind them.
    #[inline(always)]
    fn free_from(&self, tail: u64, wanted: usize) -> Result<(u64, usize), Unclaimed> {
        // ORDERING: Acquire pairs with the Release in `free_up_to`, for a limit that another sender
        // has stored.
        let limit = self.senders.limit.load(Ordering::Acquire);
        // A closed tail may be before a limit: a sole sender that finds the queue closing puts its
        // tail back, and another thread may have stored a limit for the tail before that.
        let is_closed = tail & self.senders.shape.closed_bit() != 0;
        if tail < limit && limit - tail >= wanted as u64 && !is_closed {
            Ok((tail + wanted as u64, wanted))
        } else {
            self.free_up_to(tail, wanted)
        }
    }

    /// Like `free_from`, with a new limit.
    #[cold]
    fn free_up_to(&self, tail: u64, wanted: usize) -> Result<(u64, usize), Unclaimed> {
        let shape = self.senders.shape;
        if tail & shape.closed_bit() != 0 {
            return Err(Unclaimed::Closed);
        }
        // ORDERING: Acquire pairs with the Release in `take_from`: the receiver no longer uses the
        // slots before the head.
        let order = order!(Acquire, "room_is_found_relaxed");
        let end = self.receiver.head.load(order).wrapping_add(shape.one_lap());
        // Another sender may store a lower limit later. Then the limit is renewed once more.
        let limit = end.min(shape.last_of_lap(tail));
        self.senders.limit.store(limit, Ordering::Release);
        match shape.number(end).saturating_sub(shape.number(tail)) {
            0 => Err(Unclaimed::Full),
            free => {
                let count = free.min(wanted as u64) as usize;
                Ok((shape.after(tail, count), count))
            }
        }
    }

    /// Claims a place in a queue whose senders evict.
    #[inline]
    fn claim_by_stamp(&self) -> Result<u64, Unclaimed> {
        let mut tail = self.senders.tail.load(Ordering::Relaxed);
        loop {
            if tail & self.senders.shape.closed_bit() != 0 {
                return Err(Unclaimed::Closed);
            }
            // ORDERING: Acquire pairs with the Release in `take`: the thread that took the slot's
            // value has read it.
            if self.slot(tail).stamp.load(Ordering::Acquire) == tail {
                // ORDERING: as in `claim_shared`.
                match self.senders.tail.compare_exchange_weak(
                    tail,
                    self.senders.shape.next(tail),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        seq_cst_order!("evicting_sender_looks_without_order");
                        return Ok(tail);
                    }
                    Err(now) => tail = now,
                }
            } else {
                let now = self.senders.tail.load(Ordering::Relaxed);
                if now == tail {
                    return Err(Unclaimed::Full);
                }
                tail = now;
            }
        }
    }

    /// If a place before this one is claimed and not filled, notes that for the receiver: see the
    /// module `queue`. The caller makes its value or gap at this position visible after that.
    #[inline]
    fn note_overtaking(&self, position: u64) {
        let before = self.senders.shape.before(position);
        // ORDERING: Acquire pairs with the Release in `fill`: a note that was made before that
        // stamp is visible too.
        if self.slot(before).stamp.load(Ordering::Acquire) != before.wrapping_add(1) {
            self.note_overtaken(position);
        }
    }

    /// Makes the receiver look at the tail while its head is before `position`.
    #[cold]
    fn note_overtaken(&self, position: u64) {
        // ORDERING: the access that makes the stamp at the position, or a gap there, visible makes
        // this visible too.
        if self.overtaken.load(Ordering::Relaxed) < position && !mutant!("overtaking_is_not_noted")
        {
            self.overtaken.fetch_max(position, Ordering::Relaxed);
        }
    }

    /// Writes the value of a position that this thread has claimed.
    #[inline]
    pub(super) fn fill(&self, position: u64, value: T) {
        let slot = self.slot(position);
        // SAFETY: the slot was free (it is before the limit, or its stamp said so), and this thread
        // moved the tail from it, so only this thread may use it.
        slot.value.with_mut(|cell| unsafe { (*cell).write(value) });
        // ORDERING: Release pairs with the Acquire in `pop_next` and the other loads of stamps.
        let order = order!(Release, "value_is_published_relaxed");
        slot.stamp.store(position + 1, order);
    }

    /// How many values there is room for, at most `wanted`. Other senders may take the room, and
    /// more may appear.
    pub(crate) fn room_for(&self, wanted: usize) -> usize {
        wanted.min(self.senders.shape.capacity() - self.len())
    }

    /// Whether a sender finds no room at this moment. Always false for queues whose senders evict.
    pub(crate) fn is_full(&self) -> bool {
        let senders = &self.senders;
        let number = |position| senders.shape.number(position & !senders.shape.closed_bit());
        // ORDERING: nothing is read on the strength of these loads; a claim has its own. The fence
        // in `WakerSet::join` comes before them. So if a receiver's fence overlooked this sender,
        // they see a head that was stored before that fence.
        let tail = number(senders.tail.load(Ordering::Relaxed));
        let head = number(self.receiver.head.load(Ordering::Relaxed));
        senders.shape.overflow() != Overflow::DropOldest
            && tail.saturating_sub(head) >= self.capacity() as u64
    }

    /// Puts as many values as there is room for, at most `wanted`, into consecutive places, and
    /// returns how many. `next` must not panic, and runs no user code. Returns `Err` if the queue
    /// is closed.
    ///
    /// Not for queues whose senders evict: there, slots are freed in no fixed order.
    pub(crate) fn push_many(
        &self,
        by: &Section<'_>,
        wanted: usize,
        mut next: impl FnMut() -> T,
    ) -> Result<usize, ()> {
        debug_assert!(self.senders.shape.overflow() != Overflow::DropOldest);
        let window = by.open();
        match self.claim_places(wanted, window.as_ref()) {
            Ok((mut place, count)) => {
                for _ in 0..count {
                    self.fill(place, next());
                    place = self.senders.shape.next(place);
                }
                Ok(count)
            }
            Err(Unclaimed::Full) => Ok(0),
            Err(Unclaimed::Closed) => Err(()),
        }
    }

    /// Puts a value into the queue, and pushes out the oldest values if there is no room.
    fn push_evicting(&self, value: T) -> Result<bool, Refusal<T>> {
        let mut patience = Patience::new();
        let mut panic = None;
        loop {
            match self.claim_by_stamp() {
                Ok(place) => {
                    let waits = self.put(place, value);
                    return match panic {
                        None => Ok(waits),
                        Some(panic) => Err(Refusal::Pushed(Box::new(Pushed { waits, panic }))),
                    };
                }
                Err(Unclaimed::Closed) => return Err(Refusal::Closed(value)),
                Err(Unclaimed::Full) => {}
            }
            let head = self.receiver.head.load(Ordering::Acquire);
            let tail = self.senders.tail.load(Ordering::Acquire) & !self.senders.shape.closed_bit();
            let is_full = head.wrapping_add(self.senders.shape.one_lap()) == tail;
            // If the queue is not full, another thread is between taking a value and freeing its
            // slot. If it is full and the oldest value is not there yet, that value's sender is
            // between claiming the slot and filling it. Both take a few instructions.
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
}
