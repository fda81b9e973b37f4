//! The seats of all readers of a ring, and which of them senders must look at.
//!
//! Seats lie in buckets, each twice as large as the one before and never freed before the ring. So
//! a sender walks over them without a lock while readers come and go. A bit says whether a seat
//! counts: one bit for a strict reader, another for a lossy one. So a look at readers of one kind
//! skips those of the other, 64 at a time. A reader that registers, or that registers again at
//! another position, sets a third bit, *joined*, and increments the *version*. A sender that has
//! looked at the readers before need look only at the readers that have joined since.

use std::sync::Arc;

use crate::sync::{
    AtomicU64, AtomicUsize, MODELLED, OnceLock, Ordering, mutant, order, store_load_fence,
};

use super::seat::{Progress, Seat};

/// Seats of the first bucket.
const FIRST: usize = if MODELLED { 2 } else { 8 };
/// Buckets: together they have more seats than memory can hold.
const BUCKETS: usize = 26;

#[derive(Debug)]
pub(crate) struct Seats {
    buckets: [OnceLock<Arc<Bucket>>; BUCKETS],
    /// How many buckets there are.
    used: AtomicUsize,
    /// How many readers are lossy.
    lossy: AtomicUsize,
    version: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Bucket {
    /// The number of its first seat.
    first: usize,
    /// The bits of each 64 seats.
    words: Box<[Words]>,
    seats: Box<[Seat]>,
}

/// A bit for each of 64 seats.
#[derive(Debug, Default)]
struct Words {
    /// A strict reader has the seat, and counts.
    strict: AtomicU64,
    /// A lossy reader has the seat, and counts.
    lossy: AtomicU64,
    /// A reader registered in the seat, and the gate has not looked at it since.
    joined: AtomicU64,
}

impl Words {
    fn of(&self, is_lossy: bool) -> &AtomicU64 {
        if is_lossy { &self.lossy } else { &self.strict }
    }

    /// Takes the readers that have joined since the last call. The caller then looks at each: a
    /// reader that registers at another position after that sets its bit again.
    fn take_joined(&self) -> u64 {
        if self.joined.load(Ordering::Acquire) == 0 {
            return 0;
        }
        // ORDERING: Acquire pairs with the Release in `announce`: the reader has registered.
        self.joined.swap(0, Ordering::AcqRel)
    }
}

/// The readers to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Strict,
    Lossy,
    /// Strict readers that have joined since the last such look.
    Joined,
}

impl Bucket {
    fn new(first: usize, length: usize) -> Self {
        Self {
            first,
            words: (0..length.div_ceil(64)).map(|_| Words::default()).collect(),
            seats: (0..length).map(|_| Seat::new()).collect(),
        }
    }

    /// One seat of no reader and no ring.
    pub(crate) fn apart() -> Arc<Self> {
        Arc::new(Self::new(0, 1))
    }

    #[inline(always)]
    pub(crate) fn seat(&self, index: u32) -> &Seat {
        &self.seats[index as usize]
    }

    /// The number of the seat at `index`.
    #[inline(always)]
    pub(crate) fn number(&self, index: u32) -> usize {
        self.first + index as usize
    }
}

/// The strict reader that is furthest behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slowest {
    pub(crate) position: u64,
    pub(crate) seat: usize,
}

impl Seats {
    pub(crate) fn new() -> Self {
        Self {
            buckets: [const { OnceLock::new() }; BUCKETS],
            used: AtomicUsize::new(0),
            lossy: AtomicUsize::new(0),
            version: AtomicU64::new(0),
        }
    }

    /// The seat with this number.
    pub(crate) fn seat(&self, number: usize) -> &Seat {
        let (bucket, index) = place(number);
        &self.bucket(bucket).seats[index]
    }

    /// The bucket of the seat with this number, which its reader keeps alive, and the seat's index
    /// in it.
    pub(crate) fn find(&self, number: usize) -> (Arc<Bucket>, u32) {
        let (bucket, index) = place(number);
        (Arc::clone(self.bucket(bucket)), index as u32)
    }

    fn bucket(&self, number: usize) -> &Arc<Bucket> {
        self.buckets[number]
            .get_or_init(|| Arc::new(Bucket::new(first_of(number), FIRST << number)))
    }

    /// Registers a reader in a seat, which counts from now on. The caller then checks whether the
    /// reader's position is still in the ring.
    pub(crate) fn occupy(&self, number: usize, progress: Progress) {
        self.seat(number).place(progress);
        let (bucket, index) = place(number);
        // ORDERING: Release pairs with the Acquire in `walk`.
        self.used.fetch_max(bucket + 1, Ordering::Release);
        let words = &self.bucket(bucket).words[index / 64];
        words
            .of(progress.is_lossy())
            .fetch_or(1 << (index % 64), Ordering::AcqRel);
        if progress.is_lossy() {
            self.lossy.fetch_add(1, Ordering::Relaxed);
        }
        self.announce(number);
    }

    /// Announces that a reader has registered. A sender stores how far it may go, and then looks at
    /// the readers. A reader looks at that position after this call.
    pub(crate) fn announce(&self, number: usize) {
        let (bucket, index) = place(number);
        if !mutant!("reader_joins_unmarked") {
            self.bucket(bucket).words[index / 64]
                .joined
                .fetch_or(1 << (index % 64), Ordering::AcqRel);
        }
        self.version.fetch_add(1, Ordering::AcqRel);
        // ORDERING: pairs with the fence in `Gate::extend`.
        store_load_fence!("reader_joins_without_fence");
    }

