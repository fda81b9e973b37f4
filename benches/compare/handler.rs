//! What a reader does with each value. Every handler checks that the value is the next one.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fanfeed_benches::check;

/// What [`Working`] takes for one value.
const WORK: Duration = Duration::from_nanos(50);

/// A reader's handler. Each reading thread has its own copy.
pub(crate) trait Handler: Copy + Send + Sync + 'static {
    /// Handles the value with this number, where `expected` is the number that is due.
    fn handle(&mut self, number: u64, expected: u64);
}

/// Compares, and branches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checking;

impl Handler for Checking {
    #[inline(always)]
    fn handle(&mut self, number: u64, expected: u64) {
        check(number, expected);
    }
}

/// A call that the compiler cannot see through, as into another crate or through `dyn`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opaque(fn(u64, u64));

impl Opaque {
    /// The check, hidden.
    pub(crate) fn new() -> Self {
        Self(black_box(check))
    }
}

impl Handler for Opaque {
    #[inline(always)]
    fn handle(&mut self, number: u64, expected: u64) {
        (self.0)(number, expected);
    }
}

/// Checks, and then works for 50 ns: a chain of multiplications, each of which needs the one
/// before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Working {
    turns: u64,
    state: u64,
}

impl Working {
    /// Calibrated once for the whole run.
    pub(crate) fn new() -> Self {
        static TURNS: OnceLock<u64> = OnceLock::new();
        Self {
            turns: *TURNS.get_or_init(turns),
            state: 1,
        }
    }
}

impl Handler for Working {
    #[inline(always)]
    fn handle(&mut self, number: u64, expected: u64) {
        check(number, expected);
        self.state = black_box(work(self.state, self.turns));
    }
}

#[inline(never)]
fn work(mut state: u64, turns: u64) -> u64 {
    for _ in 0..turns {
        state = (state ^ (state >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    state
}

/// How many turns take [`WORK`]: from the fastest of some tries.
fn turns() -> u64 {
    const TURNS: u64 = 1 << 16;
    let fastest = (0..16)
        .map(|_| {
            let start = Instant::now();
            black_box(work(black_box(1), black_box(TURNS)));
            start.elapsed()
        })
        .min()
        .expect("there are some tries");
    let turns = TURNS as f64 * WORK.as_secs_f64() / fastest.as_secs_f64();
    turns.round() as u64
}
