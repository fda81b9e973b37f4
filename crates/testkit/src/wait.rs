//! Waiting for a condition instead of sleeping for a guessed time.

use std::thread;
use std::time::{Duration, Instant};

/// How long [`wait_until`] waits before it fails. It is far above the time that any condition takes
/// on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(2);

/// Waits until `condition` holds.
///
/// # Panics
/// After [`PATIENCE`], naming `what`.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_until_within(PATIENCE, what, condition);
}

/// Waits up to `limit` until `condition` holds.
///
/// # Panics
/// After `limit`, naming `what`.
#[track_caller]
pub fn wait_until_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(limit, what, || condition().then_some(()));
}

/// Waits up to `limit` until `look` returns a value, and returns that value.
///
/// # Panics
/// After `limit`, naming `what`.
#[track_caller]
pub fn wait_for<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        // The clock is read before each look, so that the last look comes after the limit. A
        // process that was stopped for the whole limit still looks once more.
        let late = started.elapsed() >= limit;
        if let Some(found) = look() {
            return found;
        }
        assert!(!late, "waited {limit:?} in vain: {what}");
        thread::sleep(POLL);
    }
}
