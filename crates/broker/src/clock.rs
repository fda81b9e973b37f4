//! Points in time that the clock can count.

use std::time::{Duration, Instant};

/// What stands for a wait that the clock cannot count: a wait without end is as good.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The time after that wait.
pub(crate) fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + A_YEAR)
}
