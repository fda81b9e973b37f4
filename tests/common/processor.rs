//! The processor time that a thread has used. Linux counts it for each thread, so other tests do
//! not matter.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{eventually, join};

/// Where this thread's figures are.
pub(crate) fn this_thread() -> PathBuf {
    let task = fs::read_link("/proc/thread-self").unwrap();
    Path::new("/proc").join(task)
}

/// Whether the thread with that `stat` sleeps, and not only waits for its turn.
pub(crate) fn sleeps_now(stat: &Path) -> bool {
    let text = fs::read_to_string(stat).unwrap();
    // The state follows the name, which may hold anything.
    let (_, figures) = text.rsplit_once(") ").unwrap();
    figures.starts_with('S')
}

/// How often the thread with that `stat` has begun to sleep.
pub(crate) fn has_slept(stat: &Path) -> u64 {
    let text = fs::read_to_string(stat.with_file_name("status")).unwrap();
    let mut figures = text.lines();
    let count = figures.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

fn used(figures: &Path) -> Duration {
    let text = fs::read_to_string(figures).unwrap();
    let nanos = text.split_whitespace().next().unwrap();
    Duration::from_nanos(nanos.parse().unwrap())
}

const INTERVAL: Duration = Duration::from_millis(200);
/// A thread that spins uses most of the interval, even where it shares the processor with a few
/// others.
const BOUND: Duration = Duration::from_millis(30);

/// Runs `wait` on a thread of its own, measures that thread once `is_waiting`, and then has
/// `release` end it.
#[track_caller]
pub(crate) fn sleeps<R: Send + 'static>(
    wait: impl FnOnce() -> R + Send + 'static,
    is_waiting: impl Fn() -> bool,
    release: impl FnOnce(),
) -> R {
    let (tx, rx) = mpsc::channel();
    let waiter = thread::spawn(move || {
        tx.send(this_thread().join("schedstat")).unwrap();
        wait()
    });
    let figures = rx.recv().unwrap();
    eventually(is_waiting);
    // A virtual machine that is paused while the thread runs counts that as the thread's time, once
    // in a while: so one interval may have too much, but not most of them.
    let mut intervals = [(); 3].map(|()| {
        let before = used(&figures);
        thread::sleep(INTERVAL);
        used(&figures) - before
    });
    intervals.sort();
    let spent = intervals[1];
    assert!(!waiter.is_finished(), "it was to wait");
    release();
    let returned = join(waiter);
    assert!(spent < BOUND, "used {spent:?} in {INTERVAL:?}");
    returned
}
