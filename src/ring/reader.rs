//! Reading a ring, and which slots a reader may touch.
//!
//! # What a reader may read
//!
//! A *strict* reader at position `p` may read every published position from `p` on: the gate lets
//! no writer write `p + capacity` or beyond while the reader's seat says `p`. While the reader
//! reads, its seat says so (it is pinned). So a thread that cuts the reader off knows whether its
//! slots are free at once.
//!
//! A *lossy* reader at `p` may read from `p` to the end of `p`'s segment, as far as was published,
//! once it has pinned `p` in its seat by a compare-and-swap from `p` unpinned. If it had been
//! overtaken before, its seat would say so. It reads the segment that it looked up *before*
//! pinning. That is still the segment of `p` when it pins, because a sender moves the reader on
//! before it takes the segment away. If the segment is taken away afterwards, the reader becomes an
//! orphan and a user of it. Before the reader has pinned, and found that it was not cut off, the
//! segment may be gone, so the reader does not look into it.

use std::convert::Infallible;
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::{RecvTimeoutError, SubscriptionError, TryRecvError};
use crate::sync::mutant;

use super::core::{Core, Joining};
use super::cuts::Cuts;
use super::leaders::Leaders;
use super::member::Member;
use super::seat::{Progress, Seat};
use super::storage::{Found, SegmentRef, Values};
use super::track::Track;
use super::wakeups::WaitsFor;

/// A handler of the values that are read.
pub(crate) trait Visit<T> {
    /// The value with which a handler stops the read.
    type Stop;

    /// Whether the handler gets no more values once another thread has cut the reader off, even in
    /// the middle of a segment. That takes a load of shared memory after each value. If the handler
    /// itself cuts the reader off, it gets no more values in any case.
    const HEEDS_CUT: bool;

    /// Takes the value at `position`. The read ends before `end` at the latest.
    fn visit(&mut self, value: &T, position: u64, end: u64) -> ControlFlow<Self::Stop>;
}

/// A handler that uses only the values, and does not stop. Its loop does nothing else.
struct All<F>(F);

impl<T, F: FnMut(&T)> Visit<T> for All<F> {
    type Stop = Infallible;
    const HEEDS_CUT: bool = false;

    #[inline(always)]
    fn visit(&mut self, value: &T, _: u64, _: u64) -> ControlFlow<Infallible> {
        (self.0)(value);
        ControlFlow::Continue(())
    }
}

/// The state of a reader: its position, and what it knows.
pub(crate) struct Reader<T> {
    /// Duplicated here to save a dereference of `member`.
    core: Arc<Core<T>>,
    pub(crate) member: Arc<Member<T>>,
    /// The position to read next.
    position: u64,
    /// Every position before this is known to have been published, and to have been passed by the
    /// leaders.
    known: u64,
    /// The readers that this one follows, or `None` if none is left.
    leaders: Option<Box<Leaders<T>>>,
    /// The seat's word while it is unpinned, except for the position. The position field here
    /// counts the values that the reader skipped on request.
    kind: Progress,
    /// Missed values that the user has not been told of.
    untold: u64,
}

impl<T> Reader<T> {
    pub(crate) fn join(core: &Arc<Core<T>>, joining: Joining) -> Self {
        let (member, position, kind) = core.join(joining);
        Self {
            core: Arc::clone(core),
            member,
            position,
            known: position,
            leaders: None,
            kind,
            untold: 0,
        }
    }

    pub(crate) fn core(&self) -> &Core<T> {
        &self.core
    }

    /// Restricts reading to what these readers have passed. Called before the first read.
    pub(crate) fn follow(&mut self, members: Vec<Arc<Member<T>>>) {
        self.leaders = Leaders::new(members, &self.core.track);
    }

    pub(crate) fn missed(&self) -> u64 {
        self.member.seat().missed() - self.untold
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// How many values the reader skipped on request.
    pub(crate) fn skipped(&self) -> u64 {
        self.kind.position()
    }

    /// The position after every value that the user was given, was told to have missed, or has
    /// skipped.
    pub(crate) fn told(&self) -> u64 {
        self.position - self.untold
    }

    /// Whether there is something to read, or to report.
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
        // A reader may have joined beyond what is known to be published.
        let known = self.known.max(self.position);
        if self.leaders.is_some() {
            self.known = self.look_at_leaders(known);
        } else {
            self.known = self.core.track.published(known);
        }
    }

