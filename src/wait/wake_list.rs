//! Waiters that are all woken together: readers that wait for a ring's next value.

use std::mem;
use std::task::Waker;

use super::quietly::{quietly, wake};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, mutant, prefetch, store_load_fence};

/// Marks the end of the chain of free slots.
const NONE: u32 = u32::MAX;

/// For how many waiters a list keeps memory while no or few waiters are in it.
const KEPT: usize = 64;

/// How many wakers ahead memory is prefetched.
const AHEAD: usize = 4;

/// The wakers of waiters for the next event, which wakes all of them.
///
/// A waiter [joins](Self::join), which fences, and looks once more before it waits. A thread that
/// causes an event fences, checks whether [a waiter is in the list](Self::is_waited_on), and if so
/// [wakes all](Self::wake_all). One of the two fences comes first: either the waiter sees the
/// event, or the thread sees the waiter.
///
/// **The invariant.** If a [`ListPlace`] belongs to the current round, its waker is in the list. If
/// it belongs to an earlier round, its waker was taken out to be woken. Only `wake_all` begins a
/// round. It does so under the lock, and takes all wakers out.
///
/// So a waiter that was woken has nothing to remove, and leaves by a look at the round. This
/// differs from a [`WakerSet`](super::WakerSet), where a woken waiter keeps its place in line until
/// it acts: if a thousand tasks are woken for each value, they do not touch a place each.
///
/// The list has memory for as many waiters as are in it, and for as many as were woken last: 32 to
/// 64 bytes for each. It frees the memory of more than [`KEPT`] waiters when the last one leaves,
/// or when few were woken.
#[derive(Debug)]
pub(crate) struct WakeList {
    /// The number of waiters. Written under the lock.
    count: AtomicU32,
    /// How often all waiters were woken, modulo 2^40. Written under the lock.
    round: AtomicU64,
    waiters: Mutex<Waiters>,
}

#[derive(Debug)]
struct Waiters {
    /// A waker, or the number of the next free slot.
    slots: Vec<Result<Waker, u32>>,
    /// The first free slot.
    free: u32,
    /// An empty vector, whose memory is for the next round.
    spare: Vec<Result<Waker, u32>>,
}

/// A waiter's place in a [`WakeList`]: `round << 24 | index`. The default is no place.
///
/// A round's number comes again after 2^40 rounds, a day at ten million a second. Only a waiter
/// that was woken and did not act for exactly that long could mistake its round for the current
/// one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListPlace(u64);

const INDEX_BITS: u32 = 24;
const INDEXES: u64 = 1 << INDEX_BITS;

impl ListPlace {
    const NONE: Self = Self(u64::MAX);

    fn new(round: u64, index: u32) -> Self {
        Self(round << INDEX_BITS | u64::from(index))
    }

    fn round(&self) -> u64 {
        self.0 >> INDEX_BITS
    }

    fn index(&self) -> usize {
        (self.0 & (INDEXES - 1)) as usize
    }
}

impl Default for ListPlace {
    fn default() -> Self {
        Self::NONE
    }
}

impl WakeList {
    pub(crate) fn new() -> Self {
        Self {
            count: AtomicU32::new(0),
            round: AtomicU64::new(0),
            waiters: Mutex::new(Waiters {
                slots: Vec::new(),
                free: NONE,
                spare: Vec::new(),
            }),
        }
    }

    /// Whether the place belongs to the current round. Exact under the lock.
    fn is_current(&self, place: &ListPlace) -> bool {
        *place != ListPlace::NONE && self.round.load(Ordering::Relaxed) == place.round()
    }

    /// Joins the list, unless the waiter is in it with this waker. The waiter must look once more
    /// after this.
    pub(crate) fn join(&self, place: &mut ListPlace, waker: &Waker) {
        if !self.has(place, waker) {
            // Cloned and dropped outside the lock, because that runs user code.
            let waker = waker.clone();
            let replaced = self.put(place, waker);
            drop(replaced);
        }
        // ORDERING: pairs with the fence of a thread that checks whether a waiter is in the list.
        store_load_fence!("list_is_joined_without_fence");
    }

