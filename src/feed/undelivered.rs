//! What a send that would not wait, or not any longer, gives back.

use std::error::Error;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::blocked;
use super::core::Core;
use super::delivery::Delivery;
use crate::subscription::SubscriptionId;

/// A subscriber that has not got a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// Its subscription.
    pub id: SubscriptionId,
    /// The name of its subscription, if it has one.
    pub name: Option<Arc<str>>,
}

/// Why a value was not delivered to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Subscribers had no room, and the send does not wait.
    Full,
    /// Subscribers had no room until the time was up.
    Timeout,
}

/// A value that some subscribers have not got, and which these are.
///
/// All other subscribers have got it. [`retry`](Self::retry) and its timed forms offer the value
/// only to the subscribers that missed it. Dropping this gives the value up for them: the receiver
/// of an own channel gets `Lagged` where the value would have been, and for other channels
/// [`Stats::dropped`](crate::Stats::dropped) counts it. Values sent in the meantime may reach them
/// before it.
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
#[must_use = "some subscribers have not got the value"]
pub struct Undelivered<T>(Box<Parts<T>>);

// The feed survives whatever panics, as it says; the value, which this lends out, as far as its type does.
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

    /// The subscribers that have not got it. Some of them may have ended since.
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

    /// Why they have not got it.
    pub fn cause(&self) -> Cause {
        self.0.cause
    }
}

impl<T: Clone + Send + 'static> Undelivered<T> {
    /// What a delivery comes to that has stopped waiting.
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
    /// `Undelivered` again if some of them still have no room. The subscriptions that have ended are not among them.
    pub fn retry(self) -> Result<usize, Self> {
        let Parts {
            core, mut delivery, ..
        } = *self.0;
        delivery.retry(&core);
        Self::outcome(&core, delivery, Cause::Full)
    }

    /// Offers the value again to the subscribers that missed it, and waits for them up to `timeout`.
    ///
    /// # Errors
    ///
    /// `Undelivered` again if some of them have no room within `timeout`.
    pub fn retry_timeout(self, timeout: Duration) -> Result<usize, Self> {
        self.retry_until(Instant::now().checked_add(timeout))
    }

    /// Offers the value again to the subscribers that missed it, and waits for them until `deadline`.
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

impl<T> fmt::Debug for Undelivered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undelivered")
            .field("delivered", &self.delivered())
            .field("missed", &self.missed())
            .field("cause", &self.cause())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Undelivered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reached, missed) = (self.delivered(), self.missed().len());
        let why = match self.cause() {
            Cause::Full => "were full",
            Cause::Timeout => "were full until the time was up",
        };
        write!(
            f,
            "{missed} subscribers {why} and have not got the value, {reached} have"
        )
    }
}

impl<T> Error for Undelivered<T> {}
