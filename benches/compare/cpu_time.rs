//! The processor time that this process has used.

use std::fs;
use std::time::Duration;

/// What the other threads of this process that live have used so far, or `None` where there is no
/// telling: it is read from Linux's `/proc`. The calling thread's own part is left out, for reading
/// this costs more than a thread that sleeps.
pub(crate) fn of_other_threads() -> Option<Duration> {
    let calling = fs::read_link("/proc/thread-self").ok()?;
    let mut used = Duration::ZERO;
    for task in fs::read_dir("/proc/self/task").ok()? {
        let task = task.ok()?;
        if calling.file_name() == Some(&task.file_name()) {
            continue;
        }
        let schedule = fs::read_to_string(task.path().join("schedstat"));
        // A thread may have ended since it was listed.
        let Ok(schedule) = schedule else { continue };
        let nanoseconds = schedule.split_whitespace().next()?.parse().ok()?;
        used += Duration::from_nanos(nanoseconds);
    }
    Some(used)
}
