//! Where threads wait for calls of listeners to end.

use crate::sync::{
    Condvar, Mutex,
    atomic::{AtomicUsize, Ordering},
    mutant,
};

/// Wakes the threads that wait until no thread is inside a listener.
#[derive(Default)]
pub(crate) struct Bell {
    waiting: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Bell {
    /// Waits until the condition holds. A thread that may have made it true rings afterwards.
    pub(crate) fn wait_until(&self, holds: impl Fn() -> bool) {
        // ORDERING: see `visits`.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut lock = self.lock.lock();
        while !holds() {
            self.changed.wait(&mut lock);
        }
        drop(lock);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn ring(&self) {
        // ORDERING: see `visits`.
        if self.waiting.load(Ordering::SeqCst) > 0 && !mutant!("bus::listener_wakes_nobody") {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        // With the lock, so that the waiter is not between its look and its wait.
        drop(self.lock.lock());
        self.changed.notify_all();
    }
}
