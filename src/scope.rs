//! Floor 2: many subscriptions that end together.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use crate::subscription::{SourceRef, Subscription, SubscriptionId};
use crate::sync::{Mutex, mutant};
use crate::traits::{debug_struct, unwind_safe};

/// Unsubscribes all the subscriptions that it tracks together.
///
/// A service that hands out subscriptions uses a scope to end all of them when it stops. Dropping
/// the scope [closes](Self::close) it.
///
/// A tracked subscription leaves the scope as soon as it has ended, for whatever reason; the scope
/// keeps nothing of it. If a producer unsubscribes its own subscription, that subscription stays
/// tracked until the producer has ended.
///
/// # Examples
///
/// ```
/// use fanfeed::{Subscription, SubscriptionScope};
///
/// let until_cancelled = || {
///     Subscription::spawn(|token| {
///         let _ = token.channel().recv();
///         Ok::<(), std::io::Error>(())
///     })
/// };
/// let scope = SubscriptionScope::new();
/// let first = scope.track(until_cancelled()).unwrap();
/// // The scope alone decides how long this one lives.
/// scope.track(until_cancelled()).unwrap().detach();
/// assert_eq!(scope.count(), 2);
///
/// scope.close();
/// assert!(first.is_closed());
/// assert_eq!(scope.count(), 0);
/// assert!(scope.track(until_cancelled()).is_none());
/// ```
pub struct SubscriptionScope {
    tracked: Arc<Mutex<Tracked>>,
}

// A subscription is either tracked or not. User code runs only when that is decided.
unwind_safe!(SubscriptionScope);

/// No source is cancelled or dropped under the lock: both run user code, which may call the scope.
#[derive(Default)]
struct Tracked {
    closed: bool,
    /// Ordered by id: subscriptions were made in this order, and end in this order.
    sources: BTreeMap<SubscriptionId, SourceRef>,
}

impl SubscriptionScope {
    /// An open scope that tracks nothing.
    pub fn new() -> Self {
        Self {
            tracked: Arc::new(Mutex::new(Tracked::default())),
        }
    }

    /// Tracks a subscription, and returns it. If the scope is closed, unsubscribes the subscription
    /// and returns `None`.
    ///
    /// The returned handle still unsubscribes when it is dropped. [`detach`](Subscription::detach)
    /// it to let the scope alone end the subscription.
    pub fn track(&self, subscription: Subscription) -> Option<Subscription> {
        let id = subscription.id();
        {
            let mut tracked = self.tracked.lock();
            if tracked.closed && !mutant!("closed_scope_tracks") {
                // Not under the lock: other callers would wait for the subscription to end.
                drop(tracked);
                drop(subscription);
                return None;
            }
            tracked.sources.insert(id, subscription.source().clone());
        }
        let waker = Waker::from(Arc::new(TakeOff {
            tracked: Arc::downgrade(&self.tracked),
            id,
        }));
        if !subscription.source().state().wake_at_end(&mut None, &waker) {
            waker.wake();
        }
        Some(subscription)
    }

    /// Unsubscribes all tracked subscriptions, and tracks no more. It tells all of them to end
    /// before it waits for the first. When it returns, they have ended.
    ///
    /// It waits for each as [`unsubscribe`](Subscription::unsubscribe) does: not for a delivery
    /// that it is called from, nor for the producer that calls it. A subscription that ended by
    /// itself is no longer tracked, so this does not wait for a last delivery to it on another
    /// thread. It may be called again, from any thread; it then waits for what has not ended.
    pub fn close(&self) {
        let sources: Vec<_> = {
            let mut tracked = self.tracked.lock();
            tracked.closed = true;
            tracked.sources.values().cloned().collect()
        };
        for source in &sources {
            source.cancel_soon();
        }
        for source in &sources {
            source.cancel();
        }
    }

    /// The number of tracked subscriptions that have not ended. It may change at any time; once the
    /// scope is closed, it only falls.
    pub fn count(&self) -> usize {
        // The thread that ended a subscription may not have removed it yet.
        self.tracked
            .lock()
            .sources
            .values()
            .filter(|source| !source.state().is_ended())
            .count()
    }

    /// Whether the scope has been closed, or is being closed. Once true, it stays true.
    pub fn is_closed(&self) -> bool {
        self.tracked.lock().closed
    }
}

impl Default for SubscriptionScope {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for SubscriptionScope {
    fn drop(&mut self) {
        self.close();
    }
}

debug_struct!(SubscriptionScope, |this| SubscriptionScope {
    closed: this.is_closed(),
    count: this.count(),
});

/// Removes a subscription that has ended from its scope.
struct TakeOff {
    tracked: Weak<Mutex<Tracked>>,
    id: SubscriptionId,
}

impl Wake for TakeOff {
    fn wake(self: Arc<Self>) {
        if let Some(tracked) = self.tracked.upgrade() {
            let ended = tracked.lock().sources.remove(&self.id);
            drop(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Subscription, SubscriptionScope};

    #[test]
    fn nothing_is_kept_of_one_that_has_ended() {
        let scope = SubscriptionScope::new();
        let ended = scope.track(Subscription::join([])).unwrap();
        ended.unsubscribe();
        assert!(scope.tracked.lock().sources.is_empty());
        let _again = scope.track(ended).unwrap();
        assert!(scope.tracked.lock().sources.is_empty());
    }
}
