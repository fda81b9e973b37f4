//! Values that count their clones and drops, and whose clones panic on demand.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

static LIVE: AtomicI64 = AtomicI64::new(0);
static CLONES: AtomicU64 = AtomicU64::new(0);
static FUSE: AtomicU64 = AtomicU64::new(0);

/// A numbered value. It owns memory, so that the address sanitizer sees a second drop, or a use
/// after the first.
#[derive(Debug, PartialEq, Eq)]
pub struct Value(Box<u64>);

impl Value {
    /// A value with this number.
    pub fn new(number: u64) -> Self {
        LIVE.fetch_add(1, Relaxed);
        Self(Box::new(number))
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        *self.0
    }

    /// Gives it another number.
    pub fn renumber(&mut self, number: u64) {
        *self.0 = number;
    }
}

impl Default for Value {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        let fuse = FUSE.load(Relaxed);
        if fuse > 0 {
            FUSE.store(fuse - 1, Relaxed);
            if fuse == 1 {
                panic_on_purpose();
            }
        }
        CLONES.fetch_add(1, Relaxed);
        Self::new(self.number())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Relaxed);
    }
}

/// A panic that is part of the program. It does not go through the panic hook, by which the fuzzer
/// ends the process.
pub fn panic_on_purpose() -> ! {
    resume_unwind(Box::new("on purpose"))
}

/// How many values have been made and not dropped.
pub fn live() -> i64 {
    LIVE.load(Relaxed)
}

/// How many clones were made since this was called last.
pub fn take_clones() -> u64 {
    CLONES.swap(0, Relaxed)
}

/// Has the clone with this number from now, counted from 1, panic. 0: none does.
pub fn arm(clone: u64) {
    FUSE.store(clone, Relaxed);
}

/// Ends what `arm` began, and says whether the clone was made and has panicked.
pub fn disarm(armed: u64) -> bool {
    FUSE.swap(0, Relaxed) == 0 && armed > 0
}
