//! Pinned threads that begin at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed_benches::pin;

/// What a thread does, and on which core. It is boxed for the sake of the compiler, which otherwise
/// makes all that a thread needs anew for each contender.
pub(crate) struct Job<'a> {
    core: usize,
    run: Box<dyn FnOnce() + Send + 'a>,
}

impl<'a> Job<'a> {
    /// Runs this on that core.
    pub(crate) fn new(core: usize, run: impl FnOnce() + Send + 'a) -> Self {
        Self {
            core,
            run: Box::new(run),
        }
    }
}

/// When a job ran.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
}

impl Span {
    /// How long it ran.
    pub(crate) fn length(self) -> Duration {
        self.ended - self.begun
    }
}

/// Runs each job on a thread of its own. They begin together, once all threads are there.
pub(crate) fn run<const JOBS: usize>(jobs: [Job<'_>; JOBS]) -> [Span; JOBS] {
    let spans = run_all(jobs.into());
    spans.try_into().expect("one for each job")
}

/// The same, for a number that is known when it runs.
pub(crate) fn run_all(jobs: Vec<Job<'_>>) -> Vec<Span> {
    let gate = Gate::new(jobs.len());
    thread::scope(|scope| {
        let gate = &gate;
        let threads: Vec<_> = (jobs.into_iter())
            .map(|job| scope.spawn(move || run_one(job, gate)))
            .collect();
        let spans = threads.into_iter().map(|thread| thread.join());
        spans.map(|span| span.expect("no job panics")).collect()
    })
}

fn run_one(job: Job<'_>, gate: &Gate) -> Span {
    pin::to_core(job.core);
    gate.pass();
    let begun = Instant::now();
    (job.run)();
    let ended = Instant::now();
    Span { begun, ended }
}

/// Opens when so many threads stand before it. They spin: one that has to be woken starts some 50
/// µs late.
struct Gate {
    missing: AtomicUsize,
}

impl Gate {
    /// A gate for so many threads.
    fn new(threads: usize) -> Self {
        Self {
            missing: AtomicUsize::new(threads),
        }
    }

    /// Waits for the others.
    fn pass(&self) {
        // ORDERING: AcqRel and Acquire pair with one another, so that what a thread did to set
        // itself up lies before what the others time.
        self.missing.fetch_sub(1, Ordering::AcqRel);
        for turn in 1_u32.. {
            if self.missing.load(Ordering::Acquire) == 0 {
                return;
            }
            // There may be more threads than cores.
            if turn.is_multiple_of(1 << 12) {
                thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
}
