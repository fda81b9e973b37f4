//! Floor 2: what a resubscription does next. It reads no clock and starts no thread: it is told what happened, and when.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::error::SubscriptionError;

/// What comes next, unless the resubscription was cancelled.
#[derive(Debug)]
pub enum Step {
    /// Make an attempt. It is told the error of the attempt before.
    Attempt(Option<SubscriptionError>),
    /// Wait for this time after an attempt that failed with this error, and then make the next attempt.
    Wait(Duration, SubscriptionError),
    /// It has succeeded.
    End,
}

/// The attempts of one resubscription.
#[derive(Debug)]
pub struct Attempts {
    backoff: Backoff,
    began: Option<Instant>,
}

impl Attempts {
    /// None has been made.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            began: None,
        }
    }

    /// An attempt begins now.
    pub fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// The attempt has ended now, with this error if it failed.
    pub fn ended(&mut self, now: Instant, error: Option<SubscriptionError>) -> Step {
        let Some(error) = error else {
            return Step::End;
        };
        let began = self.began.take().unwrap_or(now);
        let lasted = now.saturating_duration_since(began);
        Step::Wait(self.backoff.next_wait(lasted), error)
    }

    /// The wait is over, after an attempt that failed with this.
    pub fn waited(&mut self, error: SubscriptionError) -> Step {
        Step::Attempt(Some(error))
    }
}
