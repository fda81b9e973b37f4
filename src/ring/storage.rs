//! The slots of a ring, in segments. This is the only file that touches their memory. The senders
//! (`writer` and `claimant`) and `reader` call its unsafe functions, and say why they may.
//!
//! # Access to slots
//!
//! A *writer* owns the slot of position `p` from when it is allowed to write `p`
//! ([`Gate`](super::gate::Gate)) until it publishes `p`. From then on any number of *readers* may
//! read the slot by shared reference, until the gate allows a writer to write `p + capacity`. The
//! gate does so only when no strict reader is at `p` or before it. A lossy reader that is at `p` or
//! before it has then been moved on, or, if it is reading, has been left the whole segment, and the
//! ring has a spare segment in its place. So a writer and a reader never use one slot at the same
//! time.
//!
//! # Segments
//!
//! The *map* has an entry for each segment of two consecutive laps. Usually both entries of a
//! segment are the same memory. When the gate enters a segment of a new lap while a lossy reader is
//! in the old lap's segment, the new lap's entry may become a spare segment. The old memory is then
//! *left* to its readers, which find it under the old lap's entry. It has a count of users. The
//! sender is a user until all strict readers have passed the segment. Each orphan is a user: a
//! lossy reader that is still reading there by then. The last user drops the values in the segment
//! and puts it into the *pool* of spares.
//!
//! The gate enters one segment at a time, and stops being a user of a left segment before it enters
//! the next. A sender needs a spare only because of a lossy reader that is no orphan. At that time
//! each segment that was left has an orphan among its users. So there are fewer left segments than
//! lossy readers. Each lossy reader adds one spare when it joins, so there is always one. (One
//! exception: another sender thread is still dropping the values of a segment that it was the last
//! user of. Then a sender allocates.) A spare is freed when there are more spares than lossy
//! readers.
//!
//! # Values
//!
//! A slot that is *filled* holds a value, current or old. The value is dropped when another value
//! takes its place, by the thread that sends that value; or with the segment, when its last user
//! leaves it; or when the ring is over.

use std::mem::{self, MaybeUninit};
use std::ptr::{self, NonNull};
use std::slice;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicPtr, AtomicUsize, MODELLED, Mutex, Ordering, UnsafeCell, mutant, order};
use crate::wait::quietly;

use super::shape::{SEGMENTS, Shape};

/// An eighth of a ring's slots.
pub(crate) struct Segment<T> {
    values: Box<[Cell<T>]>,
    /// Whether each slot holds a value. Accessed like the slot itself. May be false for a filled
    /// slot if `T` needs no drop.
    filled: Box<[UnsafeCell<bool>]>,
    /// While the segment no longer belongs to the ring: the number of orphans that read it, plus
    /// one for the sender while it uses it.
    users: AtomicUsize,
}

impl<T> Segment<T> {
    fn new(length: usize) -> Self {
        Self {
            values: (0..length)
                .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
                .collect(),
            filled: (0..length).map(|_| UnsafeCell::new(false)).collect(),
            users: AtomicUsize::new(0),
        }
    }

    /// Takes the value out of a slot, if it holds one.
    ///
    /// # Safety
    ///
    /// Nothing else uses the slot.
    unsafe fn take(&self, offset: usize) -> Option<T> {
        // SAFETY: nothing else uses the slot. A filled slot holds a value, which is taken once.
        unsafe {
            self.filled[offset]
                .with_mut(|filled| mem::take(&mut *filled))
                .then(|| self.values[offset].with_mut(|value| (*value).assume_init_read()))
        }
    }

    /// Drops all values. A panic of a drop goes no further.
    ///
    /// # Safety
    ///
    /// Nothing else uses the segment.
    unsafe fn clear(&self) {
        if !mem::needs_drop::<T>() {
            return;
        }
        for offset in 0..self.values.len() {
            // SAFETY: the caller guarantees this.
            let value = unsafe { self.take(offset) };
            quietly(|| drop(value));
        }
    }
}

impl<T> Drop for Segment<T> {
    fn drop(&mut self) {
        if !mem::needs_drop::<T>() {
            return;
        }
        /// Drops the remaining values if dropping one value panics.
        struct DropRest<'a, T>(&'a Segment<T>, usize);
        impl<T> Drop for DropRest<'_, T> {
            fn drop(&mut self) {
                while self.1 < self.0.values.len() {
                    let offset = self.1;
                    self.1 += 1;
                    let rest = DropRest(self.0, self.1);
                    // SAFETY: nothing else has the segment any more.
                    drop(unsafe { self.0.take(offset) });
                    mem::forget(rest);
                }
            }
        }
        drop(DropRest(self, 0));
    }
}

