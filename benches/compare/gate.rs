//! A gate that threads pass at once, without having slept before it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Opens when so many threads stand before it. They spin: one that has to be woken starts some 50 µs late.
pub(crate) struct Gate {
    missing: AtomicUsize,
}

impl Gate {
    /// A gate for so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            missing: AtomicUsize::new(threads),
        }
    }

    /// Waits for the others.
    pub(crate) fn pass(&self) {
        // ORDERING: AcqRel and Acquire pair with one another, so that what a thread did to set itself up lies before
        // what the others time.
        self.missing.fetch_sub(1, Ordering::AcqRel);
        for turn in 1_u32.. {
            if self.missing.load(Ordering::Acquire) == 0 {
                return;
            }
            // There may be more threads than cores.
            if turn.is_multiple_of(1 << 12) {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
}
