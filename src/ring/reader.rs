//! Reading a ring; one of the two files of it that touch uninitialized memory.
//!
//! # What a reader may read
//!
//! A *strict* reader at position `p` may read every position from `p` on that was published: the gate lets nobody write
//! `p + capacity` or beyond while the reader's seat says `p`. It says in its seat that it reads (pins), so that who cuts it
//! off knows whether its slots are free at once.
//!
//! A *lossy* reader at `p` may read from `p` to the end of `p`'s segment, as far as was published, once it has pinned `p` in
//! its seat by compare-and-swap from `p` unpinned: had it been overtaken before, the seat would say so. The segment it reads
//! is the one it looked up *before* pinning. That is still the ring's when it pins, for to take it away a sender first moves
//! the reader on; and if it is taken away afterwards, the reader is left it, and becomes an orphan.

use std::sync::Arc;

use crate::error::{RecvTimeoutError, SubscriptionError, TryRecvError};
use crate::sync::mutant;

use super::member::Member;
use super::seat::Progress;
use super::storage::SegmentRef;

/// Where a reader is.
pub(crate) struct Reader<T> {
    pub(crate) member: Arc<Member<T>>,
    /// The position to read next.
    position: u64,
    /// Everything before this is known to have been published.
    known: u64,
    /// What its seat says while it is unpinned, but for the position.
    kind: Progress,
    /// Misses that the user has not been told of.
    untold: u64,
}

impl<T> Reader<T> {
    pub(crate) fn new(member: Arc<Member<T>>, position: u64, kind: Progress) -> Self {
        Self {
            member,
            position,
            known: position,
            kind,
            untold: 0,
        }
    }

    pub(crate) fn missed(&self) -> u64 {
        self.member.seat().missed() - self.untold
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether there is something to read, or to say.
    #[inline]
    pub(crate) fn is_ready(&mut self) -> bool {
        self.untold != 0 || self.has_next() || self.member.is_cut() || self.is_at_end()
    }

    #[inline]
    fn has_next(&mut self) -> bool {
        if !self.has_unread() {
            self.look();
        }
        self.has_unread()
    }

    /// Finds out how much there is to read.
    #[inline]
    fn look(&mut self) {
        self.known = self.member.core().track.published_now();
    }

    /// Whether there is something to read without a look.
    #[inline]
    pub(crate) fn has_unread(&self) -> bool {
        self.known > self.position
    }

    /// An error if nothing will be read any more.
    pub(crate) fn say_if_ended(&self) -> Result<(), RecvTimeoutError> {
        if self.untold != 0 || !(self.member.is_cut() || self.is_at_end()) {
            return Ok(());
        }
        Err(match self.ended() {
            TryRecvError::Overflowed => RecvTimeoutError::Overflowed,
            _ => RecvTimeoutError::Closed,
        })
    }

    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.position >= self.member.core().track.end()
    }

    /// What to say instead of a value, for good.
    #[cold]
    fn ended(&self) -> TryRecvError {
        match self.member.error() {
            Some(SubscriptionError::Overflowed) => TryRecvError::Overflowed,
            _ => TryRecvError::Closed,
        }
    }

    /// Hands up to `limit` of the values that are there to `f`, as long as no misses come between, and says how many that
    /// were.
    #[inline]
    pub(crate) fn read(
        &mut self,
        limit: usize,
        mut f: impl FnMut(&T),
    ) -> Result<usize, TryRecvError> {
        if self.untold != 0 {
            return Err(TryRecvError::Lagged(std::mem::take(&mut self.untold)));
        }
        if limit == 0 {
            return Ok(0);
        }
        let mut taken = 0;
        loop {
            // All that is there, not only what an earlier look has found.
            if taken == 0 && self.known.saturating_sub(self.position) < limit as u64 {
                self.look();
            }
            if !self.has_unread() {
                return if taken != 0 {
                    Ok(taken)
                } else if self.member.is_cut() || self.is_at_end() {
                    Err(self.ended())
                } else {
                    Err(TryRecvError::Empty)
                };
            }
            // What comes while this is read is for the next time.
            let end = self
                .known
                .min(self.position.saturating_add((limit - taken) as u64));
            let read = if self.kind.is_lossy() {
                self.read_lossy(end, &mut f)
            } else {
                self.read_strict(end, &mut f)
            };
            match read {
                Some(read) => taken += read,
                None if taken != 0 => return Ok(taken),
                None if self.untold != 0 => {
                    return Err(TryRecvError::Lagged(std::mem::take(&mut self.untold)));
                }
                None => return Err(self.ended()),
            }
            if taken >= limit || self.position >= self.known || self.untold != 0 {
                // Holes alone are nothing to have taken.
                if taken != 0 {
                    return Ok(taken);
                }
                if self.untold != 0 {
                    return Err(TryRecvError::Lagged(std::mem::take(&mut self.untold)));
                }
            }
        }
    }

    /// Reads up to there. `None` if the reader was cut off.
    #[inline(always)]
    fn read_strict(&mut self, end: u64, f: &mut impl FnMut(&T)) -> Option<usize> {
        let pinned = StrictPin {
            member: &self.member,
            position: &mut self.position,
        };
        let member = pinned.member;
        member.seat().pin_strict(*pinned.position);
        member.fence_after_pin();
        if member.is_cut() {
            return None;
        }
        let track = &member.core().track;
        let mut taken = 0;
        loop {
            let begin = *pinned.position;
            let segment = track.storage.segment(begin);
            let stop = end.min(track.shape().segment_end(begin));
            taken += if track.may_have_holes(begin) {
                hand_out_but_for_holes(member, segment, pinned.position, stop, f)
            } else {
                hand_out(member, segment, pinned.position, stop, f)
            };
            if stop == end {
                return Some(taken);
            }
            // The segment that was read is free before the next one has been.
            member.seat().advance_strict(stop);
            member.moved();
        }
    }

