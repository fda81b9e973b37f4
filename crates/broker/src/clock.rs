//! Points in time that the clock can represent.

use std::time::{Duration, Instant};

/// The wait that replaces one that the clock cannot represent. It is practically endless.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Returns the time at which a wait that starts now ends.
pub(crate) fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + A_YEAR)
}
