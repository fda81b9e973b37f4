//! The primitives of a model: what loom and shuttle have in common, and what each needs.
//!
//! Both run all threads of a model on one thread of the system, one at a time, and switch between
//! them only inside their own primitives. Time does not pass.

use std::time::Duration;

#[cfg(fanfeed_loom)]
#[path = "model/loom.rs"]
mod checker;
#[cfg(fanfeed_shuttle)]
#[path = "model/shuttle.rs"]
mod checker;
mod lock;
mod thread;

pub use checker::UnsafeCell;
pub(crate) use checker::{Alive, fence, global, sleep, spin_loop, thread_local, yield_now};
pub(crate) use checker::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
pub(crate) use lock::{Mutex, RwLock};
pub(crate) use std::sync::atomic::Ordering;
pub(crate) use thread::{Thread, current, park, spawn_named};
// No protocol relies on its ordering: its contents are the model's.
pub(crate) use std::sync::OnceLock;

/// A number identifies the thread. An address could belong to a thread that has ended, and a model
/// does not know that its end came before.
pub(crate) fn this_thread() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(2);
    thread_local! {
        static HERE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    HERE.try_with(|here| *here).unwrap_or(1)
}

/// A model asks no kernel: both halves of the pair are full fences.
pub(crate) fn light_fence_between() {
    fence(Ordering::SeqCst);
}

/// See [`light_fence_between`].
pub(crate) fn heavy_fence_between() {
    fence(Ordering::SeqCst);
}

/// See [`light_fence_between`].
pub(crate) fn free_fence() {
    fence(Ordering::SeqCst);
}

pub(crate) type Word = AtomicUsize;

/// Free fences are enough in a model.
pub(crate) unsafe fn register_word(_: &Word) {}

pub(crate) use super::mutants::{feeds_are_shared, light_fences_are_free};

/// See [`register_word`].
pub(crate) fn deregister_word(_: &Word) {}

/// In a model a timer never fires, which is the harder case for a lost wake-up. If a model requests
/// it, timers fire as soon as the other threads have run.
pub(crate) fn park_timeout(_: Duration) {
    if super::mutants::timers_fire() {
        yield_now()
    } else {
        park()
    }
}

#[cfg(feature = "async")]
pub(crate) use super::mutants::timers_fire;

/// Does nothing that a model could see.
pub(crate) fn prefetch<T>(_: *const T) {}

pub(crate) fn prefetch_to_write<T>(_: *const T) {}