    /// Reads up to there, or to the end of the segment. `None` if the reader was cut off, or values were missed.
    fn read_lossy(&mut self, end: u64, f: &mut impl FnMut(&T)) -> Option<usize> {
        let track = &self.member.core().track;
        let end = end.min(track.shape().segment_end(self.position));
        let mut segment = track.storage.segment(self.position);
        let unpinned = self.kind.at(self.position);
        if let Err(now) = self.member.seat().change(unpinned, unpinned.pinned()) {
            self.overtaken(now);
            return None;
        }
        if mutant!("segment_is_looked_up_after_the_pin") {
            segment = self.member.core().track.storage.segment(self.position);
        }
        self.member.fence_after_pin();
        let pinned = LossyPin {
            word: unpinned.pinned(),
            segment,
            reader: self,
        };
        let Reader {
            member, position, ..
        } = &mut *pinned.reader;
        if member.is_cut() {
            return None;
        }
        Some(if member.core().track.may_have_holes(*position) {
            hand_out_but_for_holes(member, segment, position, end, f)
        } else {
            hand_out(member, segment, position, end, f)
        })
    }

    /// A sender has moved the seat on.
    #[cold]
    fn overtaken(&mut self, now: Progress) {
        if now.is_orphan() {
            return self.member.fail(SubscriptionError::Overflowed);
        }
        self.miss_until(now.position());
    }

    fn miss_until(&mut self, position: u64) {
        let missed = position - self.position;
        self.position = position;
        self.known = self.known.max(position);
        self.untold += missed;
        self.member.seat().missed_until(position, missed);
    }

    /// The ring went on without this reader, which has read up to its position: it sits down where values still are.
    #[cold]
    fn rejoin(&mut self, kind: Progress) {
        if kind.is_fragile() {
            // It stays an orphan, whom senders pass by.
            return self.member.fail(SubscriptionError::Overflowed);
        }
        let core = self.member.core();
        let mut position = self.position;
        loop {
            self.member.seat().place(kind.at(position));
            // ORDERING: pairs with the fence in `Gate::extend`, as does the one of a reader that joins: either the floor
            // is seen here, or the gate has seen nothing but a seat that is at that position.
            core.track.seats.announce();
            let floor = core.track.floor(true);
            if floor <= position || mutant!("orphan_rejoins_without_a_look") {
                break;
            }
            position = floor;
        }
        self.miss_until(position);
    }
}

/// Hands out the values from `position` to `end`, of one segment, and says how many that were. The reader that has pinned
/// them is at `position`.
#[inline(always)]
fn hand_out<T>(
    member: &Member<T>,
    segment: SegmentRef<T>,
    position: &mut u64,
    end: u64,
    f: &mut impl FnMut(&T),
) -> usize {
    /// A value whose handling panics has been read, those after it have not.
    struct Handing<'a> {
        position: &'a mut u64,
        now: u64,
    }
    impl Drop for Handing<'_> {
        #[inline(always)]
        fn drop(&mut self) {
            *self.position = self.now;
        }
    }

    let count = (end - *position) as usize;
    let offset = member.core().track.shape().offset(*position);
    let mut handing = Handing {
        now: *position,
        position,
    };
    // SAFETY: the reader may read up to `end`, all of it in this segment (see the top of this file).
    for value in unsafe { segment.values(offset, count) } {
        handing.now += 1;
        value.read(&mut *f);
    }
    count
}

/// As `hand_out`, where some positions may have been left as holes.
#[cold]
#[inline(never)]
fn hand_out_but_for_holes<T>(
    member: &Member<T>,
    segment: SegmentRef<T>,
    position: &mut u64,
    end: u64,
    f: &mut impl FnMut(&T),
) -> usize {
    let mut taken = 0;
    while *position < end {
        let offset = member.core().track.shape().offset(*position);
        // SAFETY: as in `hand_out`.
        if unsafe { segment.is_hole(offset) } {
            *position += 1;
            member.seat().passed_holes(1);
        } else {
            let next = *position + 1;
            taken += hand_out(member, segment, position, next, f);
        }
    }
    taken
}

/// A strict reader reads.
struct StrictPin<'a, T> {
    member: &'a Member<T>,
    position: &'a mut u64,
}

impl<T> Drop for StrictPin<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.member.seat().unpin_strict(*self.position);
        self.member.unpinned();
    }
}

/// A lossy reader reads.
struct LossyPin<'a, T> {
    reader: &'a mut Reader<T>,
    /// What its seat says, unless a sender has marked it.
    word: Progress,
    segment: SegmentRef<T>,
}

impl<T> Drop for LossyPin<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let reader = &mut *self.reader;
        reader.member.seat().saw(reader.position);
        let unpinned = self.word.at(reader.position);
        if reader.member.seat().change(self.word, unpinned).is_err() {
            // Marked: the segment is this reader's and other orphans', and then the pool's.
            reader.member.core().track.storage.exit(self.segment);
            reader.rejoin(unpinned);
        }
        reader.member.unpinned();
    }
}