    /// The seat counts no longer. Changes nothing if it did not count.
    pub(crate) fn ungate(&self, number: usize) {
        let (bucket, index) = place(number);
        let bit = 1 << (index % 64);
        // ORDERING: Release: everything that its reader has read was read before.
        let is_lossy = self.seat(number).progress().is_lossy();
        let words = &self.bucket(bucket).words[index / 64];
        let before = words.of(is_lossy).fetch_and(!bit, Ordering::AcqRel);
        if before & bit != 0 && is_lossy {
            // ORDERING: Release pairs with the Acquire in `has_lossy`: a sender that finds no lossy
            // reader does not look at the seat.
            self.lossy
                .fetch_sub(1, order!(Release, "lossy_reader_leaves_relaxed"));
        }
    }

    /// Called when the seat's reader is gone. Returns whether it was a lossy reader.
    pub(crate) fn stand_up(&self, number: usize) -> bool {
        self.ungate(number);
        let seat = self.seat(number);
        let was_lossy = seat.progress().is_lossy();
        seat.place(Progress::FREE);
        was_lossy
    }

    /// A number that grows whenever a reader registers.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether a lossy reader counts. Exact if the version has not changed meanwhile.
    pub(crate) fn has_lossy(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `ungate`: lossy readers that have left read
        // everything before.
        self.lossy.load(Ordering::Acquire) != 0
    }

    /// Calls `f` with each of these seats and its number, from number `from` on, until `f` returns
    /// false. Returns the number that it stopped at.
    pub(crate) fn walk(
        &self,
        which: Which,
        from: usize,
        mut f: impl FnMut(usize, &Seat) -> bool,
    ) -> Option<usize> {
        let (first_bucket, first_index) = place(from);
        let used = self.used.load(Ordering::Acquire);
        let mut index = first_index;
        for number in first_bucket..used {
            let bucket = self.bucket(number);
            let base = first_of(number);
            for (word, words) in bucket.words.iter().enumerate().skip(index / 64) {
                // ORDERING: Acquire pairs with `occupy`, and with `ungate`: the slots of a reader
                // that has left are free.
                let mut bits = match which {
                    Which::Strict => words.strict.load(Ordering::Acquire),
                    Which::Lossy => words.lossy.load(Ordering::Acquire),
                    Which::Joined => words.take_joined() & words.strict.load(Ordering::Acquire),
                };
                if word == index / 64 {
                    bits &= u64::MAX << (index % 64);
                }
                while bits != 0 {
                    let index = word * 64 + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    if !f(base + index, &bucket.seats[index]) {
                        return Some(base + index);
                    }
                }
            }
            index = 0;
        }
        None
    }

    /// The strict reader that is furthest behind; the last if there are several.
    pub(crate) fn slowest(&self) -> Option<Slowest> {
        self.slowest_of(Which::Strict)
    }

    /// The slowest of these strict readers; the last if there are several.
    pub(crate) fn slowest_of(&self, which: Which) -> Option<Slowest> {
        let mut slowest: Option<Slowest> = None;
        self.walk(which, 0, |seat, place| {
            let progress = place.progress();
            let position = progress.position();
            let is_behind = slowest.is_none_or(|slowest| position <= slowest.position);
            // By now a lossy reader may have a seat whose bit was a strict reader's.
            if !progress.is_lossy() && is_behind {
                slowest = Some(Slowest { position, seat });
            }
            true
        });
        slowest
    }

    /// The number of seats that there may be to walk over.
    pub(crate) fn len(&self) -> usize {
        first_of(self.used.load(Ordering::Relaxed))
    }
}

/// The bucket of a seat, and its index there.
#[inline]
fn place(number: usize) -> (usize, usize) {
    let bucket = (number / FIRST + 1).ilog2() as usize;
    (bucket, number - first_of(bucket))
}

/// The number of a bucket's first seat.
#[inline]
fn first_of(bucket: usize) -> usize {
    FIRST * ((1 << bucket) - 1)
}

#[cfg(test)]
mod tests {
    use super::{FIRST, Progress, Seats, first_of, place};

    #[test]
    fn seats_fill_their_buckets_one_after_another() {
        let mut number = 0;
        for bucket in 0..8 {
            assert_eq!(first_of(bucket), number);
            for index in 0..FIRST << bucket {
                assert_eq!(place(number), (bucket, index));
                number += 1;
            }
        }
    }

    #[test]
    fn lossy_readers_are_counted_until_they_are_removed() {
        let seats = Seats::new();
        let lossy = Progress::lossy(3, false);
        // A strict reader does not count as lossy, however often it is removed.
        seats.occupy(0, Progress::strict(3));
        seats.ungate(0);
        seats.ungate(0);
        assert!(!seats.has_lossy());
        seats.occupy(1, lossy);
        assert!(seats.has_lossy());
        seats.occupy(2, lossy);
        // A reader that is cut off is removed then, and again when it leaves.
        seats.ungate(1);
        assert!(seats.stand_up(1));
        assert!(seats.has_lossy());
        assert!(seats.stand_up(2));
        assert!(!seats.has_lossy());
        assert!(!seats.stand_up(0));
    }
}
