//! Running a program.

use std::rc::Rc;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use fanfeed::{Attempts, Backoff, Step, SubscriptionError};

use super::model::Table;
use crate::trace::{self, ensure, expect};

/// A program.
#[derive(Debug, Clone, Arbitrary)]
pub struct Program {
    max: Length,
    seed: u64,
    attempts: Vec<Attempt>,
}

/// One attempt, and what comes after it.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct Attempt {
    lasts: Length,
    ends: End,
    /// The resubscription is cancelled while it waits for the next.
    is_cancelled_after: bool,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum End {
    Fails(u8),
    Overflows,
    /// A clock that runs backwards, which is not to put the waits out of order.
    FailsBeforeItBegan,
    Succeeds,
    IsCancelled,
}

/// A time span: any, or one that is near a limit.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Length {
    Zero,
    Nanos(u64),
    Millis(u16),
    Seconds(u32),
    /// The program's longest wait, and so much more or less.
    Max(i8),
    /// A tenth of it.
    Tenth(i8),
    /// As much as a `Duration` can be.
    Endless,
}

impl Length {
    fn get(self, max: Duration) -> Duration {
        let near = |length: Duration, more: i8| {
            let nanos = Duration::from_nanos(u64::from(more.unsigned_abs()));
            if more < 0 {
                length.saturating_sub(nanos)
            } else {
                length.saturating_add(nanos)
            }
        };
        match self {
            Self::Zero => Duration::ZERO,
            Self::Nanos(nanos) => Duration::from_nanos(nanos),
            Self::Millis(millis) => Duration::from_millis(millis.into()),
            Self::Seconds(seconds) => Duration::from_secs(seconds.into()),
            Self::Max(more) => near(max, more),
            Self::Tenth(more) => near(max / 10, more),
            Self::Endless => Duration::MAX,
        }
    }
}

/// Runs a program, and panics where the library is not what the model says.
pub fn run(program: Program) {
    let Program {
        max,
        seed,
        attempts: program,
    } = program;
    let program: Rc<[Attempt]> = program.into();
    trace::begin(&program);
    let max = max.get(Duration::from_secs(10));
    waits(max, seed, &program);
    resubscribes(max, seed, &program);
}

/// The waits alone.
fn waits(max: Duration, seed: u64, program: &[Attempt]) {
    let mut table = Table::new(max);
    let mut backoff = Backoff::with_seed(max, seed);
    let mut twin = Backoff::with_seed(max, seed);
    let mut other = Backoff::new(max);
    expect("max", &backoff.max(), &table.max());
    for (index, attempt) in program.iter().enumerate() {
        trace::at(index);
        let lasted = attempt.lasts.get(table.max());
        let (shortest, longest) = table.bounds(lasted);
        let wait = backoff.next_wait(lasted);
        expect(
            "the wait of one with the same seed",
            &twin.next_wait(lasted),
            &wait,
        );
        for wait in [wait, other.next_wait(lasted)] {
            ensure(shortest <= wait && wait <= longest, || {
                format!("a wait: expected {shortest:?} to {longest:?}, saw {wait:?}")
            });
        }
        // A copy goes on as the one it was made from.
        expect("max of a copy", &twin.clone().max(), &table.max());
    }
}

/// A resubscription whose clock is the program.
fn resubscribes(max: Duration, seed: u64, program: &[Attempt]) {
    let mut table = Table::new(max);
    let mut attempts = Attempts::new(Backoff::with_seed(max, seed));
    let mut now = Instant::now();
    let mut step = Step::Attempt(None);
    let mut last: Option<String> = None;
    let mut calls = 0;
    for (index, attempt) in program.iter().enumerate() {
        trace::at(index);
        let Step::Attempt(told) = step else {
            trace::fail(&format!("an attempt was due, and {step:?} came"))
        };
        calls += 1;
        expect(
            "the error that an attempt is told",
            &told.map(|error| error.to_string()),
            &last,
        );
        attempts.begin(now);
        // The clock cannot count for ever.
        let lasts = attempt
            .lasts
            .get(table.max())
            .min(Duration::from_secs(u32::MAX.into()));
        let began = now;
        now += lasts;
        let (ended, error) = match attempt.ends {
            End::Fails(number) => (
                now,
                Some(SubscriptionError::failed(format!("number {number}"))),
            ),
            End::Overflows => (now, Some(SubscriptionError::Overflowed)),
            End::FailsBeforeItBegan => {
                now = began;
                let before = began.checked_sub(lasts).unwrap_or(began);
                (before, Some(SubscriptionError::failed("too soon")))
            }
            End::Succeeds | End::IsCancelled => (now, None),
        };
        let lasted = ended.saturating_duration_since(began);
        last = error.as_ref().map(ToString::to_string);
        match attempts.ended(ended, error) {
            Step::End => {
                ensure(last.is_none(), || {
                    format!("it has ended, though an attempt failed: {last:?}")
                });
                break;
            }
            Step::Wait(wait, error) => {
                let (shortest, longest) = table.bounds(lasted);
                expect("the error", &Some(error.to_string()), &last);
                ensure(shortest <= wait && wait <= longest, || {
                    format!("a wait: expected {shortest:?} to {longest:?}, saw {wait:?}")
                });
                if attempt.is_cancelled_after {
                    break;
                }
                now = now
                    .checked_add(wait.min(Duration::from_secs(1 << 20)))
                    .unwrap_or(now);
                step = attempts.waited(error);
            }
            Step::Attempt(_) => trace::fail("an attempt came right after one that had ended"),
        }
    }
    let is_last = |attempt: &Attempt| {
        attempt.is_cancelled_after || matches!(attempt.ends, End::Succeeds | End::IsCancelled)
    };
    let expected = program
        .iter()
        .position(is_last)
        .map_or(program.len(), |last| last + 1);
    expect("attempts", &calls, &expected);
}
