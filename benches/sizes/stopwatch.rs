//! A clock that runs only while something is measured.

use std::time::{Duration, Instant};

/// Adds up the time that something takes, and how many items it was done for.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    took: Duration,
    items: u64,
}

impl Stopwatch {
    /// Does something for so many items, and adds the time that it took.
    pub(crate) fn time<R>(&mut self, items: usize, run: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = run();
        self.took += start.elapsed();
        self.items += items as u64;
        result
    }

    /// Nanoseconds for one item.
    pub(crate) fn per_item(&self) -> f64 {
        self.took.as_nanos() as f64 / self.items.max(1) as f64
    }
}
