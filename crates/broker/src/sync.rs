//! The only module that names the thread primitives, so that a checker can replace them.
//!
//! Under `--cfg fanfeed_shuttle` the names below are shuttle's, and the programs of
//! `shuttle-tests/tests/broker.rs` run the unchanged code under random schedules. Arc-swap,
//! crossbeam's channels and the clock are not modelled. Plain counters (`static`s, and the tokens
//! of async handlers) use `std`'s types directly.

#[cfg(not(fanfeed_shuttle))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(not(fanfeed_shuttle))]
pub(crate) use std::sync::atomic;
#[cfg(not(fanfeed_shuttle))]
pub(crate) use std::thread;
#[cfg(not(fanfeed_shuttle))]
pub(crate) use std::thread_local;

#[cfg(fanfeed_shuttle)]
mod model;
// Public for the programs of the crates that depend on this one.
#[cfg(fanfeed_shuttle)]
pub use model::{Condvar, Mutex, MutexGuard, atomic, thread, thread_local};

/// True while a program runs the named mutant of the code, and always false elsewhere. A program
/// has to fail with the mutant.
macro_rules! mutant {
    ($name:literal) => {{
        #[cfg(fanfeed_shuttle)]
        let active = fanfeed::sync::mutants::is($name);
        #[cfg(not(fanfeed_shuttle))]
        let active = false;
        active
    }};
}
pub(crate) use mutant;
