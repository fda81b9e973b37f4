//! Floor 2: many subscriptions with one end.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use crate::subscription::{SourceRef, Subscription, SubscriptionId};
use crate::sync::{Mutex, mutant};

/// Unsubscribes all the subscriptions it tracks at once.
///
/// The usual place for one is a service that hands out subscriptions and has to end them all when it stops. Dropping the
/// scope [closes](Self::close) it.
///
/// A tracked subscription is off the scope as soon as it has ended, for whatever reason; nothing of it is kept. A
/// producer that unsubscribes its own subscription stays on until it has ended.
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

// A subscription is tracked or it is not; code of others is called when that is decided.
impl UnwindSafe for SubscriptionScope {}
impl RefUnwindSafe for SubscriptionScope {}

/// No source is cancelled or dropped under the lock: both run code of others, which may come back to the scope.
#[derive(Default)]
struct Tracked {
    closed: bool,
    /// By number, which is the order they were made in, and ended in.
    sources: BTreeMap<SubscriptionId, SourceRef>,
}

impl SubscriptionScope {
    /// An open scope that tracks nothing.
    pub fn new() -> Self {
        Self {
            tracked: Arc::new(Mutex::new(Tracked::default())),
        }
    }

    /// Tracks a subscription, and gives it back. Gives `None` if the scope is closed, after it has unsubscribed the
    /// subscription.
    ///
    /// The handle that comes back is what it was: dropping it unsubscribes. [`detach`](Subscription::detach) leaves the
    /// end of the subscription to the scope.
    pub fn track(&self, subscription: Subscription) -> Option<Subscription> {
        let id = subscription.id();
        {
            let mut tracked = self.tracked.lock();
            if tracked.closed && !mutant!("closed_scope_tracks") {
                // Not under the lock, on which others would wait for its end.
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

    /// Unsubscribes all tracked subscriptions and tracks no more. All are told to end before the first is waited for,
    /// and when this returns, they have ended.
    ///
    /// It waits as [`unsubscribe`](Subscription::unsubscribe) does for each: not for a delivery that it is called from,
    /// nor for the producer that calls it. What had ended by itself is no longer tracked, so a last delivery to that, on
    /// another thread, is not waited for. Again, from any thread: harmless, and it waits for what has not ended.
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

    /// How many tracked subscriptions have not ended. Others may end, or be tracked, at any time; once the scope is
    /// closed, none is added.
    pub fn count(&self) -> usize {
        // One that has ended may not have been taken off yet by the thread that ended it.
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

impl fmt::Debug for SubscriptionScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionScope")
            .field("closed", &self.is_closed())
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

/// Takes a subscription that has ended off its scope.
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
