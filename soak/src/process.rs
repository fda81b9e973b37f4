//! What the kernel says of this process, where it says it in files.

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

/// How many file descriptors are open, the one that looks included.
pub(crate) fn descriptors() -> Option<usize> {
    entries("/proc/self/fd")
}

fn entries(folder: &str) -> Option<usize> {
    Some(fs::read_dir(folder).ok()?.count())
}

#[cfg(test)]
mod tests {
    use super::resident_in;

    #[test]
    fn resident_memory_is_in_bytes() {
        let status = "Name:\tsoak\nVmHWM:\t    9 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n";
        assert_eq!(resident_in(status), Some(2 << 20));
        for status in ["", "VmRSS: 3 pages", "VmRSS: x kB"] {
            assert_eq!(resident_in(status), None, "{status}");
        }
    }
}