/// The value of a slot, if the slot holds one.
type Cell<T> = UnsafeCell<MaybeUninit<T>>;

/// A segment that is alive while this is used: it is in the map, or the caller is a user of it.
pub(crate) struct SegmentRef<T> {
    segment: NonNull<Segment<T>>,
    /// Duplicated here to save a dereference.
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
    /// The segment is alive.
    #[inline(always)]
    unsafe fn new(segment: NonNull<Segment<T>>) -> Self {
        // SAFETY: the caller guarantees this.
        let values = NonNull::from(&*unsafe { segment.as_ref() }.values).cast();
        Self { segment, values }
    }

    /// Puts a value into a slot, and returns the old value.
    ///
    /// # Safety
    ///
    /// The ring is alive, and the caller is the slot's writer (see the top of this file).
    #[inline(always)]
    pub(crate) unsafe fn replace(self, offset: usize, value: T) -> Option<T> {
        // SAFETY: the ring is alive, and with it its segments. An offset is below the segment's
        // length, by `Shape`, and no other thread touches the slot.
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

    /// Takes the value out of a slot, if it holds one.
    ///
    /// # Safety
    ///
    /// Nothing else uses the slot.
    pub(crate) unsafe fn take(self, offset: usize) -> Option<T> {
        // SAFETY: the caller has a right to the slot, so the segment is alive. The caller
        // guarantees the rest.
        unsafe { self.segment.as_ref().take(offset) }
    }

    /// The old value of a slot, or the default value if the slot is empty, to be overwritten in
    /// place.
    ///
    /// # Safety
    ///
    /// As for `replace`. The reference must end before the slot is published.
    pub(crate) unsafe fn old_or_default<'a>(self, offset: usize) -> &'a mut T
    where
        T: Default,
    {
        // SAFETY: as in `replace`. The value is initialized before the reference is made.
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

    /// The values in `count` slots, to be read one after another.
    ///
    /// # Safety
    ///
    /// The ring is alive, the positions were published, and the gate lets no writer write the slots
    /// again while the result is used.
    #[inline(always)]
    pub(crate) unsafe fn values<'a>(self, offset: usize, count: usize) -> Values<'a, T> {
        // SAFETY: as for `replace`. All slots are in this segment.
        unsafe {
            debug_assert!(offset + count <= self.segment.as_ref().values.len());
            Values(slice::from_raw_parts(self.values.add(offset).as_ptr(), count).iter())
        }
    }
}

/// Values in consecutive slots, which were published and stay for `'a`.
pub(crate) struct Values<'a, T>(slice::Iter<'a, Cell<T>>);

impl<T> Values<'_, T> {
    /// No values.
    #[inline(always)]
    pub(crate) fn none() -> Self {
        Self([].iter())
    }

    /// How many of them were not taken yet.
    #[inline(always)]
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }
}

impl<'a, T> Iterator for Values<'a, T> {
    type Item = Value<'a, T>;

    #[inline(always)]
    fn next(&mut self) -> Option<Value<'a, T>> {
        self.0.next().map(Value)
    }
}

/// A value that was published and stays for `'a`.
pub(crate) struct Value<'a, T>(&'a Cell<T>);

impl<T> Value<'_, T> {
    /// Calls `f` with the value.
    #[inline(always)]
    pub(crate) fn read<R>(self, f: impl FnOnce(&T) -> R) -> R {
        // SAFETY: a published value is initialized, and stays for as long as this lives (by
        // `SegmentRef::values`).
        self.0.with(|slot| f(unsafe { (*slot).assume_init_ref() }))
    }
}

/// In a model: asserts that the map still has segments.
#[inline(always)]
fn assert_not_freed<T>(segment: *mut Segment<T>) {
    assert!(
        !MODELLED || !segment.is_null(),
        "a segment is used after the ring was freed"
    );
}

/// All segments of a ring.
pub(crate) struct Storage<T> {
    /// The segments of two laps, by [`Shape::entry`].
    map: [AtomicPtr<Segment<T>>; 2 * SEGMENTS],
    shape: Shape,
    spares: CachePadded<Mutex<Spares<T>>>,
}

/// Segments besides those of the map.
struct Spares<T> {
    pool: Vec<SegmentRef<T>>,
    /// How many spares there are: in the pool, or left to their users.
    count: usize,
    /// How many spares there should be.
    wanted: usize,
}

// SAFETY: many threads use values by reference, and any of them may drop values: `T: Send + Sync`.
// The top of this file says which thread touches a slot when.
unsafe impl<T: Send + Sync> Send for Storage<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Storage<T> {}

