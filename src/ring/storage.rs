//! The slots of a ring, in segments: the one file that touches their memory. `writer` and `claimant`, who write, and `reader`
//! call its unsafe functions, and say why they may.
//!
//! # Who may touch a slot
//!
//! A *writer* owns the slot of position `p` from when it is allowed to write `p` ([`Gate`](super::gate::Gate)) until it
//! publishes `p`. From then on any number of *readers* may read it by shared reference, until the gate allows a writer to
//! write `p + capacity`. The gate does so only when no strict reader is at `p` or before it; a lossy reader that is has
//! been moved on, or, while it reads, has been left the whole segment, in whose place the ring has got a spare one. So
//! writers and readers of one slot never meet.
//!
//! # Segments
//!
//! The ring's slots are those of the segments in `map`. Other segments are in the *pool*, or are being read by readers
//! that the ring went on without (orphans); the last of these to stop puts it into the pool. There are as many of these
//! others as there have been lossy readers at one time, which is one more than there can be orphans when a sender needs
//! one: it needs it for a reader that is not an orphan yet. They live for as long as the ring.
//!
//! # Values
//!
//! A slot that is *filled* holds a value, current or old. It is dropped when another takes its place, on the thread that
//! sends that, or with the ring.

use std::mem::{self, MaybeUninit};
use std::ptr::{self, NonNull};
use std::slice;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicPtr, AtomicUsize, Mutex, Ordering, UnsafeCell, mutant, order};

use super::shape::{SEGMENTS, Shape};

/// An eighth of a ring's slots.
pub(crate) struct Segment<T> {
    values: Box<[Cell<T>]>,
    /// Whether each slot holds a value. Accessed like the slot itself. May be false for a filled slot if `T` needs no drop.
    filled: Box<[UnsafeCell<bool>]>,
    /// While it is no longer the ring's: how many orphans read it, and the sender that is at it.
    users: AtomicUsize,
    /// The next in the pool.
    next: AtomicPtr<Segment<T>>,
}

impl<T> Segment<T> {
    fn new(length: usize) -> Self {
        Self {
            values: (0..length)
                .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
                .collect(),
            filled: (0..length).map(|_| UnsafeCell::new(false)).collect(),
            users: AtomicUsize::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

impl<T> Drop for Segment<T> {
    fn drop(&mut self) {
        if !mem::needs_drop::<T>() {
            return;
        }
        /// Goes on with the rest when dropping one value panics.
        struct DropRest<'a, T>(&'a Segment<T>, usize);
        impl<T> Drop for DropRest<'_, T> {
            fn drop(&mut self) {
                while self.1 < self.0.values.len() {
                    let index = self.1;
                    self.1 += 1;
                    let rest = DropRest(self.0, self.1);
                    // SAFETY: nobody else has the segment any more, and each index is visited once.
                    unsafe {
                        if self.0.filled[index].with(|filled| *filled) {
                            self.0.values[index].with_mut(|value| (*value).assume_init_drop());
                        }
                    }
                    mem::forget(rest);
                }
            }
        }
        drop(DropRest(self, 0));
    }
}

/// A slot's value, if it holds one.
type Cell<T> = UnsafeCell<MaybeUninit<T>>;

/// A segment that lives for as long as the ring. Its methods' callers hold the ring.
pub(crate) struct SegmentRef<T> {
    segment: NonNull<Segment<T>>,
    /// The segment's values, at hand.
    values: NonNull<Cell<T>>,
}

impl<T> Clone for SegmentRef<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SegmentRef<T> {}

// SAFETY: a reference to what is shared between threads as `Storage` is.
unsafe impl<T: Send + Sync> Send for SegmentRef<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for SegmentRef<T> {}

impl<T> SegmentRef<T> {
    /// # Safety
    ///
    /// The segment lives.
    #[inline(always)]
    unsafe fn new(segment: NonNull<Segment<T>>) -> Self {
        // SAFETY: as our caller's.
        let values = NonNull::from(&*unsafe { segment.as_ref() }.values).cast();
        Self { segment, values }
    }

    /// Puts a value into a slot, and gives the old one.
    ///
    /// # Safety
    ///
    /// The ring lives, and the caller is the slot's writer (see the top of this file).
    #[inline(always)]
    pub(crate) unsafe fn replace(self, offset: usize, value: T) -> Option<T> {
        // SAFETY: the ring lives, and with it its segments. An offset is below the segment's length, by `Shape`; and
        // nobody else touches the slot.
        unsafe {
            debug_assert!(offset < self.segment.as_ref().values.len());
            let cell = self.values.add(offset).as_ref();
            if !mem::needs_drop::<T>() {
                cell.with_mut(|slot| (*slot).write(value));
                return None;
            }
            let filled = self.segment.as_ref().filled.get_unchecked(offset);
            let was_filled = filled.with_mut(|filled| mem::replace(&mut *filled, true));
            cell.with_mut(|slot| {
                let old = mem::replace(&mut *slot, MaybeUninit::new(value));
                was_filled.then(|| old.assume_init())
            })
        }
    }

