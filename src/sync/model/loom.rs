//! The primitives for loom.

use std::time::Duration;

pub use loom::cell::UnsafeCell;
pub(crate) use loom::hint::spin_loop;
pub(super) use loom::sync as locks;
pub(crate) use loom::sync::atomic::fence;
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
};
pub(super) use loom::thread as threads;
pub(crate) use loom::thread::yield_now;

/// A thread's sleep until it is woken.
#[derive(Debug)]
pub(super) struct Sleeper(loom::thread::Thread);

impl Sleeper {
    pub(super) fn current() -> Self {
        Self(loom::thread::current())
    }

    pub(super) fn sleep(&self) {
        loom::thread::park();
    }

    pub(super) fn wake(&self) {
        self.0.unpark();
    }
}

/// A sleep lets other threads run.
pub(crate) fn sleep(_: Duration) {
    yield_now();
}

/// Marks memory that is freed by hand. A use that does not happen before the end, or that happens
/// after it, is a race.
#[derive(Debug)]
pub(crate) struct Alive(UnsafeCell<()>);

impl Alive {
    pub(crate) fn new() -> Self {
        Self(UnsafeCell::new(()))
    }

    /// Notes that the memory is being used.
    pub(crate) fn used(&self) {
        self.0.with(|_| ());
    }

    /// Notes that the memory is about to be freed.
    pub(crate) fn end(self) {
        self.0.with_mut(|_| ());
    }
}

/// Thread-locals of the model's threads. loom's macro supports no `const` initializers.
macro_rules! model_thread_local {
    ($($(#[$doc:meta])* static $name:ident: $type:ty = const { $value:expr };)*) => {
        loom::thread_local! { $($(#[$doc])* static $name: $type = $value;)* }
    };
    ($($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;)*) => {
        loom::thread_local! { $($(#[$doc])* static $name: $type = $value;)* }
    };
}
pub(crate) use model_thread_local as thread_local;

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
