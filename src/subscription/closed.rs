//! Waiting for the end of a subscription.

use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::source::SourceRef;
use crate::wait::{Key, Parker};

/// Completes when a subscription has ended. Made by
/// [`Subscription::closed`](super::Subscription::closed).
///
/// It does not keep the subscription alive, and dropping it has no effect on the subscription.
#[must_use = "a future does nothing unless it is awaited, or waited for with `wait`"]
pub struct Closed {
    source: SourceRef,
    key: Option<Key>,
}

// As for `Subscription`.
impl UnwindSafe for Closed {}
impl RefUnwindSafe for Closed {}

impl Closed {
    pub(super) fn new(source: SourceRef) -> Self {
        Self { source, key: None }
    }

    /// Blocks the thread until the subscription has ended.
    pub fn wait(mut self) {
        self.wait_until(None);
    }

    /// Blocks the thread until the subscription has ended, or up to `timeout`. Returns whether the
    /// subscription has ended.
    pub fn wait_timeout(&mut self, timeout: Duration) -> bool {
        // A deadline beyond the range of the clock is no deadline.
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> bool {
        let parker = Parker::current();
        while self
            .source
            .state()
            .wake_at_end(&mut self.key, parker.waker())
        {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            parker.park(deadline);
        }
        true
    }
}

impl Future for Closed {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this
            .source
            .state()
            .wake_at_end(&mut this.key, context.waker())
        {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.source.state().forget_waker(&mut self.key);
    }
}

impl fmt::Debug for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed")
            .field("ended", &self.source.state().is_ended())
            .finish_non_exhaustive()
    }
}
