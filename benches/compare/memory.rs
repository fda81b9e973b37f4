//! An allocator that counts live memory on request.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The system's allocator, with a count. It counts only while memory is measured; else it would
/// slow down contenders that allocate for each value.
pub(crate) struct Counting {
    is_on: AtomicBool,
    bytes: AtomicI64,
}

impl Counting {
    /// One that does not count yet.
    pub(crate) const fn new() -> Self {
        Self {
            is_on: AtomicBool::new(false),
            bytes: AtomicI64::new(0),
        }
    }

    /// Runs it, and counts from zero meanwhile.
    pub(crate) fn counting<R>(&self, run: impl FnOnce() -> R) -> R {
        self.bytes.store(0, Ordering::Relaxed);
        self.is_on.store(true, Ordering::SeqCst);
        let result = run();
        self.is_on.store(false, Ordering::SeqCst);
        result
    }

    /// How many bytes more are allocated than when the count began.
    pub(crate) fn bytes(&self) -> i64 {
        self.bytes.load(Ordering::Relaxed)
    }

    #[inline]
    fn count(&self, bytes: i64) {
        if self.is_on.load(Ordering::Relaxed) {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

// SAFETY: everything is the system allocator's, and counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size() as i64);
        // SAFETY: what the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size() as i64);
        // SAFETY: what the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.count(-(layout.size() as i64));
        // SAFETY: what the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count(size as i64 - layout.size() as i64);
        // SAFETY: what the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
