//! The kernel's figures for this process, if it reports them in files.

use std::fs;

/// Resident memory, in bytes.
pub(crate) fn resident() -> Option<u64> {
    resident_in(&fs::read_to_string("/proc/self/status").ok()?)
}

/// The field that is in kB whatever the size of a page is.
fn resident_in(status: &str) -> Option<u64> {
    let field = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = field.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kilobytes << 10)
}

/// How many threads there are.
pub(crate) fn threads() -> Option<usize> {
    entries("/proc/self/task")
}

/// How many threads could run now, if they were given a processor: none, where all wait for each
/// other.
pub(crate) fn runnable() -> Option<usize> {
    let tasks = fs::read_dir("/proc/self/task").ok()?.flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    Some(stats.filter(|stat| is_runnable(stat)).count())
}

/// The state comes after the name, which is in parentheses and may be anything.
fn is_runnable(stat: &str) -> bool {
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state == Some('R')
}

/// How many file descriptors are open, the one that looks included.
pub(crate) fn descriptors() -> Option<usize> {
    entries("/proc/self/fd")
}

fn entries(folder: &str) -> Option<usize> {
    Some(fs::read_dir(folder).ok()?.count())
}

#[cfg(test)]
mod tests {
    use super::{is_runnable, resident_in};

    #[test]
    fn resident_memory_is_in_bytes() {
        let status = "Name:\tsoak\nVmHWM:\t    9 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n";
        assert_eq!(resident_in(status), Some(2 << 20));
        for status in ["", "VmRSS: 3 pages", "VmRSS: x kB"] {
            assert_eq!(resident_in(status), None, "{status}");
        }
    }

    #[test]
    fn a_thread_is_runnable_by_its_state_and_not_by_its_name() {
        assert!(is_runnable("7 (a thread) R 1 7 7 0"));
        assert!(!is_runnable("7 (a) R (thread) S 1 7 7 0"));
        assert!(!is_runnable(""));
    }
}
