//! How far senders may write, and what happens to readers in the way.
//!
//! Senders may write positions below the *limit*. The thread that has the gate (the exclusive
//! sender, or one of several under a lock) moves the limit on, to the end of a segment at most. For
//! that, no strict reader may be within a capacity of it, and lossy readers within a capacity of it
//! are overtaken. So senders look at readers once for each eighth of the capacity, unless the ring
//! is nearly full. If there are many readers, senders look at a few at a time, ahead of need.
//!
//! # Readers that register meanwhile
//!
//! The gate remembers the result of a look at all strict readers. The result holds for the readers
//! that were registered then, because readers only move forward. The gate then stores the *floors*,
//! fences, and looks at the readers that have joined since. A reader that registers stores its
//! position, marks itself as joined, fences, and looks at the floor. So one of them sees the other:
//! a reader that is too far back moves up, or the gate goes no further than that reader allows. One
//! look is enough, however many readers come and go.
//!
//! # Lossy readers
//!
//! Lossy readers never keep the limit back. When strict readers have passed a segment of the
//! previous lap and the limit reaches the end of that segment, lossy readers that are still in it
//! are overtaken. A lossy reader that is not reading is moved to the next segment. A lossy reader
//! that is reading continues as an *orphan*, and the new lap has a spare segment in place of the
//! one it reads ([`storage`](super::storage)). Sometimes the limit moves into the segment before
//! that, because strict readers have passed a part of it. If lossy readers are in the old segment,
//! the new lap then gets a spare segment at once, and they stay in the old one as the strict
//! readers do.

use crate::sync::{mutant, store_load_fence};

use super::seat::Progress;
use super::seats::{Slowest, Which};
use super::storage::SegmentRef;
use super::track::Track;

/// How many readers a send looks at, at a time, ahead of need.
const AT_ONCE: usize = 16;

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// The reader in this seat must move on.
    By(usize),
    /// Another sender has claimed a position one lap earlier and has not filled it yet.
    Shortly,
}

/// The state of the thread that moves the limit.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    limit: u64,
    /// The end of the segment from which lossy readers have been moved.
    entered: u64,
    /// Positions before this are at least a capacity beyond each strict reader that was looked at.
    free: u64,
    /// The version of the seats before the last look at readers that have joined.
    version: u64,
    /// Whether the segment one lap before `entered` was left to readers. The sender is then a user
    /// of it.
    is_left: bool,
    ahead: Ahead,
    /// In a shared ring: every position before this was stamped.
    stamped: u64,
    /// Seats of readers that were overtaken for good, and must be notified.
    overrun: Vec<usize>,
}

/// A look at all strict readers, a few at a time.
#[derive(Debug)]
struct Ahead {
    /// Seats before this one have been looked at.
    seat: usize,
    lowest: u64,
}

impl Default for Ahead {
    fn default() -> Self {
        Self {
            seat: 0,
            lowest: u64::MAX,
        }
    }
}

