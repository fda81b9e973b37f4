//! One waiter: a receiver that waits for values.

use std::task::Waker;

use crate::sync::{AtomicBool, Mutex, Ordering, store_load_fence};

/// Holds the waker of the one receiver while it waits.
///
/// The protocol is Dekker's. The receiver arms the cell, fences, and looks at the queue once more; a sender publishes
/// its value, fences, and looks whether the cell is armed. Whichever fence comes second sees the other's store, so
/// either the receiver finds the value or the sender finds the cell armed. The sender's fence is
/// [`WakerCell::fence`], and one serves for all the cells it looks at afterwards.
#[derive(Debug)]
pub(crate) struct WakerCell {
    armed: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl WakerCell {
    pub(crate) fn new() -> Self {
        Self {
            armed: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// The receiver announces that it is about to wait. It must look once more after this.
    pub(crate) fn arm(&self, waker: &Waker) {
        {
            let mut slot = self.waker.lock();
            if !slot.as_ref().is_some_and(|held| held.will_wake(waker)) {
                *slot = Some(waker.clone());
            }
        }
        // ORDERING: the fence makes this store visible to every sender that fences after it; the lock carries the waker.
        self.armed.store(true, Ordering::Relaxed);
        store_load_fence!("receiver_arms_without_fence");
    }

    /// The receiver has found something, or has given up.
    pub(crate) fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }

    /// The sender's half of the protocol: after values were published, before [`wake`](Self::wake) is called.
    #[inline]
    pub(crate) fn fence() {
        store_load_fence!("sender_wakes_without_fence");
    }

    /// Wakes the receiver if it waits.
    #[inline]
    pub(crate) fn wake(&self) {
        // ORDERING: ordered after the publication by `fence`, which pairs with the fence in `arm`.
        if self.armed.load(Ordering::Relaxed) {
            self.wake_slow();
        }
    }

    #[cold]
    fn wake_slow(&self) {
        if self.armed.swap(false, Ordering::AcqRel) {
            let waker = self.waker.lock().clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}
