//! Waiting for a condition in tests, with a deadline that fails loudly.

#![allow(dead_code, reason = "each file of tests uses what it needs")]

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// What `f` returns, if it returns in time.
#[track_caller]
pub(crate) fn in_time<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (tx, rx) = channel();
    let runner = thread::spawn(move || {
        let _ = tx.send(f());
    });
    match rx.recv_timeout(DEADLINE) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("it has not returned after {DEADLINE:?}"),
        Err(RecvTimeoutError::Disconnected) => {
            resume_unwind(runner.join().expect_err("it ended without a result"))
        }
    }
}

/// Waits until the condition holds.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "not after {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Lets a moment pass, so that a thread that does not wait for the caller shows it. This sleeps:
/// where other programs compute, each yield would take a time slice of some milliseconds.
pub(crate) fn a_moment() {
    thread::sleep(Duration::from_micros(100));
}
