//! How a drain learns that its own handler has cut its reader off.
//!
//! If a drain loaded the member's flags after each value, it would pay for it: compilers neither
//! move an atomic load out of a loop nor vectorise a loop with one. But a handler that unsubscribes
//! runs on the thread that drains. So each thread counts the readers that it cuts off, in a plain
//! cell, and a drain compares that count after each value. If the handler is inlined and calls
//! nothing that the compiler cannot see, the cell cannot change, and the compiler moves the
//! comparison out of the loop.

use std::cell::Cell;

use crate::sync::thread_local;

thread_local! {
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    static CUTS: Cell<usize> = const { Cell::new(0) };
}

/// Counts that the calling thread has cut a reader off.
pub(crate) fn count() {
    CUTS.with(|cuts| cuts.set(cuts.get().wrapping_add(1)));
}

/// The count of the calling thread at some time.
#[derive(Clone, Copy)]
pub(crate) struct Cuts(usize);

impl Cuts {
    #[inline(always)]
    pub(crate) fn now() -> Self {
        Self(CUTS.with(Cell::get))
    }

    /// Whether the calling thread has cut any reader off since then.
    #[inline(always)]
    pub(crate) fn have_changed(self) -> bool {
        Self::now().0 != self.0
    }
}
