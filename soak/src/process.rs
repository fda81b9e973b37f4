//! What the kernel says of this process, where it says it in files.

use std::fs;

/// Resident memory, in bytes.
pub(crate) fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    // Linux on x86-64 and most others; where pages are larger this is a constant factor, which the rule does not mind.
    Some(pages * 4096)
}

/// How many threads there are.
pub(crate) fn threads() -> Option<usize> {
    entries("/proc/self/task")
}

/// How many file descriptors are open, the one that looks included.
pub(crate) fn descriptors() -> Option<usize> {
    entries("/proc/self/fd")
}

fn entries(folder: &str) -> Option<usize> {
    Some(fs::read_dir(folder).ok()?.count())
}
