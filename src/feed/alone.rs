//! The fast paths of a delivery. One is to a single subscriber. The other is to own channels while
//! there is a sole sender, which clones first, and then makes all claims in one
//! [window](super::sole).

use super::chunk::Chunk;
use super::core::Core;
use super::delivery::{Delivery, ring};
use super::queue::Queue;
use super::record::{Lone, Section};
use super::run::Run;
use crate::sync::prefetch;

/// The progress of a pass over a chunk, so that the pass can continue after a panic.
pub(super) struct Pass<T> {
    /// Seats to be served. While the pass runs, these are the seats after the current one. While
    /// the run grows, its seats are included. While seats are served backwards, those are excluded.
    pub(super) wanted: u64,
    /// The seat that is being served, unless the run grows.
    pub(super) current: usize,
    /// Own channels that got a value, and whose receivers wait and must be woken.
    pub(super) rung: u64,
    /// Seats that are being served from the last to the first.
    pub(super) backwards: u64,
    /// After a panic: whether a clone for the current seat panicked. If not, the seat's carrier
    /// did.
    pub(super) cloning: bool,
    /// Values for seats that are no longer in `wanted`, and not served yet.
    pub(super) run: Run<T>,
    /// Whether values for the run are being made. During that time its seats are still in `wanted`.
    growing: bool,
}

impl<T> Pass<T> {
    pub(super) fn new() -> Self {
        Self {
            wanted: u64::MAX,
            current: 0,
            rung: 0,
            backwards: 0,
            cloning: false,
            run: Run::new(),
            growing: false,
        }
    }

    /// After a panic: sets `current` to the seat whose clone panicked, if it was a clone for the
    /// run, and `wanted` to the seats that are still to be served. Returns how many seats were
    /// served and not counted yet.
    pub(super) fn find_current(&mut self) -> usize {
        let backwards = std::mem::take(&mut self.backwards);
        let current = 1 << self.current;
        self.wanted |= backwards & (current - 1);
        let served = (backwards & !current & !(current - 1)).count_ones();
        if std::mem::take(&mut self.growing) {
            self.wanted ^= self.run.seats();
            let mut left = self.run.cut();
            self.current = left.trailing_zeros() as usize;
            left &= left - 1;
            self.wanted |= left;
        }
        served as usize
    }
}