/// The map's entry for a position at the time of the lookup. The segment may have been freed since.
pub(crate) struct Found<T>(*mut Segment<T>);

impl<T> Clone for Found<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Found<T> {}

impl<T> Found<T> {
    /// # Safety
    ///
    /// The segment is alive.
    #[inline(always)]
    pub(crate) unsafe fn get(self) -> SegmentRef<T> {
        assert_not_freed(self.0);
        // SAFETY: the caller guarantees this. The map has a segment for each of a shape's entries
        // until the ring is over.
        unsafe { SegmentRef::new(NonNull::new_unchecked(self.0)) }
    }
}

impl<T> Storage<T> {
    pub(crate) fn new(shape: Shape) -> Self {
        let map = [const { ptr::null_mut() }; 2 * SEGMENTS].map(AtomicPtr::new);
        for number in 0..shape.segments() {
            let segment = allocate(shape).segment.as_ptr();
            map[number].store(segment, Ordering::Relaxed);
            map[number + shape.segments()].store(segment, Ordering::Relaxed);
        }
        let spares = Spares {
            pool: Vec::new(),
            count: 0,
            wanted: 0,
        };
        Self {
            map,
            shape,
            spares: CachePadded::new(Mutex::new(spares)),
        }
    }

    /// The segment of a position. The caller may use it only once it is known to be alive.
    #[inline]
    pub(crate) fn find(&self, position: u64) -> Found<T> {
        // ORDERING: Acquire pairs with the Release in `put_in_place`.
        Found(self.map[self.shape.entry(position) & (2 * SEGMENTS - 1)].load(Ordering::Acquire))
    }

    /// The segment of a position.
    ///
    /// The caller has pinned the position as a strict reader, may write it, or has the gate. During
    /// that time the segment is in the map.
    #[inline]
    pub(crate) fn segment(&self, position: u64) -> SegmentRef<T> {
        // SAFETY: a segment in the map is alive.
        unsafe { self.find(position).get() }
    }

    /// Makes `segment` the ring's segment for `position`, of a new lap. Called by the thread that
    /// has the gate.
    pub(crate) fn put_in_place(&self, position: u64, segment: SegmentRef<T>) {
        let entry = &self.map[self.shape.entry(position)];
        let segment = segment.segment.as_ptr();
        let now = entry.load(Ordering::Relaxed);
        assert_not_freed(now);
        if now != segment {
            // ORDERING: Release pairs with the Acquire in `find`: the threads that replace the old
            // values of its slots see them.
            entry.store(segment, order!(Release, "spare_is_put_in_place_relaxed"));
        }
    }

    /// Makes sure that there are at least this many spare segments.
    pub(crate) fn provide(&self, spares: usize) {
        loop {
            {
                let mut all = self.spares.lock();
                all.wanted = spares;
                if all.count >= spares {
                    return;
                }
                all.count += 1;
            }
            // Outside the lock, because senders take it.
            let segment = allocate(self.shape);
            self.spares.lock().pool.push(segment);
        }
    }

    /// Reduces the number of spare segments to this. Frees the others, or leaves that to their last
    /// users.
    pub(crate) fn withdraw(&self, spares: usize) {
        let surplus = {
            let mut all = self.spares.lock();
            all.wanted = spares;
            let surplus = all.count.saturating_sub(spares).min(all.pool.len());
            all.count -= surplus;
            let rest = all.pool.len() - surplus;
            all.pool.split_off(rest)
        };
        surplus.into_iter().for_each(free);
    }

    /// Takes a spare segment, which holds no values. Called only by the thread that has the gate.
    pub(crate) fn take_spare(&self) -> SegmentRef<T> {
        {
            let mut all = self.spares.lock();
            if let Some(segment) = all.pool.pop() {
                return segment;
            }
            all.count += 1;
        }
        allocate(self.shape)
    }

    /// Gives back a spare segment that holds no values and has no users.
    pub(crate) fn give_back(&self, segment: SegmentRef<T>) {
        let mut all = self.spares.lock();
        if all.count > all.wanted {
            all.count -= 1;
            drop(all);
            free(segment);
        } else {
            all.pool.push(segment);
        }
    }

