//! How a handler learns that its result is no longer wanted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Tells a handler that its connection has ended. Clones are one token. Once cancelled, it stays cancelled.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let token = fanfeed_sockets::CancelToken::new();
/// let waiter = token.clone();
/// let task = tokio::spawn(async move { waiter.cancelled().await });
/// token.cancel();
/// task.await?;
/// assert!(token.is_cancelled());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct CancelToken {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_cancelled: AtomicBool,
    notify: Notify,
}

impl CancelToken {
    /// Makes a token that has not been cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        // ORDERING: pairs with the Release in `cancel`.
        self.shared.is_cancelled.load(Ordering::Acquire)
    }

    /// Waits until it is cancelled.
    pub async fn cancelled(&self) {
        // A `Notified` gets every `notify_waiters` after it was made, so it is made before the flag is read.
        let notified = self.shared.notify.notified();
        if !self.is_cancelled() {
            notified.await;
        }
    }

    /// Cancels it, and wakes all tasks that wait for it. Cancelling it again does nothing.
    pub fn cancel(&self) {
        // ORDERING: pairs with the Acquire in `is_cancelled`.
        if !self.shared.is_cancelled.swap(true, Ordering::Release) {
            self.shared.notify.notify_waiters();
        }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken")
            .field("is_cancelled", &self.is_cancelled())
            .finish()
    }
}
