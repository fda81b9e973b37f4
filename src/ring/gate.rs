//! How far senders may write, and what becomes of readers in the way.
//!
//! Positions below the *limit* may be written. The thread that has the gate (the exclusive sender, or one of several
//! under a lock) moves the limit on, to the end of a segment at most. For that no strict reader may be within a capacity
//! of it, and lossy readers that are get overtaken. So senders look at readers once for each eighth of the capacity,
//! unless the ring is nearly full; and where there are many readers, a few at a time, ahead of need.
//!
//! # Somebody sits down meanwhile
//!
//! The gate stores the *floors*, fences, and looks whether the seats' version is still what it was before it looked at the
//! seats; who sits down stores its position, raises the version, fences, and looks at the floor. So one of them sees the
//! other: a reader that sits too far back moves up, or the gate looks at the seats again.

use crate::sync::store_load_fence;

use super::seat::{Progress, Seat};
use super::storage::SegmentRef;
use super::track::Track;

/// How many readers are looked at in one go ahead of need.
const AT_ONCE: usize = 16;

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// The reader in this seat has to go on.
    By(usize),
    /// Something short is under way: a sender has claimed a position and not filled it yet, or a lossy reader is in a
    /// segment of which strict ones have left only a part.
    Shortly,
}

/// The state of whoever moves the limit.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    limit: u64,
    /// The end of the segment from which lossy readers have been moved.
    entered: u64,
    /// Positions before this are free of strict readers, as long as nobody sits down.
    free: Free,
    ahead: Ahead,
    /// In a shared ring: everything before this was stamped.
    stamped: u64,
    /// Seats of readers that were overtaken for good, and are to be told.
    overrun: Vec<usize>,
}

/// What a look at all strict readers has shown.
#[derive(Debug, Clone, Copy, Default)]
struct Free {
    until: u64,
    /// What the seats' version was before the look.
    version: u64,
}

/// A look at all strict readers, a few at a time.
#[derive(Debug)]
struct Ahead {
    /// Seats before this one have been looked at.
    seat: usize,
    version: u64,
    lowest: u64,
}

impl Ahead {
    fn new(version: u64) -> Self {
        Self {
            seat: 0,
            version,
            lowest: u64::MAX,
        }
    }
}

impl Default for Ahead {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Gate {
    /// The gate of a ring whose first position is that one.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn starting_at(start: u64) -> Self {
        Self {
            limit: start,
            stamped: start,
            ..Self::default()
        }
    }

    /// The position that must not be written.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Seats of readers that were overtaken for good since this was called last.
    pub(crate) fn take_overrun(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.overrun)
    }

    /// Moves the limit on.
    pub(crate) fn extend<T>(&mut self, track: &Track<T>) -> Result<(), Held> {
        let at = self.limit;
        let capacity = track.shape().capacity();
        let end = track.shape().segment_end(at);
        // A seat could not tell where its reader is beyond that, and readers would be overlooked.
        assert!(
            end <= Progress::LAST,
            "a ring has come to its end: it has no more than 2^60 positions"
        );
        loop {
            let version = track.seats.version();
            if self.free.version != version || self.free.until < end {
                let slowest = track.seats.slowest();
                self.see_slowest(track, slowest.map(|slowest| slowest.position), version);
                if let Some(slowest) = slowest
                    && self.free.until <= at
                {
                    return Err(Held::By(slowest.seat));
                }
            }
            let mut limit = end.min(self.free.until);
            if track.is_shared() {
                // Everything that the segment holds now has to be there before it is written over.
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
            if track.seats.version() != version {
                continue;
            }
            if self.entered != end {
                if track.seats.has_lossy() && lossy_floor > 0 {
                    self.overtake(track, lossy_floor, limit == end)?;
                }
                self.entered = end;
            }
            self.limit = limit;
            return Ok(());
        }
    }

    /// Moves lossy readers out of the segment that ends at `floor`, a lap before the one to be entered.
    fn overtake<T>(
        &mut self,
        track: &Track<T>,
        floor: u64,
        is_left_by_strict: bool,
    ) -> Result<(), Held> {
        let position = floor - 1;
        let mut eviction = Eviction {
            track,
            segment: track.storage.segment(position),
            spare: None,
            is_marked: false,
        };
        let overrun = &mut self.overrun;
        let stopped = track.seats.walk(0, |number, seat| {
            let mut progress = seat.progress();
            while progress.is_lossy() && !progress.is_orphan() && progress.position() < floor {
                let changed = if !progress.is_pinned() {
                    seat.change(progress, moved_on(progress, floor))
                } else if is_left_by_strict && eviction.has_spare() {
                    eviction.mark(seat, progress)
                } else {
                    return false;
                };
                match changed {
                    Ok(()) => {
                        if progress.is_fragile() {
                            overrun.push(number);
                        }
                        return true;
                    }
                    Err(now) => progress = now,
                }
            }
            true
        });
        eviction.end(position);
        match stopped {
            None => Ok(()),
            Some(_) => Err(Held::Shortly),
        }
    }

    // ---- Ahead of need ----

    /// Looks at some strict readers, if the next segment is not known to be free of them.
    pub(crate) fn look_ahead<T>(&mut self, track: &Track<T>) {
        let version = track.seats.version();
        if !self.wants_look(track, version) {
            return;
        }
        if self.ahead.version != version {
            self.ahead = Ahead::new(version);
        }
        let mut left = at_once(track);
        let mut lowest = self.ahead.lowest;
        let stopped = track.seats.walk(self.ahead.seat, |_, seat| {
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
                self.see_slowest(track, Some(lowest), version);
                self.ahead = Ahead::new(version);
            }
        }
    }

    /// Takes note of a look at all strict readers that began at that version.
    fn see_slowest<T>(&mut self, track: &Track<T>, position: Option<u64>, version: u64) {
        // Whoever sits down later sits down at the limit less a capacity, or beyond.
        let lowest = position.unwrap_or(u64::MAX).min(self.limit);
        self.free = Free {
            until: lowest + track.shape().capacity(),
            version,
        };
    }

    fn wants_look<T>(&self, track: &Track<T>, version: u64) -> bool {
        // At the next gate the free segments have to reach this far.
        let needed = track.shape().segment_end(self.limit);
        self.free.version != version || self.free.until < needed
    }

    /// The position before which a sender at `at` need not come to the gate.
    pub(crate) fn next_stop<T>(&self, track: &Track<T>, at: u64) -> u64 {
        let seats = track.seats.len();
        if seats <= AT_ONCE || !self.wants_look(track, track.seats.version()) {
            return self.limit;
        }
        // So that half of a segment is enough for looking at everybody.
        let looks = seats.div_ceil(at_once(track));
        let stride = (track.shape().segment_len() / (2 * looks)).max(1);
        self.limit.min(at + stride as u64)
    }
}

