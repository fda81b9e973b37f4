//! Shared by the benches: pinned threads, and contenders that take turns.
//!
//! Each contender is a criterion benchmark. Afterwards all contenders of a group run once more in
//! turn, in one loop, so that the machine affects the same round of each in the same way. So ratios
//! are stable where absolute figures drift. The table gives medians and the spread of the rounds.

use std::process::exit;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};

pub mod growth;
pub mod machine;
pub mod pin;
pub mod stats;
pub mod watchdog;

use stats::Spread;

/// One way to do a thing: a closure that does it so many times and says how long that took.
pub struct Contender<'a> {
    name: &'static str,
    run: Box<dyn FnMut(u64) -> Duration + 'a>,
}

impl std::fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contender")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Contender<'a> {
    /// A contender that times itself.
    pub fn new(name: &'static str, run: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }

    /// A contender of which every run counts in full.
    pub fn timed(name: &'static str, mut run: impl FnMut() + 'a) -> Self {
        Self::new(name, move |times| {
            let start = Instant::now();
            for _ in 0..times {
                run();
            }
            start.elapsed()
        })
    }
}

/// How many rounds the table is made of.
const ROUNDS: usize = 15;
/// How long one contender has the floor in a round.
const TURN: Duration = Duration::from_millis(20);

/// Benches the contenders of one question, and prints a table of them, relative to the first.
/// `per_run` is how many things one run does: the table's figures are nanoseconds for one of them.
pub fn compare(
    c: &mut Criterion,
    question: &str,
    case: &str,
    per_run: u64,
    mut contenders: Vec<Contender<'_>>,
) {
    let mut group = c.benchmark_group(question);
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(600));
    group.throughput(criterion::Throughput::Elements(per_run));
    for contender in &mut contenders {
        group.bench_function(BenchmarkId::new(contender.name, case), |b| {
            b.iter_custom(|times| (contender.run)(times));
        });
    }
    group.finish();
    if !is_smoke() {
        table(question, case, per_run, &mut contenders);
    }
}

/// Receives until nothing is left, and asserts that it was a whole burst of the numbers from 0 on,
/// in order: a contender that delivered less would look fast.
#[inline(always)]
pub fn check_burst(burst: u64, mut receive: impl FnMut() -> Option<u64>) {
    let mut received = 0;
    while let Some(value) = receive() {
        check(value, received);
        received += 1;
    }
    assert_eq!(received, burst, "a value was lost or doubled");
}

/// Ends the program if a value is not the next. The branch leaves the loop for good, so that the
/// loop over a slice of values stays a loop over single values: of checks that are merely
/// collected, compilers make vector code.
#[inline(always)]
pub fn check(value: u64, expected: u64) {
    if value != expected {
        out_of_place(value, expected);
    }
}

/// A panic would leave other threads waiting for this one.
#[cold]
#[inline(never)]
fn out_of_place(value: u64, expected: u64) -> ! {
    eprintln!("value {expected} was due, and {value} came");
    exit(1);
}

/// Whether this is a run that only shows that the benches work (`--test`), or lists them.
pub fn is_smoke() -> bool {
    std::env::args().any(|argument| argument == "--test" || argument == "--list")
}

fn table(question: &str, case: &str, per_run: u64, contenders: &mut [Contender<'_>]) {
    let times: Vec<u64> = contenders
        .iter_mut()
        .map(|contender| {
            let once = (contender.run)(10) / 10;
            (TURN.as_nanos() / once.as_nanos().max(1)).clamp(1, 1 << 40) as u64
        })
        .collect();
    let mut rounds = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for _ in 0..ROUNDS {
        for (index, contender) in contenders.iter_mut().enumerate() {
            let took = (contender.run)(times[index]).as_nanos() as f64;
            rounds[index].push(took / (times[index] * per_run) as f64);
        }
    }
    println!(
        "\n{question}, {case}: ns each, median (fastest to slowest of {ROUNDS} rounds), ratio round by round"
    );
    let first = rounds[0].clone();
    for (contender, rounds) in contenders.iter().zip(&rounds) {
        let ratios = rounds
            .iter()
            .zip(&first)
            .map(|(ours, theirs)| ours / theirs)
            .collect();
        let (time, ratio) = (Spread::of(rounds.clone()), Spread::of(ratios));
        println!("  {:<34} {time}   x {:.2}", contender.name, ratio.median);
    }
    println!();
}
