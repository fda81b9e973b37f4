//! The primitives of a program: `std` and `parking_lot`.

pub(crate) use parking_lot::Mutex;
pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
};
pub(crate) use std::sync::atomic::{Ordering, fence};
pub(crate) use std::thread::{
    Builder, Thread, current, panicking, park, park_timeout, sleep, yield_now,
};
pub(crate) use std::thread_local;

/// A cell whose accesses loom can check; here it is nothing but `std`'s.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Reads through a shared pointer. Dereferencing it is the caller's to justify.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Writes through an exclusive pointer. Dereferencing it is the caller's to justify.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// A `static` of the process; in a model, one that is new in each execution.
macro_rules! global {
    ($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;) => {
        $(#[$doc])*
        static $name: $type = $value;
    };
}
pub(crate) use global;
