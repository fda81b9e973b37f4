//! A thread's place on a bus: the words of its visits, and its reference to the table.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::core::table::Table;
use crate::sync::{
    atomic::{AtomicBool, AtomicU64, Ordering},
    mutant, thread,
};

/// No visit uses the frame.
pub(crate) const IDLE: u64 = 0;
/// No visit uses the frame, the first of its slot, and a thread takes out the slot's table.
pub(crate) const LOCKED: u64 = 1;
/// A visit is between two listeners. Sources have numbers above this.
pub(crate) const BETWEEN: u64 = 2;
/// How many visits of one bus may be nested on a thread before they are entered in the crowd.
pub(crate) const DEPTH: usize = 8;

#[derive(Default)]
pub(crate) struct Frame {
    pub(crate) word: AtomicU64,
    /// The epoch of the visit. Written before the word.
    pub(crate) epoch: AtomicU64,
}

/// A table, and the version of the bus that it was read at: it is that version's or a later one's.
pub(crate) struct Cached {
    pub(crate) version: u64,
    pub(crate) table: Arc<Table>,
}

/// # Invariant
///
/// The word of the first frame says which thread may use `cache`:
///
/// | word | `cache` |
/// |---|---|
/// | [`IDLE`] | no thread |
/// | [`LOCKED`] | the thread that put it there, alone |
/// | any other | the owner of the slot. It changes `cache` only in [`refresh`](Self::refresh), right after it claimed the frame; then it only reads |
///
/// So dispatching needs no count of references: the word that shows a visit protects its table too.
/// A thread that changes the table of the bus takes the old one out of the slots that are idle; the
/// owner of a busy one does so after its visit.
pub(crate) struct ThreadSlot {
    pub(crate) frames: CachePadded<[Frame; DEPTH]>,
    /// Whether a thread owns the slot. Taken under the lock of the bus's slots, given back without
    /// it.
    pub(crate) is_owned: AtomicBool,
    cache: UnsafeCell<Option<Cached>>,
}

// SAFETY: `cache` is used by one thread at a time, or read by its owner alone; see the invariant.
// `Cached` is `Send`, since `Table` is `Send` and `Sync`.
unsafe impl Sync for ThreadSlot {}
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Table>();
};

impl ThreadSlot {
    pub(crate) fn new() -> Self {
        Self {
            frames: CachePadded::default(),
            is_owned: AtomicBool::new(true),
            cache: UnsafeCell::new(None),
        }
    }

    /// Begins to use the first frame. Only the owner calls this, while it does not use the frame.
    #[inline]
    pub(crate) fn claim(&self, word: u64) {
        let first = &self.frames[0].word;
        let mut turn = 0;
        // ORDERING: `SeqCst` for the reasons in `visits`. It pairs with the Release in `try_take`.
        while first
            .compare_exchange(IDLE, word, Ordering::SeqCst, Ordering::Relaxed)
            .is_err()
        {
            pause(turn);
            turn += 1;
        }
    }

    /// The table, if there is one.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and has claimed the first frame. The result is not used once the
    /// frame is idle, or after [`refresh`](Self::refresh).
    #[inline]
    pub(crate) unsafe fn cached(&self) -> Option<&Cached> {
        // SAFETY: the word is neither `IDLE` nor `LOCKED`, so only the owner uses `cache`, and it
        // only reads: the caller promises that no `refresh` comes before the last use.
        unsafe { (*self.cache.get()).as_ref() }
    }

    /// Replaces the table. The caller drops the old one, which may run destructors of users.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and has claimed the first frame. It has no result of
    /// [`cached`](Self::cached).
    pub(crate) unsafe fn refresh(&self, new: Cached) -> Option<Cached> {
        // SAFETY: only the owner uses `cache`, and there is no reference to what is in it.
        unsafe { (*self.cache.get()).replace(new) }
    }

    /// Takes out the table if the slot is idle and `is_stale` says so. The caller drops it.
    ///
    /// If the slot is in use, the owner looks after its visit.
    pub(crate) fn try_take(&self, is_stale: impl FnOnce(&Cached) -> bool) -> Option<Cached> {
        if mutant!("bus::stale_table_is_kept") {
            return None;
        }
        let first = &self.frames[0].word;
        // ORDERING: `SeqCst`: after the store of the version, and before the owner's look at the
        // version if this fails. The owner's swap to `IDLE` releases the cache to this thread.
        let (order, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        let mut turn = 0;
        while let Err(word) = first.compare_exchange(IDLE, LOCKED, order, failure) {
            // The thread that has the lock may have looked at the version before this one changed
            // it.
            if word != LOCKED {
                return None;
            }
            pause(turn);
            turn += 1;
        }
        // SAFETY: the word is `LOCKED`, which this thread put there.
        let cache = unsafe { &mut *self.cache.get() };
        let taken = match cache {
            Some(cached) if is_stale(cached) => cache.take(),
            _ => None,
        };
        // ORDERING: pairs with `claim`, and with the exchange above on another thread.
        first.store(IDLE, Ordering::Release);
        taken
    }
}

/// Waits for the thread that has the lock. It moves one pointer, so it is seldom waited for, and
/// not for long unless the system took its core away. It may have a lower priority than this
/// thread: so this one sleeps in the end.
#[cold]
fn pause(turn: u32) {
    match turn {
        0..32 => thread::yield_now(),
        _ => thread::sleep(Duration::from_micros(50)),
    }
}
