//! The token that tells a handler to stop.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

/// Tells a handler, and what it started, that the message is no longer its business.
///
/// The token of a message is cancelled when its handler has returned, when the handler overran its timeout, when the
/// subscription ended, and at the deadline of [`close`](crate::Broker::close). The publisher's own cancellation and
/// timeouts never reach it.
#[derive(Clone)]
pub struct CancelToken {
    shared: Arc<Shared>,
}

struct Shared {
    cancelled: AtomicBool,
    /// Taken when cancelled, which disconnects `receiver`.
    sender: Mutex<Option<Sender<Infallible>>>,
    receiver: Receiver<Infallible>,
}

impl CancelToken {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = bounded(0);
        Self {
            shared: Arc::new(Shared {
                cancelled: AtomicBool::new(false),
                sender: Mutex::new(Some(sender)),
                receiver,
            }),
        }
    }

    /// Whether it has been cancelled. Once true, it stays true.
    pub fn is_cancelled(&self) -> bool {
        // ORDERING: pairs with the Release in `cancel`.
        self.shared.cancelled.load(Ordering::Acquire)
    }

    /// A channel that yields nothing and is disconnected once the token has been cancelled, to stand in a `select!`.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.shared.receiver
    }

    /// Waits up to `timeout`, or until cancelled. Returns whether it has been cancelled.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        match self.shared.receiver.recv_timeout(timeout) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => self.is_cancelled(),
        }
    }

    pub(crate) fn cancel(&self) {
        // ORDERING: pairs with the Acquire in `is_cancelled`: the reader sees what led to the cancellation.
        self.shared.cancelled.store(true, Ordering::Release);
        let sender = self.shared.sender.lock().take();
        // Outside the lock: dropping it wakes those that select on the channel.
        drop(sender);
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
