//! Waiting for the end of a subscription, of a feed or of a ring.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::source::{SourceRef, SubscriptionSource};
use super::state::SubscriptionState;
use crate::sync::OnceLock;
use crate::traits::{debug_struct, unwind_safe};
use crate::wait::{Key, Parker};

/// Completes when a subscription, a feed or a ring has ended. Made by
/// [`Subscription::closed`](super::Subscription::closed),
/// [`Feed::closed`](crate::Feed::closed), [`RingFeed::closed`](crate::RingFeed::closed) and
/// [`ring::Handle::closed`](crate::ring::Handle::closed).
///
/// It does not keep what it waits for alive, and dropping it has no effect on that.
#[must_use = "a future does nothing unless it is awaited, or waited for with `wait`"]
pub struct Closed {
    source: SourceRef,
    key: Option<Key>,
}

// As for `Subscription`.
unwind_safe!(Closed);

impl Closed {
    pub(super) fn new(source: SourceRef) -> Self {
        Self { source, key: None }
    }

    /// Blocks the thread until the end.
    pub fn wait(mut self) {
        self.wait_until(None);
    }

    /// Blocks the thread until the end, or up to `timeout`. Returns whether the end has come.
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

debug_struct!(Closed, |this| Closed {
    ended: this.source.state().is_ended()
});

/// The end of a feed or of a ring, for threads and tasks that wait for it.
#[derive(Default)]
pub(crate) struct FeedEnd {
    /// Made by the first that waits: usually there is none.
    end: OnceLock<Arc<End>>,
}

struct End(SubscriptionState);

impl FeedEnd {
    /// Waits for the end. `has_ended` says whether the feed has ended, under the lock under which
    /// the thread that ends it notes that, before it calls [`announce`](Self::announce). So either
    /// that thread finds the state that is made here, or `has_ended` finds the end.
    pub(crate) fn closed(&self, has_ended: impl FnOnce() -> bool) -> Closed {
        let new = || Arc::new(End(SubscriptionState::new(None)));
        let end = self.end.get_or_init(new);
        if has_ended() {
            end.0.end(None);
        }
        let end: Arc<dyn SubscriptionSource> = Arc::clone(end) as _;
        Closed::new(SourceRef::new(end))
    }

    /// Wakes those that wait. The caller holds no lock.
    pub(crate) fn announce(&self) {
        if let Some(end) = self.end.get() {
            end.0.end(None);
        }
    }
}

// No `Subscription` is made of it, so nothing cancels it.
impl SubscriptionSource for End {
    fn state(&self) -> &SubscriptionState {
        &self.0
    }

    fn cancel(&self) {}

    fn cancel_soon(&self) {}
}