impl Gate {
    /// The gate of a ring whose first position is `start`.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn starting_at(start: u64) -> Self {
        Self {
            limit: start,
            stamped: start,
            ..Self::default()
        }
    }

    /// The first position that senders must not write.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Removes and returns seats of some of the readers that were overtaken for good and have not
    /// been notified. The rest are left for the next stops, so that no single send notifies all of
    /// them.
    #[inline]
    pub(crate) fn take_overrun<T>(&mut self, track: &Track<T>) -> Vec<usize> {
        if self.overrun.is_empty() {
            return Vec::new();
        }
        let rest = self.overrun.len().saturating_sub(at_once(track));
        self.overrun.split_off(rest)
    }

    /// Moves the limit on.
    pub(crate) fn extend<T>(&mut self, track: &Track<T>) -> Result<(), Held> {
        let at = self.limit;
        let capacity = track.shape().capacity();
        let end = track.shape().segment_end(at);
        // A seat cannot hold a position beyond that, so readers would be overlooked.
        assert!(
            end <= Progress::LAST,
            "a ring has come to its end: it has no more than 2^60 positions"
        );
        if self.free < end {
            let slowest = track.seats.slowest();
            self.see_slowest(track, slowest.map(|slowest| slowest.position));
            if let Some(slowest) = slowest
                && self.free <= at
            {
                return Err(Held::By(slowest.seat));
            }
        }
        let mut limit = end.min(self.free);
        if track.is_shared() {
            // Every value that the segment holds now must be stamped before the segment is
            // overwritten.
            if self.stamped + capacity < end {
                self.stamped = track.stamped(self.stamped);
            }
            limit = limit.min(self.stamped + capacity);
            if limit <= at {
                return Err(Held::Shortly);
            }
            track.keep_tail_within_a_lap(self.stamped, limit);
        }
        let lossy_floor = end.saturating_sub(capacity);
        track.set_floors(limit.saturating_sub(capacity), lossy_floor);
        // ORDERING: pairs with the fence in `Seats::announce`.
        store_load_fence!("gate_opens_without_fence");
        if let Some(joined) = self.look_at_joined(track) {
            limit = limit.min(self.free);
            // The limit goes no further, so a reader may still begin at the position of this one. A
            // reader that sees the lower floor now is as safe as one that finds it later, because
            // the next limit is announced again.
            track.set_floors(limit.max(at).saturating_sub(capacity), lossy_floor);
            if limit <= at {
                return Err(Held::By(joined.seat));
            }
        }
        // No thread empties slots before they are known to belong to the writers.
        let mut passed = track.retention.as_ref().map(|retention| retention.lock());
        self.enter(track, limit, end);
        if let Some(passed) = passed.as_deref_mut() {
            // Slots that are left to orphans belong to the orphans, and are emptied with their
            // segment.
            let until = if self.is_left { end } else { limit };
            *passed = (*passed).max(until.saturating_sub(capacity));
        }
        self.limit = limit;
        Ok(())
    }

    /// Looks at the strict readers that have joined since the last call, and returns the slowest of
    /// them.
    fn look_at_joined<T>(&mut self, track: &Track<T>) -> Option<Slowest> {
        let version = track.seats.version();
        if self.version == version {
            return None;
        }
        self.version = version;
        let slowest = track.seats.slowest_of(Which::Joined)?;
        self.free = self.free.min(slowest.position + track.shape().capacity());
        Some(slowest)
    }

    /// Prepares the segment that ends at `end`, before the limit moves to `limit` in it, and
    /// overtakes lossy readers that are a lap behind its end.
    fn enter<T>(&mut self, track: &Track<T>, limit: u64, end: u64) {
        let is_new = self.entered != end;
        debug_assert!(!is_new || !self.is_left, "the caller takes what was left");
        self.entered = end;
        let Some(floor @ 1..) = end.checked_sub(track.shape().capacity()) else {
            return;
        };
        let storage = &track.storage;
        let old = storage.segment(floor - 1);
        let has_lossy = track.seats.has_lossy();
        if limit == end {
            if has_lossy {
                self.overtake(track, old, floor);
            }
        } else if is_new && has_lossy && is_entered_by_lossy(track, floor) {
            storage.enter(old);
            self.is_left = true;
        }
        if is_new {
            let segment = if self.is_left {
                storage.take_spare()
            } else {
                old
            };
            storage.put_in_place(end - 1, segment);
        }
    }

    /// The segment that was left to readers, once all strict readers have passed it. The caller
    /// then [exits](super::storage::Storage::exit) it, which runs user code.
    #[inline]
    pub(crate) fn take_left<T>(&mut self, track: &Track<T>) -> Option<SegmentRef<T>> {
        let is_passed =
            self.limit == self.entered || mutant!("left_segment_is_given_back_unpassed");
        if !self.is_left || !is_passed {
            return None;
        }
        self.is_left = false;
        let position = self.entered - 1;
        let old = position - track.shape().capacity();
        let left = track.storage.segment(old);
        // The map forgets the segment. A reader that still looks it up there was moved on, and does
        // not pin what it finds.
        track
            .storage
            .put_in_place(old, track.storage.segment(position));
        Some(left)
    }

    /// Moves lossy readers out of a segment, which ends at `floor`, or leaves the segment to the
    /// readers that read there.
    fn overtake<T>(&mut self, track: &Track<T>, segment: SegmentRef<T>, floor: u64) {
        let storage = &track.storage;
        let overrun = &mut self.overrun;
        let mut is_used = self.is_left;
        track.seats.walk(Which::Lossy, 0, |number, seat| {
            let mut progress = seat.progress();
            while is_behind(progress, floor) {
                let changed = if progress.is_pinned() {
                    if !is_used {
                        // The sender's own use, so that the first orphan that stops is not the last
                        // user.
                        storage.enter(segment);
                        is_used = true;
                    }
                    storage.enter(segment);
                    let changed = seat.change(progress, progress.orphaned());
                    if changed.is_ok() {
                        self.is_left = true;
                    } else {
                        // This use is not the last, because the sender is a user too.
                        storage.exit(segment);
                    }
                    changed
                } else {
                    seat.change(progress, moved_on(progress, floor))
                };
                match changed {
                    Ok(()) => {
                        if progress.is_fragile() {
                            overrun.push(number);
                        }
                        break;
                    }
                    Err(now) => progress = now,
                }
            }
            true
        });
        if is_used && !self.is_left {
            storage.stay(segment);
        }
    }

    // ---- Ahead of need ----

    /// Looks at some strict readers, unless the next segment is known to be free of them.
    pub(crate) fn look_ahead<T>(&mut self, track: &Track<T>) {
        if !self.wants_look(track) {
            return;
        }
        let mut left = at_once(track);
        let mut lowest = self.ahead.lowest;
        let stopped = track.seats.walk(Which::Strict, self.ahead.seat, |_, seat| {
            if left == 0 {
                return false;
            }
            left -= 1;
            let progress = seat.progress();
            if !progress.is_lossy() {
                lowest = lowest.min(progress.position());
            }
            true
        });
        self.ahead.lowest = lowest;
        match stopped {
            Some(seat) => self.ahead.seat = seat,
            None => {
                self.see_slowest(track, Some(lowest));
                self.ahead = Ahead::default();
            }
        }
    }

    /// Records the result of a look at all strict readers.
    fn see_slowest<T>(&mut self, track: &Track<T>, position: Option<u64>) {
        // If there are none, the gate looks at no reader before the next lap.
        let lowest = position.unwrap_or(u64::MAX).min(self.limit);
        self.free = lowest + track.shape().capacity();
    }

    fn wants_look<T>(&self, track: &Track<T>) -> bool {
        // The free segments must reach this far at the next gate.
        self.free < track.shape().segment_end(self.limit)
    }

    /// The position before which a sender at `at` need not stop at the gate.
    pub(crate) fn next_stop<T>(&self, track: &Track<T>, at: u64) -> u64 {
        let seats = track.seats.len();
        let has_more = seats > AT_ONCE && self.wants_look(track) || !self.overrun.is_empty();
        if !has_more {
            return self.limit;
        }
        // So that half of a segment is enough to look at all readers.
        let looks = seats.div_ceil(at_once(track));
        let stride = (track.shape().segment_len() / (2 * looks)).max(1);
        self.limit.min(at + stride as u64)
    }
}

