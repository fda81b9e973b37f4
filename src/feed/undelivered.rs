//! What a send gives back that did not reach every subscriber.

use std::error::Error;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::blocked;
use super::core::Core;
use super::delivery::Delivery;
use crate::subscription::SubscriptionId;
use crate::traits::debug_struct;

/// A subscriber that did not get a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// Its subscription.
    pub id: SubscriptionId,
    /// The name of its subscription, if it has one.
    pub name: Option<Arc<str>>,
}

/// Why a value was not delivered to every subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Subscribers had no room, and the send does not wait.
    Full,
    /// Subscribers had no room before the timeout or the deadline.
    Timeout,
}

/// A value that some subscribers did not get, and the list of these subscribers.
///
/// All other subscribers have got it. [`retry`](Self::retry) and its timed forms offer the value
/// only to the subscribers that missed it. Dropping this gives the value up for them: the receiver
/// of an own channel gets `Lagged` where the value would have been, and for other channels
/// [`Stats::dropped`](crate::Stats::dropped) counts it. Values that are sent in the meantime may
/// reach these subscribers before it.
///
/// ```
/// let feed = fanfeed::Feed::new();
/// let (slow_tx, slow) = crossbeam_channel::bounded(1);
/// let (fast_tx, fast) = crossbeam_channel::unbounded();
/// let _slow = feed.subscriber().name("slow").subscribe(slow_tx);
/// let _fast = feed.subscribe(fast_tx);
/// feed.send(1);
///
/// let undelivered = feed.try_send(2).unwrap_err();
/// assert_eq!(undelivered.delivered(), 1);
/// assert_eq!(undelivered.missed()[0].name.as_deref(), Some("slow"));
///
/// slow.recv()?;
/// assert_eq!(undelivered.retry().unwrap(), 2);
/// assert_eq!((slow.recv()?, fast.len()), (2, 2));
/// # Ok::<(), crossbeam_channel::RecvError>(())
/// ```
#[must_use = "some subscribers did not get the value"]
pub struct Undelivered<T>(Box<Parts<T>>);

// After a panic the feed is as its documentation says. The value, which this lends out, is as
// unwind-safe as its type.
impl<T: UnwindSafe> UnwindSafe for Undelivered<T> {}
impl<T: RefUnwindSafe> RefUnwindSafe for Undelivered<T> {}

struct Parts<T> {
    core: Arc<Core<T>>,
    delivery: Delivery<T>,
    missed: Vec<Missed>,
    cause: Cause,
}

impl<T> Undelivered<T> {
    /// How many subscribers have got the value, in all attempts so far.
    pub fn delivered(&self) -> usize {
        self.0.delivery.delivered()
    }

    /// The subscribers that did not get the value. Some of their subscriptions may have ended
    /// since.
    pub fn missed(&self) -> &[Missed] {
        &self.0.missed
    }

    /// The value.
    pub fn value(&self) -> &T {
        self.0.delivery.value()
    }

    /// Returns the value, and gives it up for the subscribers that missed it, as dropping this
    /// does.
    pub fn into_inner(self) -> T {
        self.0.delivery.into_value()
    }

    /// Why these subscribers did not get the value.
    pub fn cause(&self) -> Cause {
        self.0.cause
    }
}

impl<T: Clone + Send + 'static> Undelivered<T> {
    /// The result of a delivery that waits no longer.
    pub(crate) fn outcome(
        core: &Arc<Core<T>>,
        mut delivery: Delivery<T>,
        cause: Cause,
    ) -> Result<usize, Self> {
        core.tidy();
        if !delivery.has_pending() {
            return Ok(delivery.finish());
        }
        delivery.raise();
        let missed = delivery.pending_mut().iter_mut().map(|pending| {
            pending.leave();
            let entry = pending.entry();
            Missed {
                id: entry.id(),
                name: entry.name().cloned(),
            }
        });
        let missed = missed.collect();
        Err(Self(Box::new(Parts {
            core: Arc::clone(core),
            delivery,
            missed,
            cause,
        })))
    }

    /// Offers the value again, without waiting, to the subscribers that missed it.
    ///
    /// # Errors
    ///
    /// `Undelivered` again if some of them still have no room. It does not name subscriptions that
    /// have ended.
    pub fn retry(self) -> Result<usize, Self> {
        let Parts {
            core, mut delivery, ..
        } = *self.0;
        delivery.retry(&core);
        Self::outcome(&core, delivery, Cause::Full)
    }

    /// Offers the value again to the subscribers that missed it, and waits for them up to
    /// `timeout`.
    ///
    /// # Errors
    ///
    /// `Undelivered` again if some of them have no room within `timeout`.
    pub fn retry_timeout(self, timeout: Duration) -> Result<usize, Self> {
        self.retry_until(Instant::now().checked_add(timeout))
    }

    /// Offers the value again to the subscribers that missed it, and waits for them until
    /// `deadline`.
    ///
    /// # Errors
    ///
    /// `Undelivered` again if some of them have no room by `deadline`.
    pub fn retry_deadline(self, deadline: Instant) -> Result<usize, Self> {
        self.retry_until(Some(deadline))
    }

    fn retry_until(self, deadline: Option<Instant>) -> Result<usize, Self> {
        let Parts {
            core, mut delivery, ..
        } = *self.0;
        blocked::wait(&mut delivery, &core, deadline);
        Self::outcome(&core, delivery, Cause::Timeout)
    }
}

debug_struct!([T] Undelivered<T>, |this| Undelivered {
    delivered: this.delivered(),
    missed: this.missed(),
    cause: this.cause(),
});

impl<T> fmt::Display for Undelivered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reached, missed) = (self.delivered(), self.missed().len());
        let (subscribers, were) = if missed == 1 {
            ("subscriber", "was")
        } else {
            ("subscribers", "were")
        };
        let until = match self.cause() {
            Cause::Full => "",
            Cause::Timeout => " until the time was up",
        };
        write!(
            f,
            "{missed} {subscribers} {were} full{until} and did not get the value; {reached} got it"
        )
    }
}

impl<T> Error for Undelivered<T> {}
