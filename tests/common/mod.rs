//! Shared by the tests: waiting with a deadline, a watchdog, and values that count their clones and
//! drops.

// Each test binary uses a part of this.
#![allow(dead_code)]

#[cfg(target_os = "linux")]
pub(crate) mod child;
#[cfg(target_os = "linux")]
pub(crate) mod processor;
pub(crate) mod tasks;

use std::io::Write;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fanfeed::{Feed, Subscription};

/// How long a condition may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(30);
/// In what steps that is counted: while the process is stopped, or its machine suspended, one step
/// passes.
const STEP: Duration = Duration::from_millis(100);

/// Waits for a condition, and fails where it was called if that takes too long.
#[track_caller]
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) {
    let mut waited = Duration::ZERO;
    let mut pause = Duration::from_micros(20);
    while !condition() {
        assert!(
            waited < PATIENCE,
            "a condition did not come true within {PATIENCE:?}"
        );
        let start = Instant::now();
        thread::sleep(pause);
        waited += start.elapsed().min(STEP);
        pause = (pause * 2).min(Duration::from_millis(1));
    }
}

/// Joins a thread, and fails where it was called if that takes too long.
#[track_caller]
pub(crate) fn join<R>(thread: JoinHandle<R>) -> R {
    eventually(|| thread.is_finished());
    match thread.join() {
        Ok(returned) => returned,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// Aborts the process, loudly and with the test's name, if the test does not end in time. A hung
/// test would otherwise say nothing at all.
#[must_use = "it watches for as long as it lives"]
pub(crate) struct Watchdog(#[allow(dead_code)] mpsc::Sender<()>);

#[track_caller]
pub(crate) fn watchdog() -> Watchdog {
    let place = Location::caller();
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let (alive, watched) = mpsc::channel();
    thread::spawn(move || {
        let mut steps = 0..LIMIT.as_millis() / STEP.as_millis();
        if steps.all(|_| watched.recv_timeout(STEP) == Err(mpsc::RecvTimeoutError::Timeout)) {
            // Not `eprintln!`, whose output is captured and would be lost.
            let _ = writeln!(
                std::io::stderr(),
                "\n`{name}` at {place} hangs: not ended after {LIMIT:?}\n"
            );
            std::process::abort();
        }
    });
    Watchdog(alive)
}

/// A thread that a test waits for to sleep.
pub(crate) struct Sleeper(#[cfg(target_os = "linux")] std::path::PathBuf);

impl Sleeper {
    /// The calling thread.
    pub(crate) fn current() -> Self {
        Self(
            #[cfg(target_os = "linux")]
            processor::this_thread().join("stat"),
        )
    }

    /// Waits until it sleeps: in the wait that the test is about, since it was seen so several
    /// times running. Where the system does not tell, the thread is given time.
    #[track_caller]
    pub(crate) fn falls_asleep(&self) {
        #[cfg(target_os = "linux")]
        {
            let mut looks = 0;
            eventually(|| {
                looks = if processor::sleeps_now(&self.0) {
                    looks + 1
                } else {
                    0
                };
                looks == 5
            });
        }
        #[cfg(not(target_os = "linux"))]
        thread::sleep(Duration::from_millis(50));
    }

    /// Waits until it has begun to sleep so often. Where the system does not tell, the thread is
    /// given that time.
    #[track_caller]
    pub(crate) fn sleeps_for_the(&self, times: u64, instead: Duration) {
        #[cfg(target_os = "linux")]
        {
            let _ = instead;
            eventually(|| processor::has_slept(&self.0) >= times);
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = times;
            thread::sleep(instead);
        }
    }
}

/// Starts a send on a thread of its own, and returns once it waits for the subscriber.
#[track_caller]
pub(crate) fn blocked_send<T: Clone + Send + 'static>(
    feed: &Feed<T>,
    on: &Subscription,
    value: T,
) -> JoinHandle<usize> {
    blocked_sleeper(feed, on, value).0
}

/// As [`blocked_send`]; also returns what tells whether it sleeps.
#[track_caller]
pub(crate) fn blocked_sleeper<T: Clone + Send + 'static>(
    feed: &Feed<T>,
    on: &Subscription,
    value: T,
) -> (JoinHandle<usize>, Sleeper) {
    let before = on.stats().blocked;
    let feed = feed.clone();
    let (sleeper_tx, sleeper) = mpsc::channel();
    let sender = thread::spawn(move || {
        sleeper_tx.send(Sleeper::current()).unwrap();
        feed.send(value)
    });
    eventually(|| on.stats().blocked > before);
    (sender, sleeper.recv().unwrap())
}

/// What has become of all values made from it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    cloned: AtomicUsize,
    live: AtomicI64,
    /// So many clones from now, one panics; 0: none does.
    fuse: AtomicU64,
    /// The number whose next drop panics, plus one; 0: none does.
    thorn: AtomicU64,
}

impl Tally {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn value(self: &Arc<Self>, number: u64) -> Counted {
        self.live.fetch_add(1, Ordering::SeqCst);
        Counted {
            number,
            tally: Arc::clone(self),
        }
    }

    /// How often a value was cloned since this was called last.
    pub(crate) fn clones(&self) -> usize {
        self.cloned.swap(0, Ordering::SeqCst)
    }

    /// How many values have been made and not dropped. Negative if any was dropped twice.
    pub(crate) fn live(&self) -> i64 {
        self.live.load(Ordering::SeqCst)
    }

    /// Has the next drop of a value with that number panic, once.
    pub(crate) fn panic_at_drop_of(&self, number: u64) {
        self.thorn.store(number + 1, Ordering::SeqCst);
    }

    /// Has the clone after `good` further ones panic, once.
    pub(crate) fn panic_after(&self, good: u64) {
        self.fuse.store(good + 1, Ordering::SeqCst);
    }
}

/// A value that counts its clones and its drops.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) number: u64,
    tally: Arc<Tally>,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        let burn = |left: u64| left.checked_sub(1);
        let left = self
            .tally
            .fuse
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, burn);
        assert!(left != Ok(1), "a clone that panics");
        self.tally.cloned.fetch_add(1, Ordering::SeqCst);
        self.tally.value(self.number)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.tally.live.fetch_sub(1, Ordering::SeqCst);
        let hurts = !thread::panicking()
            && self
                .tally
                .thorn
                .compare_exchange(self.number + 1, 0, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok();
        assert!(!hurts, "the drop of {}", self.number);
    }
}

/// A value whose clone panics if its number is one of those given.
#[derive(Debug)]
pub(crate) struct Touchy(pub(crate) u64, pub(crate) &'static [u64]);

impl Clone for Touchy {
    fn clone(&self) -> Self {
        assert!(!self.1.contains(&self.0), "clone of {} panics", self.0);
        Self(self.0, self.1)
    }
}

/// The message of a panic.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or_default()
}

/// Small numbers that look random, the same for each seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
