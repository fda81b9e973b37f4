//! The documented table of waits, implemented a second time.

use std::time::Duration;

/// How long the waits between attempts may be.
#[derive(Debug)]
pub(crate) struct Table {
    max: u128,
    /// Attempts that have failed quickly since the last that had lasted.
    quick: u32,
}

impl Table {
    pub(crate) fn new(max: Duration) -> Self {
        Self {
            max: max.as_nanos().clamp(1_000_000, u128::from(u64::MAX)),
            quick: 0,
        }
    }

    pub(crate) fn max(&self) -> Duration {
        nanos(self.max)
    }

    /// The shortest and the longest wait, now that an attempt has failed after so long.
    pub(crate) fn bounds(&mut self, lasted: Duration) -> (Duration, Duration) {
        // One that has lasted begins the table anew: the wait after it is the first.
        self.quick = if lasted.as_nanos() > self.max {
            1
        } else {
            self.quick.saturating_add(1)
        };
        let tenths = match self.quick {
            1 => 1,
            2 => 2,
            3 => 4,
            4 => 8,
            _ => 10,
        };
        let exact = self.max * tenths;
        // A wait is a whole number of nanoseconds. The first step is rounded down, and doubled as
        // it is.
        let longest = if tenths == 10 {
            self.max
        } else {
            self.max / 10 * tenths
        };
        (nanos((exact / 20).min(longest.div_ceil(2))), nanos(longest))
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