    fn has(&self, place: &ListPlace, waker: &Waker) -> bool {
        if !self.is_current(place) {
            return false;
        }
        let waiters = self.waiters.lock();
        let held = || waiters.slots[place.index()].as_ref();
        self.is_current(place) && held().is_ok_and(|held| held.will_wake(waker))
    }

    /// Puts a waker into the list, or into the place that the waiter has there. Returns the waker
    /// that was in that place.
    fn put(&self, place: &mut ListPlace, waker: Waker) -> Option<Waker> {
        let mut waiters = self.waiters.lock();
        if self.is_current(place) {
            let slot = &mut waiters.slots[place.index()];
            return mem::replace(slot, Ok(waker)).ok();
        }
        *place = ListPlace::new(self.round.load(Ordering::Relaxed), waiters.add(waker));
        let count = self.count.load(Ordering::Relaxed);
        self.count.store(count + 1, Ordering::Relaxed);
        None
    }

    /// Leaves the list, unless the waiter was woken.
    pub(crate) fn leave(&self, place: &mut ListPlace) {
        let place = mem::take(place);
        if place == ListPlace::NONE {
            return;
        }
        // A place of an earlier round stays one. This look may be outdated.
        if !self.is_current(&place) {
            return;
        }
        let mut unused = [Vec::new(), Vec::new()];
        let waker = {
            let mut waiters = self.waiters.lock();
            if !self.is_current(&place) && !mutant!("place_of_an_earlier_round_is_left") {
                return;
            }
            let count = self.count.load(Ordering::Relaxed);
            self.count.store(count - 1, Ordering::Relaxed);
            let waker = waiters.remove(place.index());
            if count == 1 {
                unused = waiters.take_unused();
            }
            waker
        };
        drop(unused);
        // The waiter may be unwinding, and has more to do than this.
        quietly(|| drop(waker));
    }

    /// Whether a waiter is in the list. The caller has made a fence since the event.
    #[inline]
    pub(crate) fn is_waited_on(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// Wakes all waiters, roughly in the order in which they joined.
    #[cold]
    pub(crate) fn wake_all(&self) {
        let mut slots = {
            let mut waiters = self.waiters.lock();
            let next = ListPlace::new(self.round.load(Ordering::Relaxed) + 1, 0);
            self.round.store(next.round(), Ordering::Relaxed);
            self.count.store(0, Ordering::Relaxed);
            waiters.free = NONE;
            let spare = mem::take(&mut waiters.spare);
            mem::replace(&mut waiters.slots, spare)
        };
        for index in 0..slots.len() {
            if let Some(Ok(waker)) = slots.get(index + AHEAD) {
                prefetch(waker.data());
            }
            if let Ok(waker) = mem::replace(&mut slots[index], Err(NONE)) {
                wake(waker);
            }
        }
        let is_far_too_large = slots.capacity() > KEPT && slots.len() < slots.capacity() / 4;
        slots.clear();
        let mut waiters = self.waiters.lock();
        if waiters.spare.capacity() < slots.capacity() && !is_far_too_large {
            waiters.spare = slots;
        }
    }
}

impl Waiters {
    fn add(&mut self, waker: Waker) -> u32 {
        let index = self.free;
        match self.slots.get_mut(index as usize) {
            Some(slot) => {
                if let Err(next) = mem::replace(slot, Ok(waker)) {
                    self.free = next;
                }
                index
            }
            None => {
                let index = self.slots.len();
                assert!(
                    (index as u64) < INDEXES - 1,
                    "fewer than 2^24 wait in one list"
                );
                self.slots.push(Ok(waker));
                index as u32
            }
        }
    }

    /// Takes out the memory that is kept for more than a few waiters. The list has no waiters.
    fn take_unused(&mut self) -> [Vec<Result<Waker, u32>>; 2] {
        if self.slots.capacity() + self.spare.capacity() <= KEPT {
            return [Vec::new(), Vec::new()];
        }
        self.free = NONE;
        [mem::take(&mut self.slots), mem::take(&mut self.spare)]
    }

    fn remove(&mut self, index: usize) -> Option<Waker> {
        let waker = mem::replace(&mut self.slots[index], Err(self.free)).ok();
        self.free = index as u32;
        waker
    }
}

#[cfg(test)]
mod tests;