    /// Adds a user to a segment that is left, or is about to be.
    pub(crate) fn enter(&self, segment: SegmentRef<T>) {
        // SAFETY: the caller uses it, so it is alive.
        unsafe { segment.segment.as_ref() }
            .users
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps the segment in the ring after all. Only the caller has entered it.
    pub(crate) fn stay(&self, segment: SegmentRef<T>) {
        // SAFETY: the caller uses it, so it is alive.
        unsafe { segment.segment.as_ref() }
            .users
            .store(0, Ordering::Relaxed);
    }

    /// Removes a user. The last user drops the segment's values, which runs user code, and gives
    /// the segment back.
    pub(crate) fn exit(&self, segment: SegmentRef<T>) {
        // SAFETY: the caller uses it, so it is alive.
        let memory = unsafe { segment.segment.as_ref() };
        // ORDERING: AcqRel: all reads of the segment come before its next use.
        if memory.users.fetch_sub(1, Ordering::AcqRel) == 1
            || mutant!("any_orphan_gives_the_segment_back")
        {
            // SAFETY: the segment was left, and nothing uses it any more.
            unsafe { memory.clear() };
            self.give_back(segment);
        }
    }

    /// Frees everything, with all values.
    ///
    /// # Safety
    ///
    /// Nothing uses any segment, or looks one up, any more.
    pub(crate) unsafe fn free(&self) {
        let mut segments: Vec<_> = self
            .map
            .iter()
            // ORDERING: a thread that has the right to free has synchronized with all others.
            .filter_map(|entry| NonNull::new(entry.swap(ptr::null_mut(), Ordering::Relaxed)))
            .collect();
        segments.sort_unstable();
        segments.dedup();
        let pool = mem::take(&mut self.spares.lock().pool);
        let spares = pool.into_iter().map(|spare| spare.segment);
        let all = segments.into_iter().chain(spares);
        // SAFETY: allocated as boxes, and each listed once. The caller guarantees that nothing uses
        // them.
        let all: Vec<_> = all
            .map(|segment| unsafe { Box::from_raw(segment.as_ptr()) })
            .collect();
        // If dropping the values of one panics, the others are dropped too.
        drop(all);
    }
}

fn allocate<T>(shape: Shape) -> SegmentRef<T> {
    let segment = Box::new(Segment::new(shape.segment_len()));
    // SAFETY: it is alive from now on, until the storage frees it.
    unsafe { SegmentRef::new(NonNull::from(Box::leak(segment))) }
}

/// Frees a spare segment, which nothing uses.
fn free<T>(segment: SegmentRef<T>) {
    // SAFETY: allocated as a box. The caller has taken it out of the pool, or was its last user.
    drop(unsafe { Box::from_raw(segment.segment.as_ptr()) });
}

impl<T> Drop for Storage<T> {
    fn drop(&mut self) {
        // SAFETY: no user is left.
        unsafe { self.free() };
    }
}

#[cfg(test)]
mod tests {
    use super::{Shape, Storage};

    fn counts(storage: &Storage<u8>) -> (usize, usize) {
        let spares = storage.spares.lock();
        (spares.pool.len(), spares.count)
    }

    #[test]
    fn there_are_as_many_spare_segments_as_requested() {
        let storage = Storage::<u8>::new(Shape::new(16).unwrap());
        for (spares, expected) in [(0, 0), (1, 1), (1, 1), (3, 3), (2, 3)] {
            storage.provide(spares);
            assert_eq!(counts(&storage), (expected, expected));
        }
        let taken = [(); 3].map(|()| storage.take_spare());
        // Spares that are in use count too.
        storage.provide(3);
        assert_eq!(counts(&storage), (0, 3));
        storage.give_back(taken[1]);
        assert_eq!(counts(&storage), (1, 3));
        // A spare that is no longer needed is freed: now, or when it comes back.
        storage.withdraw(1);
        assert_eq!(counts(&storage), (0, 2));
        storage.give_back(taken[0]);
        assert_eq!(counts(&storage), (0, 1));
        storage.give_back(taken[2]);
        assert_eq!(counts(&storage), (1, 1));
        storage.withdraw(0);
        assert_eq!(counts(&storage), (0, 0));
        // A segment that is taken when there is no spare is freed in the end.
        let taken = storage.take_spare();
        assert_eq!(counts(&storage), (0, 1));
        storage.give_back(taken);
        assert_eq!(counts(&storage), (0, 0));
    }

    #[test]
    fn a_segment_that_stays_has_no_users() {
        let storage = Storage::<u8>::new(Shape::new(16).unwrap());
        storage.provide(1);
        let segment = storage.segment(0);
        storage.enter(segment);
        storage.stay(segment);
        // Later the ring goes on without it. The last user gives it back.
        let spare = storage.take_spare();
        storage.put_in_place(0, spare);
        storage.put_in_place(16, spare);
        storage.enter(segment);
        storage.enter(segment);
        storage.exit(segment);
        assert_eq!(counts(&storage), (0, 1));
        storage.exit(segment);
        assert_eq!(counts(&storage), (1, 1));
    }
}
