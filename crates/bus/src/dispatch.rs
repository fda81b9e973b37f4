//! The handle of one dispatched event.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use crate::core::{Progress, Wait, blocking};
use crate::error::{BusError, EventError};

/// One dispatched event: whether its listeners have returned, and what went wrong.
///
/// Synchronous listeners have returned before there is a handle. Dropping it has no effect: the
/// asynchronous listeners run all the same, and their errors are on the bus.
///
/// With the feature `tokio` it can be awaited: `dispatch.await` is [`wait`](Self::wait) without a
/// thread.
pub struct Dispatch {
    /// `None` if no listener was asynchronous: then all is done.
    progress: Option<Arc<Progress>>,
    /// What went wrong, if there is no `progress`.
    errors: Vec<EventError>,
}

impl Dispatch {
    #[inline]
    pub(crate) fn finished(errors: Vec<EventError>) -> Self {
        Self {
            progress: None,
            errors,
        }
    }

    pub(crate) fn under_way(progress: Arc<Progress>) -> Self {
        Self {
            progress: Some(progress),
            errors: Vec::new(),
        }
    }

    /// Whether all listeners have returned. Once true, it stays true.
    pub fn is_done(&self) -> bool {
        self.progress
            .as_ref()
            .is_none_or(|progress| progress.is_done())
    }

    /// Waits until all listeners have returned. `Ok` says that they have, not that they succeeded:
    /// that stands in [`errors`](Self::errors).
    ///
    /// ```
    /// # use fanfeed_bus::{Context, Event, EventBus};
    /// # struct Ping;
    /// # impl Event for Ping {
    /// #     const NAME: &'static str = "ping";
    /// # }
    /// # let bus = EventBus::new();
    /// # let ping = bus.register(|_: &Ping, _: &Context| Err("no".into()))?;
    /// fn succeed(bus: &EventBus) -> Result<(), Box<dyn std::error::Error>> {
    ///     let dispatch = bus.dispatch(Ping);
    ///     dispatch.wait()?;
    ///     match dispatch.errors().pop() {
    ///         Some(error) => Err(error.into()),
    ///         None => Ok(()),
    ///     }
    /// }
    /// assert!(succeed(&bus).is_err());
    /// # drop(ping);
    /// # Ok::<(), fanfeed_bus::BusError>(())
    /// ```
    ///
    /// If a thread of the bus waits here, another thread takes its place, so waiting listeners do
    /// not delay other calls.
    ///
    /// # Errors
    ///
    /// [`WouldDeadlock`](BusError::WouldDeadlock) inside a listener that this dispatch waits for:
    /// its own, or one that waits in turn for a dispatch or a bus that the calling thread is inside
    /// of.
    pub fn wait(&self) -> Result<(), BusError> {
        self.wait_until(None)
    }

    /// Waits up to `timeout`, as [`wait`](Self::wait) does.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and [`Timeout`](BusError::Timeout) if not all listeners have
    /// returned by then.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), BusError> {
        self.wait_until(Some(deadline(timeout)))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<(), BusError> {
        let Some(progress) = &self.progress else {
            return Ok(());
        };
        if progress.is_done() {
            return Ok(());
        }
        let _wait = Wait::begin(progress.number())?;
        match blocking(|| progress.wait_until(deadline)) {
            true => Ok(()),
            false => Err(BusError::Timeout),
        }
    }

    /// A channel that yields nothing and is disconnected once all listeners have returned, to stand
    /// in a `select!`.
    ///
    /// ```
    /// use crossbeam_channel::{after, select};
    /// # use std::time::Duration;
    /// # use fanfeed_bus::{Event, EventBus};
    /// # struct Ping;
    /// # impl Event for Ping {
    /// #     const NAME: &'static str = "ping";
    /// # }
    /// # let bus = EventBus::new();
    ///
    /// let dispatch = bus.dispatch(Ping);
    /// select! {
    ///     recv(dispatch.done()) -> _ => println!("{:?}", dispatch.errors()),
    ///     recv(after(Duration::from_secs(1))) -> _ => println!("still under way"),
    /// }
    /// ```
    pub fn done(&self) -> Receiver<Infallible> {
        static DONE: OnceLock<Receiver<Infallible>> = OnceLock::new();
        match &self.progress {
            Some(progress) => progress.done(),
            None => DONE.get_or_init(|| bounded(0).1).clone(),
        }
    }

    /// What has gone wrong so far. It is complete once [`is_done`](Self::is_done), except that the
    /// broker may give the event up later, which is added then.
    pub fn errors(&self) -> Vec<EventError> {
        match &self.progress {
            Some(progress) => progress.errors(),
            None => self.errors.clone(),
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn progress(&self) -> Option<&Arc<Progress>> {
        self.progress.as_ref()
    }
}

/// The time after `timeout`, or one so far off that it never comes.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + FAR)
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch")
            .field("done", &self.is_done())
            .field("errors", &self.errors().len())
            .finish_non_exhaustive()
    }
}
