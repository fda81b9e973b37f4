//! A reader's place among the readers of a ring: how far it is, where senders can see it.

use crate::sync::{AtomicU64, AtomicUsize, Ordering, mutant, order, this_thread};

/// How far a reader is, and what it is doing: one word, `position << 4 | flags`.
///
/// | flag | meaning | set by | cleared by |
/// |---|---|---|---|
/// | `PINNED` | it reads slots from `position` on, up to the end of a segment if it is lossy | the reader | the reader |
/// | `ORPHAN` | the ring went on without it: it rejoins where values still are | a sender, once | the reader |
/// | `LOSSY` | senders do not wait for it | joining | |
/// | `FRAGILE` | it is lossy, and the first time that it is overtaken ends it | joining | |
///
/// Of a reader that is not lossy (a strict one), only the reader itself changes the word, by plain
/// stores. Of a lossy one the reader and a sender change it, by compare-and-swap. A free seat has
/// all bits set, a position that holds nobody up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress(u64);

const PINNED: u64 = 1;
const ORPHAN: u64 = 2;
const LOSSY: u64 = 4;
const FRAGILE: u64 = 8;
const FLAGS: u32 = 4;

impl Progress {
    pub(crate) const FREE: Self = Self(u64::MAX);
    /// The last position that fits in.
    pub(crate) const LAST: u64 = (1 << (u64::BITS - FLAGS)) - 1;

    pub(crate) fn strict(position: u64) -> Self {
        Self(position << FLAGS)
    }

    pub(crate) fn lossy(position: u64, fragile: bool) -> Self {
        Self(position << FLAGS | LOSSY | if fragile { FRAGILE } else { 0 })
    }

    #[inline]
    pub(crate) fn position(self) -> u64 {
        self.0 >> FLAGS
    }

    #[inline]
    pub(crate) fn is_pinned(self) -> bool {
        self.0 & PINNED != 0
    }

    #[inline]
    pub(crate) fn is_orphan(self) -> bool {
        self.0 & ORPHAN != 0
    }

    #[inline]
    pub(crate) fn is_lossy(self) -> bool {
        self.0 & LOSSY != 0
    }

    pub(crate) fn is_fragile(self) -> bool {
        self.0 & FRAGILE != 0
    }

    #[inline]
    pub(crate) fn pinned(self) -> Self {
        Self(self.0 | PINNED)
    }

    pub(crate) fn orphaned(self) -> Self {
        Self(self.0 | ORPHAN)
    }

    /// There, unpinned and no orphan, and of the same kind.
    #[inline]
    pub(crate) fn at(self, position: u64) -> Self {
        Self(position << FLAGS | self.0 & (LOSSY | FRAGILE))
    }
}

/// One reader's line. The reader writes it, but for what senders count; 64 bytes, so that readers
/// do not share lines.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Seat {
    word: AtomicU64,
    /// Where the reader began.
    start: AtomicU64,
    /// Of a lossy reader: up to where it has read, or has counted what it missed.
    seen: AtomicU64,
    /// How many values it missed, up to `seen`.
    missed: AtomicU64,
    /// How often, and for how many nanoseconds, senders have waited for it.
    blocked: AtomicU64,
    blocked_for: AtomicU64,
    /// What had been sent when its reader was cut off; the greatest number for as long as it is
    /// not.
    end: AtomicU64,
    /// The thread that reads, or was the last to read, as given by [`this_thread`].
    thread: AtomicUsize,
}

/// What a seat has counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) start: u64,
    /// How far it is: read, or overtaken.
    pub(crate) position: u64,
    pub(crate) missed: u64,
    pub(crate) blocked: u64,
    pub(crate) blocked_for: u64,
    /// Where it was cut off.
    pub(crate) end: u64,
}