    #[inline(never)]
    fn look_at_leaders(&mut self, known: u64) -> u64 {
        let track = &self.core.track;
        let leaders = self.leaders.as_mut();
        let passed = leaders.and_then(|leaders| leaders.passed(track, known));
        passed.unwrap_or_else(|| {
            self.leaders = None;
            track.published(known)
        })
    }

    /// What the reader waits for if the last look found nothing to read.
    #[inline]
    pub(crate) fn waits_for(&self) -> WaitsFor {
        match &self.leaders {
            Some(leaders) => leaders.waits_for(),
            None => WaitsFor::Sender,
        }
    }

    /// Whether there is something to read without another look.
    #[inline]
    pub(crate) fn has_unread(&self) -> bool {
        self.known > self.position
    }

    /// Returns an error if nothing will be read any more.
    pub(crate) fn say_if_ended(&self) -> Result<(), RecvTimeoutError> {
        if self.member.is_cut() || (self.untold == 0 && self.is_at_end()) {
            return Err(self.ended().at_limit());
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.position >= self.core.track.end()
    }

    /// The final error, returned from now on instead of a value.
    #[cold]
    fn ended(&self) -> TryRecvError {
        match self.member.error() {
            Some(SubscriptionError::Overflowed) => TryRecvError::Overflowed,
            _ => TryRecvError::Closed,
        }
    }

    /// Passes up to `limit` of the values that are there to `f`, up to the next missed value, and
    /// returns how many.
    #[inline]
    pub(crate) fn read(&mut self, limit: usize, f: impl FnMut(&T)) -> Result<usize, TryRecvError> {
        let mut all = All(f);
        if self.kind.is_lossy() {
            return self.read_all_lossy(limit, &mut all);
        }
        let end = self.find(limit);
        if end <= self.position {
            return self.nothing(limit);
        }
        match self.read_strict(end, &mut all) {
            Some(ControlFlow::Continue(read)) => Ok(read),
            None => Err(self.ended()),
        }
    }

    /// Passes one batch of the values that are there to `visit`: all of them; or for a lossy reader
    /// those up to the end of the segment, after which values may be missing.
    #[inline]
    pub(crate) fn read_batch<V: Visit<T>>(
        &mut self,
        mut visit: V,
    ) -> Result<ControlFlow<V::Stop, usize>, TryRecvError> {
        if self.untold == 0 {
            let end = self.find(usize::MAX);
            if end <= self.position {
                return self.nothing(usize::MAX).map(ControlFlow::Continue);
            }
            let read = if self.kind.is_lossy() {
                self.read_lossy(end, &mut visit)
            } else {
                self.read_strict(end, &mut visit)
            };
            if let Some(flow) = read {
                return Ok(flow);
            }
        }
        Err(self.say_missed())
    }

    /// Skips all values that are there but the last, and returns how many.
    pub(crate) fn skip_to_newest(&mut self) -> Result<u64, TryRecvError> {
        /// A look at a shared ring may return what another reader has seen before. The next look is
        /// this reader's own, unless another reader was faster again.
        const LOOKS: usize = 4;
        if self.untold == 0 {
            if self.member.is_cut() {
                return Err(self.ended());
            }
            for _ in 0..LOOKS {
                let known = self.known;
                self.look();
                if self.known == known {
                    break;
                }
            }
            if !self.has_unread() {
                return self.nothing(1).map(|read| read as u64);
            }
            if let Some(skipped) = self.skip_to(self.known - 1) {
                self.kind = self.kind.at(self.skipped() + skipped);
                return Ok(skipped);
            }
        }
        Err(self.say_missed())
    }

    /// Moves on to a position that is not beyond the published ones, and returns how many values
    /// lie between. Returns `None` if a sender overtook the reader before.
    fn skip_to(&mut self, position: u64) -> Option<u64> {
        let begin = self.position;
        let seat = self.member.seat();
        if self.kind.is_lossy() {
            // Stored before the word, so that skipped values never count as overtaken.
            seat.saw(position);
            let unpinned = self.kind.at(begin);
            if let Err(now) = seat.change(unpinned, unpinned.at(position)) {
                seat.saw(begin);
                self.overtaken(now);
                return None;
            }
        } else {
            // A reader that does not read need not pin its seat to move on.
            seat.unpin_strict(position);
        }
        self.position = position;
        self.core.wakeups.senders.moved(seat);
        self.member.stopped(begin);
        Some(position - begin)
    }

    /// The end of a read of up to `limit` values. Values that come meanwhile are left for the next
    /// read.
    #[inline(always)]
    fn find(&mut self, limit: usize) -> u64 {
        let wanted = self.position.saturating_add(limit as u64);
        if self.known < wanted {
            self.look();
        }
        wanted.min(self.known)
    }

    /// Returns why there is nothing to read.
    #[cold]
    #[inline(never)]
    fn nothing(&self, limit: usize) -> Result<usize, TryRecvError> {
        if limit == 0 {
            Ok(0)
        } else if self.member.is_cut() || self.is_at_end() {
            Err(self.ended())
        } else {
            Err(TryRecvError::Empty)
        }
    }

    /// Like [`read`](Self::read), for a lossy reader.
    #[inline(always)]
    fn read_all_lossy(
        &mut self,
        limit: usize,
        all: &mut All<impl FnMut(&T)>,
    ) -> Result<usize, TryRecvError> {
        let mut taken = 0;
        if self.untold == 0 {
            let end = self.find(limit);
            if end <= self.position {
                return self.nothing(limit);
            }
            while self.untold == 0 && self.position < end {
                match self.read_lossy(end, all) {
                    Some(ControlFlow::Continue(read)) => taken += read,
                    None if self.untold != 0 || taken != 0 => {}
                    None => return Err(self.ended()),
                }
                if self.member.is_cut() && taken != 0 {
                    return Ok(taken);
                }
            }
        }
        if taken != 0 || limit == 0 {
            return Ok(taken);
        }
        Err(self.say_missed())
    }

    /// The error where values were missed, or the reader was cut off.
    #[cold]
    fn say_missed(&mut self) -> TryRecvError {
        if self.member.is_cut() && !mutant!("misses_are_told_after_the_end") {
            // After the end, missed values are no longer reported, and unread values are no longer
            // passed.
            return self.ended();
        }
        TryRecvError::Lagged(mem::take(&mut self.untold))
    }

    /// Reads up to `end`, unless the handler stops it, and returns how many values it read. Returns
    /// `None` if the reader was cut off before.
    #[inline(always)]
    fn read_strict<V: Visit<T>>(
        &mut self,
        end: u64,
        visit: &mut V,
    ) -> Option<ControlFlow<V::Stop, usize>> {
        let begin = self.position;
        let core = &*self.core;
        let member = &*self.member;
        let seat = member.seat();
        seat.pin_strict(begin);
        member.fence_after_pin();
        let mut pin = StrictPin {
            core,
            member,
            seat,
            rest: Values::none(),
            end: begin,
            position: &mut self.position,
        };
        if member.is_cut() {
            return None;
        }
        let track = &core.track;
        let (mut at, mut freed) = (begin, begin);
        loop {
            let cuts = Cuts::now();
            let segment = track.storage.segment(at);
            let stop = end.min(track.shape().segment_end(at));
            // SAFETY: the reader may read up to `end`, and up to `stop` the positions are in this
            // segment (see the top of this file).
            pin.rest = unsafe { values(track, segment, at, stop) };
            pin.end = stop;
            loop {
                let position = pin.at();
                // Taken before the call: a value whose handler panics has been read.
                let Some(value) = pin.rest.next() else {
                    break;
                };
                if let ControlFlow::Break(stop) =
                    value.read(|value| visit.visit(value, position, end))
                {
                    return Some(ControlFlow::Break(stop));
                }
                // If another reader was cut off, the rest of the segment follows in the outer loop.
                if cuts.have_changed() || V::HEEDS_CUT && member.is_cut() {
                    break;
                }
            }
            at = pin.at();
            if at == end || member.is_cut() {
                return Some(ControlFlow::Continue((at - begin) as usize));
            }
            // A sender that looks at the seat takes its cache line away from this core, so slots
            // are freed seldom. For a parked sender they are freed sooner.
            if at - freed >= track.shape().capacity() / 2 || core.wakeups.senders.is_watched(seat) {
                freed = at;
                seat.advance_strict(freed);
                core.wakeups.senders.moved(seat);
                member.wake_followers();
            }
        }
    }

    /// Reads up to `end`, or to the end of the segment, unless the handler stops it, and returns
    /// how many values it read. Returns `None` if the reader was cut off before, or values were
    /// missed.
    #[inline(always)]
    fn read_lossy<V: Visit<T>>(
        &mut self,
        end: u64,
        visit: &mut V,
    ) -> Option<ControlFlow<V::Stop, usize>> {
        let track = &self.core.track;
        let begin = self.position;
        let end = end.min(track.shape().segment_end(begin));
        let mut segment = track.storage.find(begin);
        let unpinned = self.kind.at(begin);
        self.member.seat().reads_on_this_thread();
        if let Err(now) = self.member.seat().change(unpinned, unpinned.pinned()) {
            self.overtaken(now);
            return None;
        }
        if mutant!("segment_is_looked_up_after_the_pin") {
            segment = self.core.track.storage.find(begin);
        }
        self.member.fence_after_pin();
        let mut pin = LossyPin {
            word: unpinned.pinned(),
            segment,
            at: begin,
            reader: self,
        };
        if pin.reader.member.is_cut() {
            return None;
        }
        // SAFETY: the segment was in the map when the reader pinned it. If it is left later, the
        // reader becomes a user of it.
        let segment = unsafe { segment.get() };
        let track = &pin.reader.core.track;
        let mut read = end - begin;
        let mut cuts = Cuts::now();
        // SAFETY: the reader may read up to `end`, all of it in this segment (see the top of this
        // file).
        for value in unsafe { values(track, segment, begin, end) } {
            let position = pin.at;
            pin.at += 1;
            if let ControlFlow::Break(stop) = value.read(|value| visit.visit(value, position, end))
            {
                return Some(ControlFlow::Break(stop));
            }
            if cuts.have_changed() || V::HEEDS_CUT {
                if pin.reader.member.is_cut() {
                    read = pin.at - begin;
                    break;
                }
                cuts = Cuts::now();
            }
        }
        Some(ControlFlow::Continue(read as usize))
    }

    /// Handles a seat that a sender has moved on.
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

    /// Takes a position where values still are, after the ring went on without this reader, which
    /// has read up to its position.
    #[cold]
    fn rejoin(&mut self, kind: Progress) {
        if kind.is_fragile() {
            // It stays an orphan, which senders ignore.
            return self.member.fail(SubscriptionError::Overflowed);
        }
        let core = &self.core;
        let mut position = self.position;
        loop {
            self.member.seat().place(kind.at(position));
            // ORDERING: pairs with the fence in `Gate::extend`, as does the fence of a reader that
            // joins: either this reader sees the floor here, or the gate has seen its seat at that
            // position.
            core.track.seats.announce(self.member.number());
            let floor = core.track.floor(true);
            if floor <= position || mutant!("orphan_rejoins_without_a_look") {
                break;
            }
            position = floor;
            if mutant!("orphan_rejoins_after_one_look") {
                self.member.seat().place(kind.at(position));
                break;
            }
        }
        self.miss_until(position);
    }
}

/// The values from `begin` to `end`.
///
/// # Safety
///
/// The values are in this segment, and may be read while the result is used.
#[inline(always)]
unsafe fn values<'a, T>(
    track: &Track<T>,
    segment: SegmentRef<T>,
    begin: u64,
    end: u64,
) -> Values<'a, T> {
    let offset = track.shape().offset(begin);
    // SAFETY: the caller guarantees this.
    unsafe { segment.values(offset, (end - begin) as usize) }
}

