//! Running the code of others where its panic must keep nobody else waiting.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Runs it, and lets a panic of it go no further.
///
/// For code that runs in somebody else's stead: a waker on the thread that wakes, a drop on a thread that serves many.
pub(crate) fn quietly(f: impl FnOnce()) {
    if crate::sync::MODELLED {
        // A model that fails says so by a panic.
        return f();
    }
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
        return;
    };
    // What was panicked with may panic when it is dropped, with something that does the same.
    if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(worse);
    }
}

/// Wakes; a waker that panics keeps those that come after it from nothing.
pub(crate) fn wake(waker: Waker) {
    quietly(|| waker.wake());
}

#[cfg(test)]
mod tests {
    use super::quietly;
    use std::panic::panic_any;

    #[test]
    fn not_even_what_was_panicked_with_gets_through() {
        struct Bomb(u8);
        impl Drop for Bomb {
            fn drop(&mut self) {
                if self.0 > 0 {
                    panic_any(Bomb(self.0 - 1));
                }
            }
        }
        for depth in 0..3 {
            quietly(|| panic_any(Bomb(depth)));
        }
    }
}
