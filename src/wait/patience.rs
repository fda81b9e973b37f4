//! Waiting for something short that wakes no thread.

use std::time::Duration;

use super::yields::yield_if_quick;
use crate::sync;

/// Spins for about a microsecond, then yields a few times, then sleeps for longer and longer. It
/// never burns a core.
///
/// For waits that another thread ends within a few instructions, unless that thread was preempted.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    round: u32,
    slept: Duration,
}

impl Patience {
    const SPINS: u32 = 6;
    const YIELDS: u32 = 10;
    const FIRST_SLEEP: Duration = Duration::from_micros(50);
    const LONGEST_SLEEP: Duration = Duration::from_millis(1);

    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// How long it has waited, without the first microseconds. Always zero in a model.
    pub(crate) fn has_waited(&self) -> Duration {
        self.slept
    }

    /// Waits a little, longer each time.
    pub(crate) fn wait(&mut self) {
        if sync::MODELLED {
            // Time does not pass in a model.
            return sync::yield_now();
        }
        if self.round < Self::SPINS {
            for _ in 0..1 << self.round {
                sync::spin_loop();
            }
        } else if self.round >= Self::YIELDS || !yield_if_quick(|| 0) {
            self.round = self.round.max(Self::YIELDS);
            let doublings = (self.round - Self::YIELDS).min(5);
            let sleep = (Self::FIRST_SLEEP * (1 << doublings)).min(Self::LONGEST_SLEEP);
            sync::sleep(sleep);
            self.slept += sleep;
        }
        self.round = self.round.saturating_add(1);
    }
}
