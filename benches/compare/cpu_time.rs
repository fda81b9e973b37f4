//! How much of the processor this process has used.

use std::fs;
use std::time::Duration;

/// What all threads of this process that live have used so far, or `None` where there is no telling: it is read from
/// Linux's `/proc`.
pub(crate) fn of_all_threads() -> Option<Duration> {
    let mut used = Duration::ZERO;
    for task in fs::read_dir("/proc/self/task").ok()? {
        let schedule = fs::read_to_string(task.ok()?.path().join("schedstat"));
        // A thread may have ended since it was listed.
        let Ok(schedule) = schedule else { continue };
        let nanoseconds = schedule.split_whitespace().next()?.parse().ok()?;
        used += Duration::from_nanos(nanoseconds);
    }
    Some(used)
}
