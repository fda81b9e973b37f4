//! Whether the calling thread is delivering, which is when it must wait for nobody.

use std::cell::Cell;

use crate::sync::thread_local;

thread_local! {
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Whether the calling thread is inside a delivery, of whichever feed.
pub(crate) fn in_delivery() -> bool {
    DEPTH.with(Cell::get) != 0
}

/// The calling thread is inside a delivery while this lives.
#[derive(Debug)]
pub(crate) struct InDelivery;

impl InDelivery {
    #[inline]
    pub(crate) fn enter() -> Self {
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        Self
    }
}

impl Drop for InDelivery {
    #[inline]
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}
