//! The primitives as loom sees them.

use std::time::Duration;

pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::hint::spin_loop;
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
};
pub(crate) use loom::sync::atomic::{Ordering, fence};
pub(crate) use loom::thread::{Thread, current, park, yield_now};
pub(crate) use loom::thread_local;
pub(crate) use std::thread::{Builder, panicking};

/// Time does not pass in a model: a sleep lets others run.
pub(crate) fn sleep(_: Duration) {
    yield_now();
}

/// In a model a timer either never fires, which is the harder case for a lost wake-up, or, where a model asks for it,
/// as soon as the others have run.
pub(crate) fn park_timeout(_: Duration) {
    if super::mutant::timers_fire() {
        yield_now()
    } else {
        park()
    }
}

/// loom's mutex with the calls of `parking_lot`'s. It orders what real locking orders, and nothing more.
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A `static` that is new in each execution of the model.
macro_rules! global {
    ($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;) => {
        loom::lazy_static! {
            $(#[$doc])*
            static ref $name: $type = $value;
        }
    };
}
pub(crate) use global;