    /// The old value of a slot, or the default one if it has none, to be written over in place.
    ///
    /// # Safety
    ///
    /// As for `replace`; and the reference ends before the slot is published.
    pub(crate) unsafe fn old_or_default<'a>(self, offset: usize) -> &'a mut T
    where
        T: Default,
    {
        // SAFETY: as in `replace`. The reference is to what is then initialized.
        unsafe {
            let segment = self.segment.as_ref();
            if !segment.filled[offset].with(|filled| *filled) {
                let value = T::default();
                segment.values[offset].with_mut(|slot| (*slot).write(value));
                segment.filled[offset].with_mut(|filled| *filled = true);
            }
            segment.values[offset].with_mut(|slot| (*slot).assume_init_mut())
        }
    }

    /// The values in so many slots, to be read one after another.
    ///
    /// # Safety
    ///
    /// The ring lives, the positions were published, and the gate lets nobody write the slots again for as long as this is
    /// used.
    #[inline(always)]
    pub(crate) unsafe fn values<'a>(
        self,
        offset: usize,
        count: usize,
    ) -> impl Iterator<Item = Value<'a, T>>
    where
        T: 'a,
    {
        // SAFETY: as for `replace`: they are all in this segment.
        unsafe {
            debug_assert!(offset + count <= self.segment.as_ref().values.len());
            slice::from_raw_parts(self.values.add(offset).as_ptr(), count)
                .iter()
                .map(Value)
        }
    }
}

/// A value that was published and stays for `'a`.
pub(crate) struct Value<'a, T>(&'a Cell<T>);

impl<T> Value<'_, T> {
    /// Calls `f` with it.
    #[inline(always)]
    pub(crate) fn read(self, f: impl FnOnce(&T)) {
        // SAFETY: what was published is initialized, and stays for as long as this lives (by `SegmentRef::values`).
        self.0.with(|slot| f(unsafe { (*slot).assume_init_ref() }));
    }
}

/// All segments of a ring.
pub(crate) struct Storage<T> {
    /// The ring's, by number.
    map: [AtomicPtr<Segment<T>>; SEGMENTS],
    shape: Shape,
    /// Segments that nobody uses. One thread at a time takes from it; any puts into it.
    pool: CachePadded<AtomicPtr<Segment<T>>>,
    all: Mutex<Vec<SegmentRef<T>>>,
}

// SAFETY: values go to many threads by reference and are dropped by any of them: `T: Send + Sync`. Who touches what, when,
// is told at the top of this file.
unsafe impl<T: Send + Sync> Send for Storage<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Storage<T> {}

impl<T> Storage<T> {
    pub(crate) fn new(shape: Shape) -> Self {
        let mut all = Vec::with_capacity(shape.segments());
        let map = std::array::from_fn(|number| {
            if number < shape.segments() {
                let segment = allocate(shape);
                all.push(segment);
                AtomicPtr::new(segment.segment.as_ptr())
            } else {
                AtomicPtr::new(ptr::null_mut())
            }
        });
        Self {
            map,
            shape,
            pool: CachePadded::new(AtomicPtr::new(ptr::null_mut())),
            all: Mutex::new(all),
        }
    }

    /// The segment that a position is in now.
    #[inline]
    pub(crate) fn segment(&self, position: u64) -> SegmentRef<T> {
        let number = self.shape.segment(position);
        // ORDERING: Acquire pairs with the Release in `put_in_place`.
        let segment = self.map[number & (SEGMENTS - 1)].load(Ordering::Acquire);
        // SAFETY: a shape's segment numbers are those for which the map has a segment, for good.
        unsafe { SegmentRef::new(NonNull::new_unchecked(segment)) }
    }

    /// The ring's segment for that position is another one from now on.
    pub(crate) fn put_in_place(&self, position: u64, segment: SegmentRef<T>) {
        // ORDERING: Release pairs with the Acquire in `segment`: its slots' old values are visible to who replaces them.
        self.map[self.shape.segment(position)].store(
            segment.segment.as_ptr(),
            order!(Release, "spare_is_put_in_place_relaxed"),
        );
    }

    /// Makes sure that there are so many segments besides the ring's own.
    pub(crate) fn provide(&self, spares: usize) {
        let mut all = self.all.lock();
        while all.len() < self.shape.segments() + spares {
            let segment = allocate(self.shape);
            all.push(segment);
            self.put_into_pool(segment);
        }
    }

