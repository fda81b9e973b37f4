//! One waiter: a receiver that waits for values.

use std::task::Waker;

#[cfg(feature = "async")]
use super::quietly::quietly;
use super::quietly::wake;
use crate::sync::{AtomicBool, Mutex, Ordering, seq_cst_order};

/// Holds the waker of the one receiver while it waits.
///
/// The protocol is Dekker's. The receiver arms the cell and looks at the queue once more. A sender
/// puts its value into the queue and checks whether the cell is armed. All four accesses are
/// `SeqCst`. In their single order, either the receiver's look comes after the sender's change, and
/// finds it, or the sender's check comes after the arming.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct WakerCell {
    // First, because senders read it for each value: it shares their cache line.
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

    /// The receiver announces that it is about to wait. It must look once more after this, with
    /// `SeqCst`.
    pub(crate) fn arm(&self, waker: &Waker) {
        // Cloned and dropped outside the lock, because that runs user code.
        let waker = waker.clone();
        let replaced = self.waker.lock().replace(waker);
        drop(replaced);
        // ORDERING: SeqCst with the load in `is_armed`, and with the change of, and the look at,
        // the queue: its tail, or its first gap. A stamp that is read after this decides nothing:
        // if it is not there yet, the tail says that it will be.
        self.set_armed(true, Ordering::SeqCst);
        seq_cst_order!("receiver_arms_without_order");
    }

    /// Called when the receiver has found something, or has given up.
    pub(crate) fn disarm(&self) {
        self.set_armed(false, Ordering::Relaxed);
    }

    fn set_armed(&self, armed: bool, order: Ordering) {
        #[cfg(not(fanfeed_loom))]
        self.armed.store(armed, order);
        // loom may order a store before a read-modify-write that has read the value that the store
        // replaced. It orders a swap correctly. The swap is `Release`, so that it learns no more
        // than the store.
        #[cfg(fanfeed_loom)]
        {
            let _ = order;
            self.armed.swap(armed, Ordering::Release);
        }
    }

    /// Removes the waker of the receiver, which no longer waits.
    #[cfg(feature = "async")]
    pub(crate) fn clear(&self) {
        // If the cell is not armed, the thread that disarmed it has the waker.
        if !self.is_armed() {
            return;
        }
        self.disarm();
        let waker = self.waker.lock().take();
        // The caller may be unwinding.
        quietly(|| drop(waker));
    }

    /// Whether the receiver waits. For a sender that has changed the queue with `SeqCst` before
    /// this.
    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        // ORDERING: SeqCst with the store in `arm`.
        self.armed.load(Ordering::SeqCst)
    }

    /// Wakes the receiver if it waits.
    #[cold]
    pub(crate) fn wake(&self) {
        if self.armed.swap(false, Ordering::AcqRel) {
            // The receiver registers another waker before it waits again.
            let waker = self.waker.lock().take();
            if let Some(waker) = waker {
                wake(waker);
            }
        }
    }
}
