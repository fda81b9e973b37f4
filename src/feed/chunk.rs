//! Up to 64 subscribers, and one word that says which of its seats are taken by live ones.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use super::entry::Entry;
use super::queue::Queue;
use super::record::Place;
use crate::sync::{AtomicPtr, AtomicU64, Ordering, UnsafeCell, mutant};

/// Seats per chunk: one for each bit of the live word.
pub(crate) const SEATS: usize = 64;
/// Seats that lie in the chunk itself. The others are allocated when they are needed first, so that a feed with few
/// subscribers is small.
const NEAR: usize = 4;
const FAR: usize = SEATS - NEAR;

/// A subscriber as deliveries see it.
pub(crate) struct Seat<T> {
    /// The entry's own channel, here once more so that a delivery to it need not touch the entry.
    queue: *const Queue<T>,
    entry: Arc<Entry<T>>,
}

impl<T> Seat<T> {
    pub(crate) fn entry(&self) -> &Arc<Entry<T>> {
        &self.entry
    }

    /// The own channel, if it is one.
    #[inline]
    pub(crate) fn queue(&self) -> Option<&Queue<T>> {
        // SAFETY: null, or the queue that the entry keeps alive as long as it lives itself.
        unsafe { self.queue.as_ref() }
    }
}

type Cell<T> = UnsafeCell<MaybeUninit<Seat<T>>>;

/// A chunk of subscribers.
///
/// **The invariant of the seats.** A seat whose bit in `live` is set is initialized, and stays so until a reaper empties
/// it. Only the registry changes seats, under its lock: it fills an empty one before it sets the bit, and empties one
/// after it has cleared the bit and a [`Grace`](super::record::Grace) observed after that is over. A deliverer reads a
/// seat only in a visit to this chunk, after it saw the bit in that visit.
pub(crate) struct Chunk<T> {
    live: Live,
    key: u32,
    near: [Cell<T>; NEAR],
    far: AtomicPtr<[Cell<T>; FAR]>,
}

// SAFETY: seats are shared and changed as the invariant on the type says; what they hold is `Sync` and `Send` when
// `T: Send`.
unsafe impl<T: Send> Sync for Chunk<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Chunk<T> {}

/// One bit for each seat with a live subscriber. It owns its orderings.
#[derive(Debug)]
pub(crate) struct Live(AtomicU64);

impl Live {
    /// The live seats, for a deliverer in a visit.
    #[inline]
    pub(crate) fn load(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `set`: the seat is filled. That a cleared bit is seen in time is
        // the affair of the fences in `record`.
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, seat: usize) {
        self.0.fetch_or(1 << seat, Ordering::Release);
    }

    fn clear(&self, seat: usize) {
        // ORDERING: a read-modify-write, so that it does not break the release sequence of the other bits.
        self.0.fetch_and(!(1 << seat), Ordering::AcqRel);
    }
}

impl<T> Chunk<T> {
    pub(crate) fn new(key: u32) -> Self {
        Self {
            live: Live(AtomicU64::new(0)),
            key,
            near: std::array::from_fn(|_| UnsafeCell::new(MaybeUninit::uninit())),
            far: AtomicPtr::new(ptr::null_mut()),
        }
    }

    pub(crate) fn key(&self) -> u32 {
        self.key
    }

    pub(crate) fn place(&self) -> Place {
        Place::chunk(self.key)
    }

    #[inline]
    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    #[inline]
    fn cell(&self, seat: usize) -> &Cell<T> {
        if seat < NEAR {
            return &self.near[seat];
        }
        let far = self.far.load(Ordering::Relaxed);
        // SAFETY: `fill` allocates the far seats before it sets the bit of the first of them, and they live as long as
        // the chunk. Whoever comes here saw such a bit with Acquire, or holds the registry's lock.
        unsafe { &(&*far)[seat - NEAR] }
    }

    /// A live seat.
    ///
    /// # Safety
    ///
    /// The caller may read it by the invariant stated on the type, for as long as it uses the reference.
    #[inline]
    pub(crate) unsafe fn seat(&self, seat: usize) -> &Seat<T> {
        // SAFETY: as the caller warrants.
        self.cell(seat)
            .with(|cell| unsafe { (*cell).assume_init_ref() })
    }

    /// Puts an entry into an empty seat and makes it live.
    ///
    /// # Safety
    ///
    /// The caller holds the registry's lock, and the seat is empty.
    pub(crate) unsafe fn fill(&self, seat: usize, entry: Arc<Entry<T>>) {
        if seat >= NEAR && self.far.load(Ordering::Relaxed).is_null() {
            let far: Box<[Cell<T>; FAR]> = Box::new(std::array::from_fn(|_| {
                UnsafeCell::new(MaybeUninit::uninit())
            }));
            self.far.store(Box::into_raw(far), Ordering::Relaxed);
        }
        let queue = entry.queue().map_or(ptr::null(), Arc::as_ptr);
        if mutant!("seat_is_live_before_it_is_filled") {
            self.live.set(seat);
        }
        // SAFETY: the seat is empty, so no deliverer reads it, and the lock keeps others from filling it.
        self.cell(seat)
            .with_mut(|cell| unsafe { (*cell).write(Seat { queue, entry }) });
        self.live.set(seat);
    }

    /// Takes a seat out of the live ones.
    pub(crate) fn cut(&self, seat: usize) {
        self.live.clear(seat);
    }

    /// Empties a seat that is not live.
    ///
    /// # Safety
    ///
    /// The caller holds the registry's lock, the seat was filled and then cut, and a grace observed after that is over.
    pub(crate) unsafe fn empty(&self, seat: usize) -> Arc<Entry<T>> {
        // SAFETY: nobody else reads or writes it by now, and it is initialized until this.
        self.cell(seat)
            .with_mut(|cell| unsafe { (*cell).assume_init_read() })
            .entry
    }
}

impl<T> Drop for Chunk<T> {
    fn drop(&mut self) {
        let far = self.far.load(Ordering::Relaxed);
        if !far.is_null() {
            // SAFETY: made by `Box::into_raw`, and nobody else has the chunk. Seats that are taken have been emptied by
            // the registry.
            drop(unsafe { Box::from_raw(far) });
        }
    }
}