    /// Takes a segment out of the pool. Only for the one thread that has the gate.
    pub(crate) fn take_spare(&self) -> Option<SegmentRef<T>> {
        let mut head = self.pool.load(Ordering::Acquire);
        loop {
            let segment = NonNull::new(head)?;
            // SAFETY: segments live for as long as the ring.
            let next = unsafe { segment.as_ref() }.next.load(Ordering::Relaxed);
            // Nobody else takes, so what was the head still has the same successor if it is the head.
            // ORDERING: Acquire pairs with the Release in `put_into_pool`.
            match self
                .pool
                .compare_exchange_weak(head, next, Ordering::Acquire, Ordering::Acquire)
            {
                // SAFETY: as above.
                Ok(_) => return Some(unsafe { SegmentRef::new(segment) }),
                Err(now) => head = now,
            }
        }
    }

    pub(crate) fn put_into_pool(&self, segment: SegmentRef<T>) {
        let mut head = self.pool.load(Ordering::Relaxed);
        loop {
            // SAFETY: segments live for as long as the ring.
            let next = unsafe { &segment.segment.as_ref().next };
            next.store(head, Ordering::Relaxed);
            // ORDERING: Release pairs with the Acquire in `take_spare`: the readers are done with it.
            match self.pool.compare_exchange_weak(
                head,
                segment.segment.as_ptr(),
                order!(Release, "segment_is_pooled_relaxed"),
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// One more uses a segment that is, or is about to be, no longer the ring's.
    pub(crate) fn enter(&self, segment: SegmentRef<T>) {
        // SAFETY: segments live for as long as the ring.
        unsafe { segment.segment.as_ref() }
            .users
            .fetch_add(1, Ordering::Relaxed);
    }

    /// It stays the ring's after all, and nobody but the caller had entered it.
    pub(crate) fn stay(&self, segment: SegmentRef<T>) {
        // SAFETY: segments live for as long as the ring.
        unsafe { segment.segment.as_ref() }
            .users
            .store(0, Ordering::Relaxed);
    }

    /// One uses it no longer; the last puts it into the pool.
    pub(crate) fn exit(&self, segment: SegmentRef<T>) {
        // SAFETY: segments live for as long as the ring.
        let users = unsafe { &segment.segment.as_ref().users };
        // ORDERING: AcqRel: all reading of it comes before its being used again.
        if users.fetch_sub(1, Ordering::AcqRel) == 1 || mutant!("any_orphan_gives_the_segment_back")
        {
            self.put_into_pool(segment);
        }
    }
}

fn allocate<T>(shape: Shape) -> SegmentRef<T> {
    let segment = Box::new(Segment::new(shape.segment_len()));
    // SAFETY: it lives from now on, until the storage frees it.
    unsafe { SegmentRef::new(NonNull::from(Box::leak(segment))) }
}

impl<T> Drop for Storage<T> {
    fn drop(&mut self) {
        /// Goes on with the rest when dropping the values of one panics.
        struct FreeRest<T>(Vec<SegmentRef<T>>);
        impl<T> Drop for FreeRest<T> {
            fn drop(&mut self) {
                while let Some(segment) = self.0.pop() {
                    let mut rest = FreeRest(mem::take(&mut self.0));
                    // SAFETY: allocated as a box, each listed once, and nobody is left who could use it.
                    drop(unsafe { Box::from_raw(segment.segment.as_ptr()) });
                    self.0 = mem::take(&mut rest.0);
                }
            }
        }
        drop(FreeRest(mem::take(&mut *self.all.lock())));
    }
}

#[cfg(test)]
mod tests {
    use super::{Shape, Storage};

    #[test]
    fn there_are_as_many_spare_segments_as_were_asked_for() {
        let storage = Storage::<u8>::new(Shape::new(16).unwrap());
        assert!(storage.take_spare().is_none());
        for spares in [0, 1, 1, 3, 2] {
            storage.provide(spares);
        }
        let taken: Vec<_> = std::iter::from_fn(|| storage.take_spare()).collect();
        assert_eq!(taken.len(), 3);
        // Those that are in use count too.
        storage.provide(3);
        assert!(storage.take_spare().is_none());
        storage.put_into_pool(taken[1]);
        assert!(storage.take_spare().is_some());
        assert!(storage.take_spare().is_none());
    }

    #[test]
    fn a_segment_that_stays_is_used_by_nobody() {
        let storage = Storage::<u8>::new(Shape::new(16).unwrap());
        let segment = storage.segment(0);
        storage.enter(segment);
        storage.stay(segment);
        // Later the ring does go on without it: the last to stop reading it gives it back.
        storage.enter(segment);
        storage.enter(segment);
        storage.exit(segment);
        assert!(storage.take_spare().is_none());
        storage.exit(segment);
        assert!(storage.take_spare().is_some());
    }
}
