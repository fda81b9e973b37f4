//! Drops values as soon as all readers have passed them, in rings with `drop_when_read`.
//!
//! A thread may wait for a value to be dropped. For example, a request in the ring may carry the
//! sender of its answer. In such a ring the last thread to pass a value takes it out of its slot
//! and drops it: the reader that was furthest behind, when it stops reading or leaves; or the
//! sender, if no reader is left.
//!
//! # Which thread may take a value out of a slot
//!
//! Slots of positions before `passed` are for the writers of the next lap, and for readers that the
//! ring left behind. Slots from `passed` on may be emptied, under its lock, by a thread that has
//! seen that all readers that count are beyond them. The gate moves `passed` on, under the lock,
//! before it lets writers in. So writers never meet a thread that empties a slot.
//!
//! # No reader is overlooked
//!
//! A look stores the position of the slowest reader (`slowest`), fences, and checks whether that is
//! still so. A reader that moves on stores its position, fences, and checks whether `slowest` is at
//! or beyond its old position. So a reader that was seen at its old position finds that it must
//! look when it moves on. A sender does the same after it has published.
//!
//! A reader that registers meanwhile either registers at the floor that was stored first, or the
//! look sees it, as with the [gate](super::gate).

use std::ops::DerefMut;

use crate::sync::{AtomicU64, Mutex, Ordering, mutant, store_load_fence};
use crate::wait::quietly;

use super::seat::Progress;
use super::seats::Which;
use super::track::Track;

/// How many values are taken out together, to be dropped outside the lock.
const AT_ONCE: usize = 32;

pub(crate) struct Retention {
    passed: Mutex<u64>,
    /// All readers are at this position or beyond, or will look when they move on.
    slowest: AtomicU64,
    /// Readers register at this position or beyond.
    floor: AtomicU64,
}

impl Retention {
    pub(crate) fn new() -> Self {
        Self {
            passed: Mutex::new(0),
            slowest: AtomicU64::new(u64::MAX),
            floor: AtomicU64::new(0),
        }
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// Called when the ring is about to be freed: from now on no thread takes a value out of a
    /// slot.
    pub(crate) fn end(&self) {
        *self.passed.lock() = u64::MAX;
    }

    /// Locks `passed` for the gate, which may leave segments to orphans while it holds the lock.
    pub(crate) fn lock(&self) -> impl DerefMut<Target = u64> + '_ {
        self.passed.lock()
    }

    /// Called when a reader at `from` has moved on, or a value was published there. If that made a
    /// difference, drops the values that all readers have passed.
    #[cold]
    #[inline(never)]
    pub(crate) fn moved<T>(&self, track: &Track<T>, from: u64) {
        // ORDERING: pairs with the fence in `look`.
        store_load_fence!("value_is_passed_without_fence");
        if from <= self.slowest.load(Ordering::Relaxed) {
            self.drop_passed(track);
        }
    }

    /// Drops all values that all readers have passed.
    #[cold]
    #[inline(never)]
    pub(crate) fn drop_passed<T>(&self, track: &Track<T>) {
        loop {
            let mut values = Vec::new();
            let has_more = {
                let mut passed = self.passed.lock();
                let (until, has_more) = self.look(track);
                while *passed < until && values.len() < AT_ONCE {
                    let offset = track.shape().offset(*passed);
                    // SAFETY: because of the lock, no thread writes the slot or leaves the segment
                    // to orphans, and all readers are beyond it.
                    let value = unsafe { track.storage.segment(*passed).take(offset) };
                    values.extend(value);
                    *passed += 1;
                }
                has_more || *passed < until
            };
            // Dropping the values runs user code.
            for value in values {
                quietly(|| drop(value));
            }
            if !has_more {
                return;
            }
        }
    }

    /// The position up to which all readers have passed the published values, and whether more was
    /// published meanwhile. Called under the lock.
    fn look<T>(&self, track: &Track<T>) -> (u64, bool) {
        let published = track.published(u64::MAX);
        let mut seen = None;
        loop {
            let version = track.seats.version();
            let slowest = slowest(track);
            if seen == Some((version, slowest)) {
                let now = track.published(u64::MAX);
                return (
                    slowest.min(published),
                    slowest > published && now > published,
                );
            }
            self.floor
                .fetch_max(slowest.min(published), Ordering::Relaxed);
            self.slowest.store(slowest, Ordering::Relaxed);
            // ORDERING: pairs with the fence in `moved`, and in `Seats::announce`.
            store_load_fence!("retention_looks_without_fence");
            seen = Some((version, slowest));
            if mutant!("retention_looks_once") {
                return (slowest.min(published), false);
            }
        }
    }
}

/// The position of the reader that is furthest behind. Lossy readers count, except orphans.
fn slowest<T>(track: &Track<T>) -> u64 {
    let mut slowest = u64::MAX;
    for which in [Which::Strict, Which::Lossy] {
        track.seats.walk(which, 0, |_, seat| {
            let progress = seat.progress();
            if !progress.is_orphan() {
                slowest = slowest.min(progress.position());
            }
            true
        });
    }
    if slowest > Progress::LAST - 1 {
        u64::MAX
    } else {
        slowest
    }
}