fn at_once<T>(track: &Track<T>) -> usize {
    AT_ONCE.max(2 * track.seats.len() / track.shape().segment_len())
}

/// The new state of an unpinned lossy reader that is overtaken.
fn moved_on(progress: Progress, floor: u64) -> Progress {
    if progress.is_fragile() {
        progress.orphaned()
    } else {
        progress.at(floor)
    }
}

/// Whether this is a lossy reader before `floor` that has not been overtaken yet.
fn is_behind(progress: Progress, floor: u64) -> bool {
    progress.is_lossy() && !progress.is_orphan() && progress.position() < floor
}

/// Whether a lossy reader that has not been overtaken yet is before `floor`.
fn is_entered_by_lossy<T>(track: &Track<T>, floor: u64) -> bool {
    let found = track.seats.walk(Which::Lossy, 0, |_, seat| {
        !is_behind(seat.progress(), floor)
    });
    found.is_some()
}

#[cfg(test)]
mod tests {
    use super::{Gate, Held, Progress, Track};
    use crate::ring::shape::Shape;

    const CAPACITY: usize = 1024;
    const SEGMENT: u64 = CAPACITY as u64 / 8;

    fn track(readers: usize) -> Track<u8> {
        let track = Track::new(Shape::new(CAPACITY).unwrap(), false, false, 0);
        for reader in 0..readers {
            track.seats.occupy(reader, Progress::strict(0));
        }
        track
    }

    /// Moves all readers to `position`.
    fn catch_up(track: &Track<u8>, readers: usize, position: u64) {
        for reader in 0..readers {
            track.seats.seat(reader).place(Progress::strict(position));
        }
    }

    #[test]
    fn the_limit_moves_on_by_segments_until_a_reader_is_a_lap_behind() {
        let track = track(3);
        let mut gate = Gate::default();
        for segment in 1..=8 {
            assert_eq!(gate.extend(&track), Ok(()));
            assert_eq!(gate.limit(), segment * SEGMENT);
        }
        track.seats.seat(0).place(Progress::strict(5));
        track.seats.seat(2).place(Progress::strict(7));
        assert_eq!(gate.extend(&track), Err(Held::By(1)));
        track.seats.seat(1).place(Progress::strict(9));
        assert_eq!(gate.extend(&track), Ok(()));
        assert_eq!(gate.limit(), CAPACITY as u64 + 5);
    }