impl Seat {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(Progress::FREE.0),
            start: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            blocked_for: AtomicU64::new(0),
            end: AtomicU64::new(u64::MAX),
            thread: AtomicUsize::new(0),
        }
    }

    // ---- The reader's side ----

    /// The reader is about to pin, on this thread.
    #[inline(always)]
    pub(crate) fn reads_on_this_thread(&self) {
        self.thread.store(this_thread(), Ordering::Relaxed);
    }

    /// A strict reader begins to read. A light fence has to follow, and a look whether it was cut
    /// off.
    #[inline]
    pub(crate) fn pin_strict(&self, position: u64) {
        self.reads_on_this_thread();
        // ORDERING: as in `advance_strict`: a thread that sees this word may not have seen the word
        // before it.
        self.word.store(
            Progress::strict(position).pinned().0,
            order!(Release, "pin_is_stored_relaxed"),
        );
    }

    /// A strict reader has read everything before this position, and reads on.
    #[inline]
    pub(crate) fn advance_strict(&self, position: u64) {
        // ORDERING: Release pairs with the Acquire in `progress`: the values were read before their
        // slots are free.
        self.word.store(
            Progress::strict(position).pinned().0,
            order!(Release, "slots_are_freed_relaxed"),
        );
    }

    /// A strict reader has read everything before this position, and stops.
    #[inline]
    pub(crate) fn unpin_strict(&self, position: u64) {
        // ORDERING: as in `advance_strict`.
        self.word.store(
            Progress::strict(position).0,
            order!(Release, "reader_stops_relaxed"),
        );
    }

    /// Changes the word of a lossy reader from what it was to what it is to be; gives what it is if
    /// that fails.
    #[inline]
    pub(crate) fn change(&self, from: Progress, to: Progress) -> Result<(), Progress> {
        // ORDERING: AcqRel both ways. A reader's reads come before its unpinning, and a sender's
        // writes after it has seen that; a sender's marks come after what it did before, and a
        // reader sees that when it finds the mark.
        self.word
            .compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
            .map_err(Progress)
    }

    /// Sits down there, or there instead. A fence has to follow, and a look whether that is still
    /// in the ring.
    pub(crate) fn place(&self, progress: Progress) {
        // A swap, so that it does not come between a sender's change and its look.
        self.word.swap(progress.0, Ordering::AcqRel);
    }

    /// Begins its counts anew, from that position on.
    pub(crate) fn begin(&self, start: u64) {
        self.start.store(start, Ordering::Relaxed);
        self.seen.store(start, Ordering::Relaxed);
        for count in [&self.missed, &self.blocked, &self.blocked_for] {
            count.store(0, Ordering::Relaxed);
        }
        self.end.store(u64::MAX, Ordering::Relaxed);
    }

    /// The reader has read up to there.
    #[inline]
    pub(crate) fn saw(&self, position: u64) {
        self.seen.store(position, Ordering::Relaxed);
    }

    /// The reader has found out that it missed so many values, up to that position.
    pub(crate) fn missed_until(&self, position: u64, missed: u64) {
        let before = self.missed.load(Ordering::Relaxed);
        self.missed.store(before + missed, Ordering::Relaxed);
        self.saw(position);
    }

    /// How many values the reader has found out that it missed.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    // ---- Anybody's ----

    /// The reader was cut off when so much had been sent. Of several the first.
    pub(crate) fn end_at(&self, sent: u64) {
        self.end.fetch_min(sent, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn progress(&self) -> Progress {
        // ORDERING: Acquire pairs with the Release of a reader that has read, and with `change`.
        Progress(self.word.load(Ordering::Acquire))
    }

    /// As [`progress`](Self::progress), for readers that follow this one.
    #[inline]
    pub(crate) fn passed(&self) -> Progress {
        // ORDERING: Acquire pairs with the Release in `advance_strict` and `unpin_strict`: what the
        // reader did with the values, and what it knows to be published.
        Progress(
            self.word
                .load(order!(Acquire, "leader_is_followed_relaxed")),
        )
    }

    /// Whether the reader has pinned the seat on this thread, so that this runs inside its handler.
    pub(crate) fn is_read_on_this_thread(&self) -> bool {
        let looks_too_early = mutant!("reading_thread_is_looked_at_before_the_pin");
        let early = looks_too_early.then(|| self.thread.load(Ordering::Relaxed));
        // ORDERING: the Acquire in `progress` pairs with the store of the pin: the thread is that
        // of this pin, or of a later one. If the thread were loaded first, it could be that of an
        // earlier pin: of this thread, which has since given the reader to another thread.
        self.progress().is_pinned()
            && early.unwrap_or_else(|| self.thread.load(Ordering::Relaxed)) == this_thread()
    }

    pub(crate) fn count_blocked(&self) {
        self.blocked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_blocked_for(&self, nanoseconds: u64) {
        self.blocked_for.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        let progress = self.progress();
        let (seen, missed) = (
            self.seen.load(Ordering::Relaxed),
            self.missed.load(Ordering::Relaxed),
        );
        // What a sender has pushed out and the reader has not noticed yet is missed already.
        let overtaken = if progress.is_lossy() && !progress.is_pinned() {
            progress.position().saturating_sub(seen)
        } else {
            0
        };
        let end = self.end.load(Ordering::Relaxed);
        // A reader that was cut off while the ring overtook it has not missed what came after.
        let beyond = (seen + overtaken).saturating_sub(end);
        Counts {
            start: self.start.load(Ordering::Relaxed),
            position: progress.position(),
            missed: (missed + overtaken).saturating_sub(beyond),
            blocked: self.blocked.load(Ordering::Relaxed),
            blocked_for: self.blocked_for.load(Ordering::Relaxed),
            end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Progress, Seat};

    #[test]
    fn a_word_tells_the_position_and_each_flag_apart() {
        for position in [0, 1, 5, 1 << 40, Progress::LAST] {
            let strict = Progress::strict(position);
            let lossy = Progress::lossy(position, false);
            let fragile = Progress::lossy(position, true);
            for progress in [strict, lossy, fragile] {
                for now in [progress, progress.pinned(), progress.orphaned()] {
                    assert_eq!(now.position(), position);
                    assert_eq!(now.is_lossy(), progress != strict);
                    assert_eq!(now.is_fragile(), progress == fragile);
                    assert_eq!(now.at(7).at(position), progress);
                }
                assert!(!progress.is_pinned() && !progress.is_orphan());
                let pinned = progress.pinned();
                assert!(pinned.is_pinned() && !pinned.is_orphan());
                let orphan = pinned.orphaned();
                assert!(orphan.is_pinned() && orphan.is_orphan());
            }
        }
    }

    #[test]
    fn what_was_pushed_out_after_the_end_was_not_missed() {
        let seat = Seat::new();
        seat.place(Progress::lossy(4, false));
        seat.begin(4);
        assert_eq!(seat.counts().missed, 0);
        // A sender has moved it on, and it has not noticed.
        seat.place(Progress::lossy(10, false));
        assert_eq!(seat.counts().missed, 6);
        seat.end_at(8);
        seat.end_at(9);
        assert_eq!(seat.counts().missed, 4);
        seat.missed_until(10, 6);
        assert_eq!(seat.counts().missed, 4);
    }
}