/// A strict reader that is reading. Dropping it ends the read.
struct StrictPin<'a, T> {
    core: &'a Core<T>,
    member: &'a Member<T>,
    seat: &'a Seat,
    /// The values before `end` that have not been read: the loop counts nothing else.
    rest: Values<'a, T>,
    end: u64,
    /// The reader's position.
    position: &'a mut u64,
}

impl<T> StrictPin<'_, T> {
    /// Every position before this has been read.
    #[inline(always)]
    fn at(&self) -> u64 {
        self.end - self.rest.left() as u64
    }
}

impl<T> Drop for StrictPin<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        let at = self.at();
        let begin = mem::replace(self.position, at);
        self.seat.unpin_strict(at);
        self.core.wakeups.senders.moved(self.seat);
        self.member.stopped(begin);
    }
}

/// A lossy reader that is reading. Dropping it ends the read.
struct LossyPin<'a, T> {
    reader: &'a mut Reader<T>,
    /// The seat's word, unless a sender has marked it.
    word: Progress,
    segment: Found<T>,
    /// Every position before this has been read.
    at: u64,
}

impl<T> Drop for LossyPin<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let reader = &mut *self.reader;
        let begin = mem::replace(&mut reader.position, self.at);
        let seat = reader.member.seat();
        seat.saw(self.at);
        let unpinned = self.word.at(self.at);
        if seat.change(self.word, unpinned).is_err() {
            // SAFETY: the seat is marked, so the reader is a user of the segment.
            let segment = unsafe { self.segment.get() };
            reader.core.track.storage.exit(segment);
            reader.rejoin(unpinned);
        }
        reader.core.wakeups.senders.moved(reader.member.seat());
        reader.member.stopped(begin);
    }
}
