//! The handle of a subscription to a broker.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use fanfeed::Subscription;

use crate::clock;
use crate::dispatch::Member;
use crate::error::ReadyError;

/// A subscription to a broker. Dropping it unsubscribes.
///
/// It dereferences to a [`Subscription`] of the core.
/// [`into_subscription`](Self::into_subscription) makes it one, for
/// [scopes](fanfeed::SubscriptionScope), [`join`](Subscription::join) and
/// [`resubscribe`](fanfeed::resubscribe()).
///
/// # Unsubscribing
///
/// When [`unsubscribe`](Subscription::unsubscribe) returns, the handler is not running and is never
/// called again. So it waits for a running handler, and cancels its token to tell it to stop. A
/// call inside a handler of any broker does not wait. A plain subscription drops the messages that
/// it had not begun. A member of a group hands them on (except with NATS core, which drops them).
///
/// The thread that ends the subscription drops the handler's captured values: the caller, or a
/// thread of the pool, which may still be dropping them when `unsubscribe` returns. So a destructor
/// may wait for the caller.
#[must_use = "dropping a subscription unsubscribes it; keep it, or call `detach()` to let it run"]
pub struct BrokerSubscription {
    subscription: Subscription,
    member: Arc<Member>,
}

impl BrokerSubscription {
    pub(crate) fn new(member: Arc<Member>) -> Self {
        Self {
            subscription: Subscription::from_source(Arc::clone(&member) as _),
            member,
        }
    }

    /// Ends the subscription, as [`unsubscribe`](Subscription::unsubscribe) does. This is its name
    /// in a `Broadcaster`.
    pub fn cancel(&self) {
        self.subscription.unsubscribe();
    }

    /// Ends the subscription without waiting for a running handler. The handler's token is
    /// cancelled, and the handler is not called again. This method runs no user code, and may be
    /// called under a lock that the handler needs. Dropping the handle still waits;
    /// [`detach`](Self::detach) does not.
    pub fn cancel_soon(&self) {
        self.member.end_with(None, false);
    }

    /// How many messages were dropped because the buffer was full. Members of a group share the
    /// count.
    pub fn dropped(&self) -> u64 {
        self.member.lane().dropped()
    }

    /// Waits up to `timeout` until the subscription is live. In memory, and if the server answered
    /// when the subscription was made, it is live from the start.
    ///
    /// # Errors
    ///
    /// [`ReadyError::Timeout`] if it is not live after `timeout`, and [`ReadyError::Ended`] if it
    /// has ended.
    pub fn ready(&self, timeout: Duration) -> Result<(), ReadyError> {
        wait_ready(&self.member, timeout)
    }

    /// The async variant of [`ready`](Self::ready). It waits on one of the runtime's threads for
    /// blocking work. If the future is dropped, that wait still runs to its end.
    ///
    /// # Errors
    ///
    /// The errors of [`ready`](Self::ready).
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn ready_async(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), ReadyError>> + Send + use<> {
        let member = Arc::clone(&self.member);
        crate::asynchronous::blocking(move || wait_ready(&member, timeout))
    }

    /// Returns the core's handle, for scopes and `join`.
    pub fn into_subscription(self) -> Subscription {
        self.subscription
    }

    /// Keeps the subscription running without its handle, until the broker ends.
    pub fn detach(self) {
        self.subscription.detach();
    }
}

fn wait_ready(member: &Member, timeout: Duration) -> Result<(), ReadyError> {
    let live = member.wait_live(clock::after(timeout));
    if member.is_ended() {
        Err(ReadyError::Ended)
    } else if live {
        Ok(())
    } else {
        Err(ReadyError::Timeout)
    }
}

impl Deref for BrokerSubscription {
    type Target = Subscription;

    fn deref(&self) -> &Subscription {
        &self.subscription
    }
}

impl From<BrokerSubscription> for Subscription {
    fn from(subscription: BrokerSubscription) -> Self {
        subscription.into_subscription()
    }
}

impl fmt::Debug for BrokerSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerSubscription")
            .field("key", self.member.lane().key())
            .field("group", &self.member.lane().group())
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}
