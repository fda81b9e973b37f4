//! A pair of fences of which one costs nothing, and the other much.
//!
//! Dekker's pattern takes a fence on both sides: each stores, fences, and loads what the other one stores. Where one side
//! does this for every value and the other hardly ever, the rare side can fence for both: Linux's `membarrier` runs a full
//! fence on every core that runs a thread of this process. What the frequent side then needs is that the compiler keeps
//! its store and its load in order. Where there is no `membarrier`, both sides make full fences; so they do under
//! `--cfg fanfeed_plain_fences`, by which tests run that way on machines that have it.
//!
//! Guarantee: if a [`light_fence`] stands between a store and a load of one thread, and a [`heavy_fence`] between a store
//! and a load of another, then one of the loads sees the other thread's store (or a later one).

use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

/// Whether heavy fences do the work of light ones. False until [`prepare`] has found out, and where it found out no.
static HEAVY_WORKS: AtomicBool = AtomicBool::new(false);

/// Makes light fences free where that can be had. Called before the first use; more calls do nothing.
pub(crate) fn prepare() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // A thread that does not know of this yet makes full fences, which is as good.
        HEAVY_WORKS.store(membarrier::register(), Ordering::Release);
    });
}

/// The frequent side's fence.
#[inline(always)]
pub(crate) fn light_fence() {
    if HEAVY_WORKS.load(Ordering::Relaxed) {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// Whether a light fence costs nothing. Once false after [`prepare`], it stays false.
pub(crate) fn has_free_fences() -> bool {
    HEAVY_WORKS.load(Ordering::Acquire)
}

/// A light fence for whoever makes a full one where there are no free ones.
#[inline(always)]
pub(crate) fn free_fence() {
    compiler_fence(Ordering::SeqCst);
}

/// The rare side's fence: some microseconds, and about two of each other core that runs a thread of this process.
#[cold]
pub(crate) fn heavy_fence() {
    fence(Ordering::SeqCst);
    if has_free_fences() && !membarrier::run() {
        // The kernel does not, though it said that it would: from now on light fences are full ones. Those that were
        // free are over long before this returns.
        HEAVY_WORKS.store(false, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(1));
        fence(Ordering::SeqCst);
    }
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri),
    not(fanfeed_plain_fences)
))]
mod membarrier {
    use std::ffi::{c_int, c_long};

    #[cfg(target_arch = "x86_64")]
    const SYS_MEMBARRIER: c_long = 324;
    #[cfg(target_arch = "aarch64")]
    const SYS_MEMBARRIER: c_long = 283;
    const PRIVATE_EXPEDITED: c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: c_int = 1 << 4;

    unsafe extern "C" {
        // Of the C library that std links.
        fn syscall(number: c_long, ...) -> c_long;
    }

    fn call(command: c_int) -> bool {
        let none: c_int = 0;
        // SAFETY: membarrier takes a command, flags and a processor number, and touches no memory of ours.
        unsafe { syscall(SYS_MEMBARRIER, command, none, none) == 0 }
    }

    pub(super) fn register() -> bool {
        call(REGISTER_PRIVATE_EXPEDITED) && call(PRIVATE_EXPEDITED)
    }

    pub(super) fn run() -> bool {
        call(PRIVATE_EXPEDITED)
    }
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri),
    not(fanfeed_plain_fences)
)))]
mod membarrier {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn run() -> bool {
        false
    }
}
