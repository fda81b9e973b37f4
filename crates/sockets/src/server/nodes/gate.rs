//! Ends the handling of a subscription's messages for good.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Lets the messages of one subscription through, one at a time, until it is shut.
pub(super) struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl Gate {
    /// Lets a message through until the returned value is dropped. `None` when the gate is shut, or
    /// is about to be.
    pub(super) fn pass(&self) -> Option<SemaphorePermit<'_>> {
        self.0.try_acquire().ok()
    }

    /// Waits until no message is in the gate, and lets no other through.
    pub(super) async fn shut(&self) {
        let last = self.0.acquire().await;
        self.0.close();
        drop(last);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::Gate;

    #[test]
    fn a_gate_is_shut_behind_the_message_that_is_in_it() {
        let gate = Gate::default();
        let message = gate.pass().unwrap();
        let mut shut = pin!(gate.shut());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(shut.as_mut().poll(&mut cx).is_pending());
        drop(message);
        // The one that waits comes first.
        assert!(gate.pass().is_none());
        assert!(shut.as_mut().poll(&mut cx).is_ready());
        assert!(gate.pass().is_none());
    }
}
