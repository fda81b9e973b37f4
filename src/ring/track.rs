//! The state that senders and readers of a ring share: the slots, how far they are filled, and how
//! far back they are safe.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU8, AtomicU64, Ordering, order};

use super::retention::Retention;
use super::seats::Seats;
use super::shape::Shape;
use super::storage::Storage;

pub(crate) struct Track<T> {
    shape: Shape,
    /// Set in a ring that drops values once they were read.
    pub(crate) retention: Option<Box<Retention>>,
    /// Every position before this was published. An exclusive sender stores it. In a shared ring, a
    /// thread that needs it further on and finds the stamps moves it.
    tail: CachePadded<AtomicU64>,
    claims: CachePadded<Claims>,
    floors: CachePadded<Floors>,
    /// The position where the ring ends, once it has ended. Read often, written once.
    end: CachePadded<AtomicU64>,
    pub(crate) storage: Storage<T>,
    pub(crate) seats: Seats,
    /// In a shared ring, the lap of the last position that was published, for each slot; otherwise
    /// empty.
    stamps: Box<[AtomicU8]>,
    /// The first position of a ring that a test lets begin elsewhere than at 0.
    #[cfg(any(test, fuzzing))]
    start: u64,
}

/// The state that senders of a shared ring agree on.
pub(crate) struct Claims {
    /// The next position that no sender has claimed, with the bit [`CLOSED`].
    pub(crate) next: AtomicU64,
    /// A sender must look at the gate before it claims positions from here on. At most `limit`.
    pub(crate) stop: AtomicU64,
    /// No sender may claim positions from here on.
    pub(crate) limit: AtomicU64,
}

/// The bit of [`Claims::next`] that says that no more positions may be claimed.
pub(crate) const CLOSED: u64 = 1 << 63;

/// How far back readers may still begin.
struct Floors {
    /// Positions before this may be overwritten if no strict reader is there.
    strict: AtomicU64,
    /// Like `strict`, for lossy readers: a whole segment at a time.
    lossy: AtomicU64,
}

impl<T> Track<T> {
    /// A track whose first position is `start`.
    pub(crate) fn new(shape: Shape, is_shared: bool, drop_when_read: bool, start: u64) -> Self {
        let slots = if is_shared {
            shape.capacity() as usize
        } else {
            0
        };
        // The stamps that the slots would have if the ring had reached `start` by itself.
        let stamp = |slot| {
            let lap = shape.lap(start);
            let is_passed = slot < shape.slot(start);
            AtomicU8::new(if is_passed { lap } else { lap.wrapping_sub(1) })
        };
        let drops = drop_when_read && std::mem::needs_drop::<T>();
        let first = || AtomicU64::new(start);
        Self {
            shape,
            retention: drops.then(|| Box::new(Retention::new())),
            tail: CachePadded::new(first()),
            claims: CachePadded::new(Claims {
                next: first(),
                stop: first(),
                limit: first(),
            }),
            floors: CachePadded::new(Floors {
                strict: first(),
                lossy: first(),
            }),
            end: CachePadded::new(AtomicU64::new(u64::MAX)),
            storage: Storage::new(shape),
            seats: Seats::new(),
            stamps: (0..slots).map(stamp).collect(),
            #[cfg(any(test, fuzzing))]
            start,
        }
    }

