//! Floor 2: what a resubscription does next. It reads no clock and starts no thread: the caller
//! says what happened, and when.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::error::SubscriptionError;

/// The next step, unless the resubscription was cancelled.
#[derive(Debug)]
pub enum Step {
    /// Make an attempt. `f` gets the error of the previous attempt.
    Attempt(Option<SubscriptionError>),
    /// Wait for this time after an attempt that failed with this error, and then make the next
    /// attempt.
    Wait(Duration, SubscriptionError),
    /// The subscription ended without an error.
    End,
}

/// The attempts of one resubscription.
#[derive(Debug)]
pub struct Attempts {
    backoff: Backoff,
    began: Option<Instant>,
}

impl Attempts {
    /// No attempt has been made yet.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            began: None,
        }
    }

    /// An attempt begins at `now`.
    pub fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// The attempt ended at `now`, with `error` if it failed.
    pub fn ended(&mut self, now: Instant, error: Option<SubscriptionError>) -> Step {
        let Some(error) = error else {
            return Step::End;
        };
        let began = self.began.take().unwrap_or(now);
        let lasted = now.saturating_duration_since(began);
        Step::Wait(self.backoff.next_wait(lasted), error)
    }

    /// The wait is over, after an attempt that failed with `error`.
    pub fn waited(&mut self, error: SubscriptionError) -> Step {
        Step::Attempt(Some(error))
    }
}