fn at_once<T>(track: &Track<T>) -> usize {
    AT_ONCE.max(2 * track.seats.len() / track.shape().segment_len())
}

/// What an unpinned lossy reader that was overtaken is.
fn moved_on(progress: Progress, floor: u64) -> Progress {
    if progress.is_fragile() {
        progress.orphaned()
    } else {
        progress.at(floor)
    }
}

/// Leaving a segment to those who read it, and putting a spare one in its place.
struct Eviction<'a, T> {
    track: &'a Track<T>,
    segment: SegmentRef<T>,
    spare: Option<SegmentRef<T>>,
    is_marked: bool,
}

impl<T> Eviction<'_, T> {
    /// Whether there is a spare segment. By the count of segments there is, for a reader that is no orphan.
    fn has_spare(&mut self) -> bool {
        if self.spare.is_none() {
            self.spare = self.track.storage.take_spare();
            if self.spare.is_some() {
                // The sender's own use, so that the first orphan to stop does not find itself the last.
                self.track.storage.enter(self.segment);
            }
        }
        self.spare.is_some()
    }

    /// Leaves the segment to a reader that has it pinned.
    fn mark(&mut self, seat: &Seat, progress: Progress) -> Result<(), Progress> {
        self.track.storage.enter(self.segment);
        let changed = seat.change(progress, progress.orphaned());
        if changed.is_ok() {
            self.is_marked = true;
        } else {
            self.track.storage.exit(self.segment);
        }
        changed
    }

    fn end(self, position: u64) {
        let Some(spare) = self.spare else { return };
        if self.is_marked {
            self.track.storage.put_in_place(position, spare);
            self.track.storage.exit(self.segment);
        } else {
            self.track.storage.stay(self.segment);
            self.track.storage.put_into_pool(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, Held, Progress, Track};
    use crate::ring::shape::Shape;

    const CAPACITY: usize = 1024;
    const SEGMENT: u64 = CAPACITY as u64 / 8;

    fn track(readers: usize) -> Track<u8> {
        let track = Track::new(Shape::new(CAPACITY).unwrap(), false);
        for reader in 0..readers {
            track.seats.occupy(reader, Progress::strict(0));
        }
        track
    }

    /// Has all readers read everything before that position.
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
    fn many_readers_are_looked_at_a_few_at_a_time_and_all_before_the_limit() {
        // Readers have read all, or nearly.
        for (readers, behind) in [17, 64, 100, 500, 1000, 2000]
            .into_iter()
            .flat_map(|readers| [(readers, 0), (readers, 3)])
        {
            let track = track(readers);
            let at_once = (2 * track.seats.len() / SEGMENT as usize).max(16);
            let mut gate = Gate::default();
            gate.extend(&track).unwrap();
            let mut looked = 0;
            // What was seen at the beginning was good for a lap.
            for lap in 2..=20 {
                let mut at = gate.limit();
                catch_up(&track, readers, at - behind);
                while gate.limit() == at {
                    gate.extend(&track).unwrap();
                }
                let (begin, mut looks, mut last) = (at, 0, at);
                at = gate.next_stop(&track, at);
                while at < gate.limit() {
                    assert!(gate.wants_look(&track, track.seats.version()));
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
                    !gate.wants_look(&track, track.seats.version()),
                    "{readers} readers have not been seen when lap {lap}'s segment {begin}..{end} was full"
                );
                if looks > 0 {
                    assert_eq!(looks, readers.div_ceil(at_once), "looks at {readers}");
                    // Half of a segment is enough, or little more.
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
    fn a_reader_that_sits_down_is_looked_at_before_the_limit_moves() {
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
