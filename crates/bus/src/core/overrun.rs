//! The timeout of one call of a listener.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fanfeed::CancelToken;

use crate::core::pool::Work;
use crate::core::{Progress, Shared, Source, Unfinished};
use crate::dispatch::deadline;
use crate::error::{BusError, EventError};
use crate::sync::{
    atomic::{AtomicU8, Ordering},
    mutant,
};

const RUNNING: u8 = 0;
const RETURNED: u8 = 1;
const OVERRAN: u8 = 2;

/// A call that has a timeout. Either the call returns first, or the timer fires first: `state` says
/// which.
///
/// It is counted in `progress`, by the one that came first: so the dispatch is not done before the
/// overrun stands on it.
pub(crate) struct Overrun {
    shared: Weak<Shared>,
    state: AtomicU8,
    token: CancelToken,
    error: EventError,
    progress: Option<Arc<Progress>>,
    unfinished: Option<Arc<dyn Unfinished>>,
}

fn is_counted() -> bool {
    !mutant!("bus::timer_does_not_count")
}

/// A timer that was set for a call.
pub(crate) struct Timer {
    overrun: Arc<Overrun>,
    key: (Instant, u64),
}

impl Timer {
    /// Begins the timeout of a call.
    pub(crate) fn set(
        shared: &Arc<Shared>,
        source: &Source,
        timeout: Duration,
        token: CancelToken,
        event: &str,
        progress: Option<&Arc<Progress>>,
        unfinished: Option<Arc<dyn Unfinished>>,
    ) -> Self {
        if let Some(progress) = progress
            && is_counted()
        {
            progress.add_one();
        }
        let label = Arc::clone(source.label());
        let overrun = Arc::new(Overrun {
            shared: Arc::downgrade(shared),
            state: AtomicU8::new(RUNNING),
            token,
            error: EventError::new(event, Some(label), BusError::Overran(timeout)),
            progress: progress.cloned(),
            unfinished,
        });
        let key = shared
            .pool
            .set_timer(deadline(timeout), Arc::clone(&overrun));
        Self { overrun, key }
    }

    /// The call has returned. Gives the error if it overran; if the timer has the dispatch, it has
    /// told it.
    pub(crate) fn end(self, shared: &Shared) -> Option<EventError> {
        // ORDERING: pairs with `fire`, which changes it at most once too.
        let had = self.overrun.state.swap(RETURNED, Ordering::AcqRel);
        if had != OVERRAN {
            shared.pool.take_timer(self.key);
            self.overrun.finish();
            return None;
        }
        Some(self.overrun.error.clone())
    }
}

impl Overrun {
    /// The time is over.
    pub(crate) fn fire(self: &Arc<Self>) {
        let (order, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        // ORDERING: pairs with `Timer::end`.
        let exchanged = self
            .state
            .compare_exchange(RUNNING, OVERRAN, order, failure);
        if exchanged.is_err() {
            return;
        }
        if let Some(progress) = &self.progress {
            progress.fail(self.error.clone());
        }
        if let Some(shared) = self.shared.upgrade() {
            shared.report(&self.error);
        }
        // On this thread, and not on one of the pool: a listener may have the last one of these,
        // and wait for its token.
        self.token.cancel();
        match (&self.unfinished, self.shared.upgrade()) {
            // That runs destructors of users, which may take long. This thread has other timers,
            // and starts threads.
            (Some(unfinished), Some(shared)) => {
                let (overrun, unfinished) = (Arc::clone(self), Arc::clone(unfinished));
                let end = move || {
                    unfinished.end();
                    overrun.finish();
                };
                shared.pool.submit(Work::Run(Box::new(end)));
            }
            _ => self.finish(),
        }
    }

    fn finish(&self) {
        if let Some(progress) = &self.progress
            && is_counted()
        {
            progress.finish_one();
        }
    }
}