    #[inline]
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    #[inline]
    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether several threads may send.
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        !self.stamps.is_empty()
    }

    // ---- Publishing ----

    /// Publishes every position before `position`. Called by the sender of an exclusive ring.
    #[inline(always)]
    pub(crate) fn publish(&self, position: u64) {
        // ORDERING: Release pairs with the Acquire in `published`: the values are there.
        self.tail
            .store(position, order!(Release, "tail_is_published_relaxed"));
    }

    /// Stamps the value at `position`. Called by the sender that claimed the position in a shared
    /// ring.
    #[inline(always)]
    pub(crate) fn stamp(&self, position: u64) {
        let lap = self.shape.lap(position);
        // ORDERING: Release pairs with the Acquire in `follow`: the value is there.
        self.stamps[self.shape.slot(position)]
            .store(lap, order!(Release, "stamp_is_stored_relaxed"));
    }

    /// How far everything was published, for a reader that knows that it was up to `known`. In a
    /// shared ring this may be the result of another reader's look, and more may have been
    /// published since. But if it is not beyond `known`, it is the current state.
    #[inline]
    pub(crate) fn published(&self, known: u64) -> u64 {
        // ORDERING: Acquire pairs with the Release in `publish`, and in `follow`.
        let tail = self.tail.load(Ordering::Acquire);
        if tail > known || !self.is_shared() {
            tail
        } else {
            self.follow(tail)
        }
    }

    /// Moves the tail of a shared ring over all that was stamped.
    fn follow(&self, mut tail: u64) -> u64 {
        loop {
            let position = self.stamped(tail);
            let now = if position == tail {
                // The stamp may belong to a later lap: then the tail was moved before.
                self.tail.load(Ordering::Acquire)
            } else {
                // ORDERING: Release: a thread that sees the tail sees every value that was stamped
                // before it.
                let moved = self.tail.compare_exchange(
                    tail,
                    position,
                    order!(AcqRel, "tail_follows_relaxed"),
                    Ordering::Acquire,
                );
                match moved {
                    Ok(_) => return position,
                    Err(now) => now,
                }
            };
            if now == tail {
                return now;
            }
            tail = now;
        }
    }

    /// How far everything was stamped, from `from` on, up to which everything was. No sender claims
    /// a position a lap beyond the tail, or beyond what the gate knows to be stamped. So a stamp
    /// belongs to this lap or to the one before, unless the tail has been moved.
    pub(crate) fn stamped(&self, from: u64) -> u64 {
        let mut position = from;
        // ORDERING: Acquire pairs with the Release in `stamp`.
        while self.stamps[self.shape.slot(position)].load(Ordering::Acquire)
            == self.shape.lap(position)
        {
            position += 1;
        }
        position
    }

    /// Called before positions up to `limit` are claimed: moves the tail within a lap of `limit`.
    /// Everything up to `stamped` was stamped.
    pub(crate) fn keep_tail_within_a_lap(&self, stamped: u64, limit: u64) {
        // Usually readers move the tail. Here there are none, or none that looks.
        if self.tail.load(Ordering::Relaxed) + self.shape.capacity() < limit {
            // ORDERING: as in `follow`.
            self.tail
                .fetch_max(stamped, order!(AcqRel, "tail_is_kept_near_relaxed"));
        }
    }

    /// The position of the next value.
    pub(crate) fn next(&self) -> u64 {
        if self.is_shared() {
            self.claims.next.load(Ordering::Acquire) & !CLOSED
        } else {
            self.tail.load(Ordering::Acquire)
        }
    }

    // ---- Floors ----

    /// Sets how far back readers may begin from now on. The caller then makes a fence.
    pub(crate) fn set_floors(&self, strict: u64, lossy: u64) {
        #[cfg(any(test, fuzzing))]
        let (strict, lossy) = (strict.max(self.start), lossy.max(self.start));
        self.floors.strict.store(strict, Ordering::Relaxed);
        self.floors.lossy.store(lossy, Ordering::Relaxed);
    }

    /// How far back a reader may begin. The reader loads this after it has registered and made a
    /// fence.
    pub(crate) fn floor(&self, is_lossy: bool) -> u64 {
        let floor = if is_lossy {
            self.floors.lossy.load(Ordering::Acquire)
        } else {
            self.floors.strict.load(Ordering::Acquire)
        };
        let retention = self.retention.as_ref();
        retention.map_or(floor, |retention| floor.max(retention.floor()))
    }

    // ---- The end ----

    /// Sets the end: no value is published from `position` on.
    pub(crate) fn set_end(&self, position: u64) {
        // ORDERING: Release pairs with the Acquire in `end`.
        self.end.store(position, Ordering::Release);
    }

    /// Where the ring ends; the greatest number while it has not ended.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Whether nothing more can be sent. The end may not be known yet: it is the position that the
    /// last senders reach.
    pub(crate) fn is_closed(&self) -> bool {
        self.claims.next.load(Ordering::Acquire) & CLOSED != 0 || self.end() != u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::{Shape, Track};

    #[test]
    fn a_reader_follows_a_tail_that_another_reader_has_moved() {
        let track = Track::<u8>::new(Shape::new(4).unwrap(), true, false, 0);
        track.stamp(0);
        assert_eq!(track.follow(0), 1);
        track.stamp(1);
        // This reader still assumes that the tail is 0.
        assert_eq!(track.follow(0), 2);
        // All stamps are there, and the tail has passed them.
        assert_eq!(track.follow(0), 2);
    }
}
