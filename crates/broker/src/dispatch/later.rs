//! Handlers that continue without their thread.
//!
//! When a handler starts a future, its job is parked until the future has ended. No thread waits
//! for it. A parked job keeps its place, its batch and its mark as a running handler, as if a
//! thread were inside the handler. So `unsubscribe` and `close`, which wait for handlers, wait for
//! futures too.
//!
//! # Invariant
//!
//! A delivery whose handler continues without its thread has one [`Completion`], which is finished
//! once: when its future ends, or when it is dropped. The job is parked once. The later of these
//! two events, under the lock of [`Parking`], makes the job continue.

use std::sync::Arc;
use std::time::Instant;

use fanfeed::Backoff;

use crate::dispatch::job::Turn;
use crate::dispatch::{Arrival, Job, Lane};
use crate::handler::{HandlerError, Outcome};
use crate::sync::Mutex;

/// The result of a call of a handler.
#[doc(hidden)]
#[non_exhaustive]
#[allow(
    missing_debug_implementations,
    reason = "between this crate's handlers and its jobs"
)]
pub enum Started {
    /// It has returned.
    Done(Outcome),
    /// It continues without this thread, and its completion will be finished.
    Later(Arc<dyn Unfinished>),
}

/// A handler that continues without its thread.
#[doc(hidden)]
pub trait Unfinished: Send + Sync {
    /// Makes it end soon. Runs no user code.
    fn cancel(&self);

    /// Ends it on this thread, unless another thread is inside it. In that case the other thread
    /// ends it.
    fn end(&self);
}

/// Finished by a handler that continues without its thread. Dropping it counts as a failure.
pub(crate) struct Completion {
    parking: Arc<Parking>,
    is_finished: bool,
}

/// The place of a job while its handler continues without a thread.
#[derive(Default)]
pub(crate) struct Parking {
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    #[default]
    Empty,
    Parked(Box<Parked>),
    Finished(Outcome),
    Over,
}

/// The state that a parked job needs to continue.
pub(crate) struct Parked {
    pub(crate) job: Job,
    pub(crate) suspended: Suspended,
}

/// A delivery whose handler continues.
pub(crate) struct Suspended {
    pub(crate) turn: Turn,
    pub(crate) arrival: Arrival,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) began: Instant,
}

impl Parking {
    /// Parks a job. Returns the job and the outcome if the handler has ended meanwhile.
    pub(crate) fn park(&self, parked: Box<Parked>) -> Option<(Box<Parked>, Outcome)> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Over) {
            State::Finished(outcome) => Some((parked, outcome)),
            _ => {
                *state = State::Parked(parked);
                None
            }
        }
    }

    fn finish(&self, outcome: Outcome) {
        let parked = {
            let mut state = self.state.lock();
            match std::mem::replace(&mut *state, State::Over) {
                State::Parked(parked) => parked,
                _ => {
                    *state = State::Finished(outcome);
                    return;
                }
            }
        };
        let Parked { job, suspended } = *parked;
        job.go_on(suspended, outcome);
    }
}

impl Completion {
    pub(crate) fn new(parking: Arc<Parking>) -> Self {
        Self {
            parking,
            is_finished: false,
        }
    }

    /// Makes the job continue with this outcome.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.is_finished = true;
        self.parking.finish(outcome);
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if !self.is_finished {
            let error = HandlerError::failed("the handler was dropped before it had ended");
            self.parking.finish(Err(error));
        }
    }
}

/// Marks the calling thread as being inside a handler of that lane, for as long as `f` takes.
pub(crate) fn inside<R>(lane: &Arc<Lane>, f: impl FnOnce() -> R) -> R {
    let _inside = super::InHandler::enter(lane);
    f()
}