    #[test]
    fn the_gate_looks_at_a_few_of_many_readers_at_a_time_and_at_all_before_the_limit() {
        // Readers have read all values, or nearly all.
        for (readers, behind) in [17, 64, 100, 500, 1000, 2000]
            .into_iter()
            .flat_map(|readers| [(readers, 0), (readers, 3)])
        {
            let track = track(readers);
            let at_once = (2 * track.seats.len() / SEGMENT as usize).max(16);
            let mut gate = Gate::default();
            gate.extend(&track).unwrap();
            let mut looked = 0;
            // The first look was good for a lap.
            for lap in 2..=20 {
                let mut at = gate.limit();
                catch_up(&track, readers, at - behind);
                while gate.limit() == at {
                    gate.extend(&track).unwrap();
                }
                let (begin, mut looks, mut last) = (at, 0, at);
                at = gate.next_stop(&track, at);
                while at < gate.limit() {
                    assert!(gate.wants_look(&track));
                    gate.look_ahead(&track);
                    (looks, last) = (looks + 1, at);
                    let seen = gate.ahead.seat;
                    assert!(
                        seen == 0 || seen == looks * at_once,
                        "{seen} seen in {looks} looks at {at_once} of {readers}"
                    );
                    at = gate.next_stop(&track, at);
                }
                let end = gate.limit();
                assert!(
                    !gate.wants_look(&track),
                    "{readers} readers have not been seen when lap {lap}'s segment {begin}..{end} was full"
                );
                if looks > 0 {
                    assert_eq!(looks, readers.div_ceil(at_once), "looks at {readers}");
                    // Half of a segment is enough, or little more than half.
                    assert!(last - begin <= SEGMENT * 5 / 8, "{readers} seen at {last}");
                    looked += 1;
                }
            }
            assert!(
                (2..=3).contains(&looked),
                "{readers} readers seen {looked} times"
            );
        }
    }

    #[test]
    fn readers_that_join_do_not_restart_a_look() {
        let track = track(100);
        let mut gate = Gate::default();
        gate.extend(&track).unwrap();
        for number in 100..107 {
            let seen = gate.ahead.seat;
            // The reader joins, and leaves again.
            track.seats.occupy(number, Progress::strict(SEGMENT));
            track.seats.stand_up(number);
            if !gate.wants_look(&track) {
                break;
            }
            gate.look_ahead(&track);
            assert!(gate.ahead.seat > seen || gate.ahead.seat == 0, "{seen}");
        }
        // The gate looks at a reader that has joined and stays, and at no other.
        catch_up(&track, 100, SEGMENT);
        gate.free = 4 * SEGMENT + CAPACITY as u64;
        track.seats.occupy(107, Progress::strict(5));
        let mut reached = gate.limit();
        while gate.extend(&track).is_ok() {
            reached = gate.limit();
        }
        assert_eq!(reached, 5 + CAPACITY as u64);
        assert_eq!(gate.extend(&track), Err(Held::By(107)));
    }

    #[test]
    fn overtaken_readers_are_notified_a_few_at_a_time() {
        let track = Track::<u8>::new(Shape::new(CAPACITY).unwrap(), false, false, 0);
        for reader in 0..100 {
            track.seats.occupy(reader, Progress::lossy(0, true));
        }
        let mut gate = Gate::default();
        while gate.limit() < CAPACITY as u64 + SEGMENT {
            assert_eq!(gate.take_overrun(&track), []);
            gate.extend(&track).unwrap();
        }
        let mut told = Vec::new();
        let mut at = gate.limit() - SEGMENT;
        while at < gate.limit() {
            let now = gate.take_overrun(&track);
            assert!(now.len() <= super::at_once(&track));
            told.extend(now);
            gate.look_ahead(&track);
            at = gate.next_stop(&track, at);
        }
        told.sort_unstable();
        assert_eq!(told, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn the_gate_looks_at_a_reader_that_joins_before_it_moves_the_limit() {
        let track = track(40);
        let mut gate = Gate::default();
        gate.extend(&track).unwrap();
        catch_up(&track, 40, SEGMENT);
        for position in [SEGMENT, 2 * SEGMENT, 3 * SEGMENT] {
            gate.look_ahead(&track);
            gate.extend(&track).unwrap();
            catch_up(&track, 40, position);
        }
        track.seats.occupy(40, Progress::strict(3 * SEGMENT));
        let mut at = gate.limit();
        while gate.extend(&track).is_ok() {
            assert!(gate.limit() > at && gate.limit() <= 3 * SEGMENT + CAPACITY as u64);
            at = gate.limit();
            gate.look_ahead(&track);
            catch_up(&track, 40, at);
        }
        assert_eq!(gate.extend(&track), Err(Held::By(40)));
        assert_eq!(at, 3 * SEGMENT + CAPACITY as u64);
    }
}
