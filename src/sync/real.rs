//! The primitives of a program: `std` and `parking_lot`.

pub(crate) use super::asymmetric::{
    Word, deregister as deregister_word, free_fence, heavy_fence as heavy_fence_between,
    light_fence as light_fence_between, light_fences_are_free, register as register_word,
};
pub(crate) use parking_lot::{Mutex, RwLock};
pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
};
pub(crate) use std::sync::atomic::{Ordering, fence};
pub(crate) use std::thread::{Builder, Thread, current, park, park_timeout, sleep, yield_now};
pub(crate) use std::thread_local;

/// Timed waits end, except in models.
#[cfg(feature = "async")]
pub(crate) fn timers_fire() -> bool {
    true
}

/// Whether feeds begin as if several threads had sent on them; only in models.
#[inline(always)]
pub(crate) fn feeds_are_shared() -> bool {
    false
}

/// Distinguishes this thread from other running threads. Takes two instructions.
#[inline(always)]
pub(crate) fn this_thread() -> usize {
    thread_local! {
        static HERE: u8 = const { 0 };
    }
    let address = |local: &u8| std::ptr::from_ref(local).addr();
    // Threads whose locals are gone share one value.
    HERE.try_with(address).unwrap_or(1)
}

/// Runs `f` on a new thread with this name. No thread joins it.
pub(crate) fn spawn_named(name: &str, f: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    Builder::new().name(name.to_owned()).spawn(f).map(drop)
}

/// A cell whose accesses loom can check; here it is only `std`'s.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Reads through a shared pointer. The caller must justify dereferencing it.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Writes through an exclusive pointer. The caller must justify dereferencing it.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Marks memory that is freed by hand, so that loom can check its uses; here it is nothing.
#[derive(Debug)]
pub(crate) struct Alive;

impl Alive {
    pub(crate) const fn new() -> Self {
        Self
    }

    /// Notes that the memory is being used.
    #[inline(always)]
    pub(crate) fn used(&self) {}

    /// Notes that the memory is about to be freed.
    pub(crate) fn end(self) {}
}

/// A `static` of the process. In a model, it is new in each execution.
macro_rules! global {
    ($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;) => {
        $(#[$doc])*
        static $name: $type = $value;
    };
}
pub(crate) use global;

/// Prefetches the cache line of `pointer`. A hint; does nothing on processors for which it is not
/// implemented here.
#[inline(always)]
pub(crate) fn prefetch<T>(pointer: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch touches no memory as far as the program can tell, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(pointer.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}

/// Prefetches the cache line of a place that this thread is about to write.
#[inline(always)]
pub(crate) fn prefetch_to_write<T>(pointer: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as above. Processors without the instruction do nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    prefetch(pointer);
}
