//! A reader's place among the readers of a ring: its position, where senders can see it.

use crate::sync::{AtomicU64, AtomicUsize, Ordering, mutant, order, this_thread};

/// The position of a reader, and what it is doing, in one word: `position << 4 | flags`.
///
/// | flag | meaning | set by | cleared by |
/// |---|---|---|---|
/// | `PINNED` | it reads slots from `position` on, up to the end of a segment if it is lossy | the reader | the reader |
/// | `ORPHAN` | the ring went on without it: it rejoins where values still are | a sender, once | the reader |
/// | `LOSSY` | senders do not wait for it | joining | |
/// | `FRAGILE` | it is lossy, and ends the first time that it is overtaken | joining | |
///
/// If the reader is not lossy (it is strict), only the reader itself changes the word, by plain
/// stores. If it is lossy, the reader and a sender change the word, by compare-and-swap. A free
/// seat has all bits set: a position that blocks no sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress(u64);

const PINNED: u64 = 1;
const ORPHAN: u64 = 2;
const LOSSY: u64 = 4;
const FRAGILE: u64 = 8;
const FLAGS: u32 = 4;

impl Progress {
    pub(crate) const FREE: Self = Self(u64::MAX);
    /// The last position that fits into the word.
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

    /// The same kind of reader at `position`, unpinned and no orphan.
    #[inline]
    pub(crate) fn at(self, position: u64) -> Self {
        Self(position << FLAGS | self.0 & (LOSSY | FRAGILE))
    }
}

/// One reader's cache line. The reader writes it. It has 64 bytes, so that readers do not share
/// lines.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Seat {
    word: AtomicU64,
    /// Where the reader began.
    start: AtomicU64,
    /// For a lossy reader: the position up to which it has read, or has counted what it missed.
    seen: AtomicU64,
    /// How many values it missed, up to `seen`.
    missed: AtomicU64,
    /// How much had been sent when the reader was cut off; the greatest number while it is not cut
    /// off.
    end: AtomicU64,
    /// The thread that reads, or that was the last to read, as returned by [`this_thread`].
    thread: AtomicUsize,
}

/// The counts of a seat.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) start: u64,
    /// How far the reader is: read, or overtaken.
    pub(crate) position: u64,
    pub(crate) missed: u64,
    /// Where the reader was cut off.
    pub(crate) end: u64,
}

impl Seat {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(Progress::FREE.0),
            start: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            end: AtomicU64::new(u64::MAX),
            thread: AtomicUsize::new(0),
        }
    }

    // ---- The reader's side ----

    /// Records that the reader is about to pin, on this thread.
    #[inline(always)]
    pub(crate) fn reads_on_this_thread(&self) {
        self.thread.store(this_thread(), Ordering::Relaxed);
    }

    /// Begins a read of a strict reader. The caller then makes a light fence, and checks whether
    /// the reader was cut off.
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

    /// Records that a strict reader has read everything before `position`, and reads on.
    #[inline]
    pub(crate) fn advance_strict(&self, position: u64) {
        // ORDERING: Release pairs with the Acquire in `progress`: the values are read before their
        // slots are free.
        self.word.store(
            Progress::strict(position).pinned().0,
            order!(Release, "slots_are_freed_relaxed"),
        );
    }

    /// Records that a strict reader has read everything before `position`, and stops.
    #[inline]
    pub(crate) fn unpin_strict(&self, position: u64) {
        // ORDERING: as in `advance_strict`.
        self.word.store(
            Progress::strict(position).0,
            order!(Release, "reader_stops_relaxed"),
        );
    }

    /// Changes the word of a lossy reader from `from` to `to`. If that fails, returns the current
    /// word.
    #[inline]
    pub(crate) fn change(&self, from: Progress, to: Progress) -> Result<(), Progress> {
        // ORDERING: AcqRel in both directions. A reader's reads come before its unpinning, and a
        // sender's writes come after the sender has seen that. A sender's mark comes after what it
        // did before, and a reader that finds the mark sees that.
        self.word
            .compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
            .map_err(Progress)
    }

    /// Takes this position, or this one instead of another. The caller then makes a fence, and
    /// checks whether the position is still in the ring.
    pub(crate) fn place(&self, progress: Progress) {
        // A swap, so that it does not come between a sender's change and its look.
        self.word.swap(progress.0, Ordering::AcqRel);
    }

    /// Restarts the counts, from this position on.
    pub(crate) fn begin(&self, start: u64) {
        self.start.store(start, Ordering::Relaxed);
        self.seen.store(start, Ordering::Relaxed);
        self.missed.store(0, Ordering::Relaxed);
        self.end.store(u64::MAX, Ordering::Relaxed);
    }

    /// Records that the reader has read up to this position.
    #[inline]
    pub(crate) fn saw(&self, position: u64) {
        self.seen.store(position, Ordering::Relaxed);
    }

    /// Records that the reader has found out that it missed this many values, up to `position`.
    pub(crate) fn missed_until(&self, position: u64, missed: u64) {
        let before = self.missed.load(Ordering::Relaxed);
        self.missed.store(before + missed, Ordering::Relaxed);
        self.saw(position);
    }

    /// How many missed values the reader has found out about.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    // ---- For any thread ----

    /// Records that the reader was cut off when `sent` values had been sent. The first of several
    /// calls counts.
    pub(crate) fn end_at(&self, sent: u64) {
        self.end.fetch_min(sent, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn progress(&self) -> Progress {
        // ORDERING: Acquire pairs with the Release of a reader that has read, and with `change`.
        Progress(self.word.load(Ordering::Acquire))
    }

    /// Like [`progress`](Self::progress), for readers that follow this one.
    #[inline]
    pub(crate) fn passed(&self) -> Progress {
        // ORDERING: Acquire pairs with the Release in `advance_strict` and `unpin_strict`: a
        // follower sees what the reader did with the values, and what the reader knows to be
        // published.
        Progress(
            self.word
                .load(order!(Acquire, "leader_is_followed_relaxed")),
        )
    }

    /// Whether the reader has pinned the seat on this thread, so that the caller runs inside its
    /// handler.
    pub(crate) fn is_read_on_this_thread(&self) -> bool {
        let looks_too_early = mutant!("reading_thread_is_looked_at_before_the_pin");
        let early = looks_too_early.then(|| self.thread.load(Ordering::Relaxed));
        // ORDERING: the Acquire in `progress` pairs with the store of the pin: the loaded thread is
        // the one of this pin, or of a later one. If the thread were loaded first, it could be the
        // one of an earlier pin, when this thread had the reader, which it has since given to
        // another thread.
        self.progress().is_pinned()
            && early.unwrap_or_else(|| self.thread.load(Ordering::Relaxed)) == this_thread()
    }

    pub(crate) fn counts(&self) -> Counts {
        let progress = self.progress();
        let (seen, missed) = (
            self.seen.load(Ordering::Relaxed),
            self.missed.load(Ordering::Relaxed),
        );
        // Values that a sender has pushed out, and that the reader has not noticed yet, are missed
        // already.
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
    fn values_pushed_out_after_the_end_are_not_missed() {
        let seat = Seat::new();
        seat.place(Progress::lossy(4, false));
        seat.begin(4);
        assert_eq!(seat.counts().missed, 0);
        // A sender has moved the reader on, and the reader has not noticed.
        seat.place(Progress::lossy(10, false));
        assert_eq!(seat.counts().missed, 6);
        seat.end_at(8);
        seat.end_at(9);
        assert_eq!(seat.counts().missed, 4);
        seat.missed_until(10, 6);
        assert_eq!(seat.counts().missed, 4);
    }
}