impl<T: Clone + Send + 'static> Delivery<T> {
    /// Moves the value to the only subscriber, if that has an own channel or a crossbeam sender
    /// with room, and this thread has a lane. No user code runs, except to wake the receiver of an
    /// own channel.
    #[inline(always)]
    pub(super) fn serve_only_one_quickly(&mut self, core: &Core<T>) -> bool {
        let first = core.directory().first();
        // The subscribers may change before the visit begins. This check saves the visit if there
        // are several subscribers.
        let live = first.live().load();
        if !live.is_power_of_two() || core.directory().has_live_beyond() {
            return false;
        }
        if live & first.plain() != 0 {
            self.serve_only_own_quickly(core, first)
        } else if live & first.crossbeam() != 0 {
            self.serve_only_crossbeam_quickly(core, first)
        } else {
            false
        }
    }

    #[inline(always)]
    fn serve_only_own_quickly(&mut self, core: &Core<T>, first: &Chunk<T>) -> bool {
        let Some(visit) = core.records().enter_lone(first.place()) else {
            return false;
        };
        let live = first.live().load();
        let is_plain = live.is_power_of_two() && live & first.plain() != 0;
        if !is_plain || core.directory().has_live_beyond() {
            return false;
        }
        let Some(value) = self.original.take() else {
            return false;
        };
        // SAFETY: the visit to this chunk began before `live` was read, the seat was live, and the
        // chunk says that it has an own channel.
        let queue = unsafe { first.seat(live.trailing_zeros() as usize).own_unchecked() };
        let offered = match &visit {
            Lone::Alone(visit) => queue.offer_now(value, Some(visit.window())),
            Lone::Among(_) => queue.offer_now(value, None),
        };
        match offered {
            Ok(waits) => {
                self.delivered += 1;
                if waits {
                    // SAFETY: the visit goes on.
                    visit.end_with(|| unsafe { ring(first, live) });
                }
                true
            }
            Err(value) => {
                self.original = Some(value);
                false
            }
        }
    }

    #[inline(always)]
    fn serve_only_crossbeam_quickly(&mut self, core: &Core<T>, first: &Chunk<T>) -> bool {
        // A send to a crossbeam channel may wait for another thread's send, so it needs a visit
        // without a window.
        let Some((_visit, lane)) = core.records().enter_lone_without_window(first.place()) else {
            return false;
        };
        let live = first.live().load();
        let is_crossbeam = live.is_power_of_two() && live & first.crossbeam() != 0;
        if !is_crossbeam || core.directory().has_live_beyond() {
            return false;
        }
        let Some(value) = self.original.take() else {
            return false;
        };
        // SAFETY: the visit to this chunk began before `live` was read, the seat was live, and the
        // chunk says that it has a crossbeam sender.
        let seat = unsafe { first.seat(live.trailing_zeros() as usize) };
        // SAFETY: as above.
        let (sender, entry) = unsafe { seat.crossbeam_unchecked() };
        match sender.try_send(value) {
            Ok(()) => {
                entry.count_delivered(lane);
                self.delivered += 1;
                true
            }
            // What follows may run user code, so it is done in an ordinary visit.
            Err(error) => {
                self.original = Some(error.into_inner());
                false
            }
        }
    }

    /// If there is one subscriber, with an own channel or a crossbeam sender, moves the value
    /// there. No user code runs, so there is no panic to catch.
    #[inline(always)]
    pub(super) fn serve_only_one(
        &mut self,
        core: &Core<T>,
        first: &Chunk<T>,
        by: &Section<'_>,
    ) -> bool {
        let live = first.live().load();
        let (plain, crossbeam) = (live & first.plain(), live & first.crossbeam());
        if !live.is_power_of_two() || plain | crossbeam == 0 {
            return false;
        }
        let Some(value) = self.original.take() else {
            return false;
        };
        // SAFETY: the visit to this chunk began before `live` was read, and the seat was live.
        let seat = unsafe { first.seat(live.trailing_zeros() as usize) };
        let offered = if plain != 0 {
            // SAFETY: the chunk says so.
            unsafe { seat.own_unchecked() }.offer(value, by)
        } else {
            // SAFETY: the chunk says so.
            let (sender, entry) = unsafe { seat.crossbeam_unchecked() };
            let offered = entry.offer_crossbeam(sender, value, by.lane());
            offered.map(|()| false)
        };
        match offered {
            Ok(waits) => {
                self.delivered += 1;
                if waits {
                    // SAFETY: the visit goes on.
                    unsafe { ring(first, live) };
                }
            }
            Err(refusal) => self.not_taken(core, seat.entry(), refusal),
        }
        true
    }

    /// Serves `plain`, seats with own channels whose senders do not evict, for a sole sender. The
    /// other seats that the pass wants are served after them. `more` says whether other chunks have
    /// subscribers.
    #[inline(always)]
    pub(super) fn serve_alone(
        &mut self,
        core: &Core<T>,
        chunk: &Chunk<T>,
        by: &Section<'_>,
        mut plain: u64,
        more: bool,
        pass: &mut Pass<T>,
    ) {
        while plain != 0 {
            // Three loops, each over the same few seats: each loop is small, and the first two
            // prefetch what the next one uses.
            let seats = chunk.seats();
            let count = pass.run.choose(plain, |seat| {
                // SAFETY: the visit to this chunk began before `live` was read, and the seat was
                // live. The chunk says that it has an own channel.
                let queue = unsafe { seats.seat(seat).own_unchecked() };
                prefetch(queue);
                queue
            });
            let others = more || pass.wanted != pass.run.seats();
            // SAFETY: `count` queues were chosen, in this visit.
            unsafe { self.fill_run(count, others, pass) };
            if pass.run.len() < count {
                pass.run.cut();
            }
            plain ^= pass.run.seats();
            pass.wanted ^= pass.run.seats();
            if pass.run.len() != 0 {
                self.give_run(core, chunk, by, pass);
            } else {
                // The next queue is full, or the values are large.
                let bit = plain & plain.wrapping_neg();
                plain ^= bit;
                pass.wanted ^= bit;
                self.serve_own(core, chunk, by, bit, more, pass);
            }
        }
    }

    /// Adds values for the queues of the run that have room, up to the first queue that has none.
    /// User code may not run in a window, so the clones are made before. `others` says whether a
    /// subscriber besides these `count` wants the value.
    ///
    /// # Safety
    ///
    /// `count` queues were chosen for the run in the visit to their chunk, which goes on.
    #[inline(always)]
    unsafe fn fill_run(&mut self, count: usize, others: bool, pass: &mut Pass<T>) {
        (pass.cloning, pass.growing) = (true, true);
        let mut have_room = true;
        if let (Some(original), None) = (&self.original, &self.spare) {
            let clones = if others {
                count
            } else {
                count.saturating_sub(1)
            };
            // SAFETY: the caller guarantees this; `clones` is at most `count`.
            have_room =
                unsafe { (pass.run).add_up_to(clones, Queue::has_room, |_| original.clone()) };
        }
        if have_room {
            let take = |index| {
                let others = others || index + 1 < count || self.has_pending();
                self.take_value(others)
            };
            // SAFETY: the caller guarantees this.
            unsafe { pass.run.add_up_to(count, Queue::has_room, take) };
        }
        (pass.cloning, pass.growing) = (false, false);
    }

    /// Gives the run's values to its seats.
    #[inline(always)]
    pub(super) fn give_run(
        &mut self,
        core: &Core<T>,
        chunk: &Chunk<T>,
        by: &Section<'_>,
        pass: &mut Pass<T>,
    ) {
        let before = pass.run.len();
        let mut rung = 0;
        if let Some(window) = by.open() {
            // SAFETY: the visit to the chunk goes on.
            rung =
                unsafe { (pass.run).offer(|queue, value| queue.offer_now(value, Some(&window))) };
        }
        pass.rung |= rung;
        self.delivered += before - pass.run.len();
        // Values are left if other threads send now, or have closed the channel.
        while let Some((bit, value)) = pass.run.pop() {
            self.offer_own(core, chunk, by, bit, value, pass);
        }
    }

    /// Serves the seat of one own channel.
    #[inline(never)]
    fn serve_own(
        &mut self,
        core: &Core<T>,
        chunk: &Chunk<T>,
        by: &Section<'_>,
        bit: u64,
        more: bool,
        pass: &mut Pass<T>,
    ) {
        pass.current = bit.trailing_zeros() as usize;
        let value = self.value_for(pass, pass.wanted != 0, more);
        self.offer_own(core, chunk, by, bit, value, pass);
    }

    #[inline(never)]
    fn offer_own(
        &mut self,
        core: &Core<T>,
        chunk: &Chunk<T>,
        by: &Section<'_>,
        bit: u64,
        value: T,
        pass: &mut Pass<T>,
    ) {
        pass.current = bit.trailing_zeros() as usize;
        // SAFETY: as in `serve_alone`.
        let seat = unsafe { chunk.seat(pass.current) };
        // SAFETY: as in `serve_alone`.
        match unsafe { seat.own_unchecked() }.offer(value, by) {
            Ok(waits) => {
                self.delivered += 1;
                if waits {
                    pass.rung |= bit;
                }
            }
            Err(refusal) => self.not_taken(core, seat.entry(), refusal),
        }
    }
}
