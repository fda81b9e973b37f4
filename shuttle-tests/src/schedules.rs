//! How a program is run.

use std::env;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use fanfeed::sync::mutants;
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

use crate::child::{self, Outcome};
use crate::why::Why;

const SCHEDULES: &str = "FANFEED_SHUTTLE_SCHEDULES";
const SEED: &str = "FANFEED_SHUTTLE_SEED";
const SCHEDULE: &str = "FANFEED_SHUTTLE_SCHEDULE";

/// How many schedules a scheduler tries where nothing else is said.
const DEFAULT_SCHEDULES: u64 = 10_000;
/// Where they are drawn from where nothing else is said: what passes today is to pass tomorrow.
const DEFAULT_SEED: u64 = 0x6661_6e66_6565_6400;

/// Some thousands of schedules of a program.
///
/// A program fails at its first panic, wherever that is: an assertion, accesses to one cell that
/// overlap, a deadlock, or more steps than any schedule of it should need. That a delivery catches
/// the panics of what it calls does not hide it. A panic that is part of the program is begun by
/// [`resume_unwind`](std::panic::resume_unwind), which tells nobody of it.
#[derive(Debug, Clone, Copy)]
#[must_use = "a program is not run until `hold` does, or `because` says why it fails"]
pub struct Schedules {
    steps: usize,
    timers: bool,
    /// How many times the usual number of schedules is tried.
    times: usize,
}

/// Some thousands of schedules of a program that has to fail with its mutant, for a reason.
#[derive(Debug, Clone, Copy)]
#[must_use = "a program is not run until `find` or `find_again` does"]
pub struct FailingSchedules {
    schedules: Schedules,
    why: Why,
}

/// Which schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draw {
    /// Each step is drawn from the threads that can go on.
    Random,
    /// Threads have priorities that are drawn, and so many places less one, also drawn, where the
    /// running one loses its.
    Pct { depth: usize },
    /// The one that is given.
    Replay,
}

/// What is run.
struct Program {
    /// Where in the tests that was said, which tells it from others.
    place: &'static Location<'static>,
    mutant: Option<&'static str>,
    f: Arc<dyn Fn() + Send + Sync>,
}

impl Program {
    #[track_caller]
    fn new(mutant: Option<&'static str>, f: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            place: Location::caller(),
            mutant,
            f: Arc::new(f),
        }
    }
}

impl Default for Schedules {
    fn default() -> Self {
        Self::new()
    }
}

impl Schedules {
    const DRAWS: [Draw; 2] = [Draw::Random, Draw::Pct { depth: 3 }];

    /// Schedules in which timers never fire.
    pub fn new() -> Self {
        Self {
            steps: 100_000,
            timers: false,
            times: 1,
        }
    }

    /// Has every timed wait end once other threads have run.
    pub fn with_timers(mut self) -> Self {
        self.timers = true;
        self
    }

    /// The same schedules, of a program that has to fail with its mutant for this reason and no
    /// other.
    pub fn because(self, why: Why) -> FailingSchedules {
        FailingSchedules {
            schedules: self,
            why,
        }
    }

    /// Asserts that the program goes well under all schedules.
    #[track_caller]
    pub fn hold(self, f: impl Fn() + Send + Sync + 'static) {
        let program = Program::new(None, f);
        if let Ok(schedule) = env::var(SCHEDULE) {
            self.assert_holds(Draw::Replay, Some(&schedule), &program);
        } else {
            for draw in Self::DRAWS {
                self.assert_holds(draw, None, &program);
            }
        }
    }

    #[track_caller]
    fn assert_holds(self, draw: Draw, schedule: Option<&str>, program: &Program) {
        if let Some(outcome) = self.run(draw, schedule, program) {
            assert!(
                outcome.holds,
                "{}\nto replay it, set {SCHEDULE} to\n{}",
                outcome.said,
                failing_schedule(&outcome).unwrap_or("(it was not told)")
            );
        }
    }

    /// Runs the program in a child process. `None` in the child of another one.
    fn run(self, draw: Draw, schedule: Option<&str>, program: &Program) -> Option<Outcome> {
        let Program {
            place,
            mutant,
            f: _,
        } = program;
        let subject = mutant.unwrap_or("the code as it is");
        let this = format!("{place}, {draw}, {} times, with {subject}", self.times);
        let variables = schedule.map(|schedule| (SCHEDULE, schedule));
        let outcome = child::run(&this, variables.as_slice(), || {
            let explore = || self.explore(draw, program);
            match mutant {
                Some(mutant) => mutants::with(mutant, explore),
                None => explore(),
            }
        })?;
        println!("{this}: {}", outcome.said);
        Some(outcome)
    }

    /// Runs the program in this process.
    fn explore(self, draw: Draw, program: &Program) {
        let count = number(SCHEDULES).unwrap_or(DEFAULT_SCHEDULES) as usize * self.times;
        let seed = number(SEED).unwrap_or(DEFAULT_SEED);
        let explore = || match draw {
            Draw::Random => self.schedule(RandomScheduler::new_from_seed(seed, count), program),
            Draw::Pct { depth } => {
                self.schedule(PctScheduler::new_from_seed(seed, depth, count), program);
            }
            Draw::Replay => {
                let schedule = env::var(SCHEDULE).expect("a replay has a schedule");
                self.schedule(ReplayScheduler::new_from_encoded(&schedule), program);
            }
        };
        if self.timers {
            mutants::with_timers(explore);
        } else {
            explore();
        }
    }

    fn schedule(self, scheduler: impl Scheduler + 'static, program: &Program) {
        let mut config = Config::new();
        config.stack_size = 1 << 17;
        config.max_steps = MaxSteps::FailAfter(self.steps);
        // That weaker orderings are taken for `SeqCst`, and that statics are dropped, is known.
        config.silence_warnings = true;
        let f = Arc::clone(&program.f);
        Runner::new(scheduler, config).run(move || {
            child::count_execution();
            f();
        });
    }
}

impl FailingSchedules {
    /// How many times the usual number of schedules is tried for a mutant that none of those
    /// noticed. The search ends at the first that does, so that a mutant which is seldom noticed
    /// costs time only where chance was against it.
    const MORE: usize = 20;

    /// Asserts that the program fails with that mutant of the code, under one schedule of either
    /// scheduler.
    #[track_caller]
    pub fn find(self, mutant: &'static str, f: impl Fn() + Send + Sync + 'static) {
        let program = Program::new(Some(mutant), f);
        if let Ok(schedule) = env::var(SCHEDULE) {
            let _ = self.schedules.run(Draw::Replay, Some(&schedule), &program);
            return;
        }
        let found = [1, Self::MORE]
            .into_iter()
            .flat_map(|times| Schedules::DRAWS.map(|draw| (times, draw)))
            .filter_map(|(times, draw)| {
                let schedules = Schedules {
                    times,
                    ..self.schedules
                };
                schedules.run(draw, None, &program)
            })
            .any(|outcome| self.is_found(&outcome));
        assert!(found || child::is_child(), "no schedule notices `{mutant}`");
    }

    /// Asserts that the program fails with that mutant of the code, under a schedule that either
    /// scheduler draws, and that it fails in the same way when that schedule is replayed.
    #[track_caller]
    pub fn find_again(self, mutant: &'static str, f: impl Fn() + Send + Sync + 'static) {
        let program = Program::new(Some(mutant), f);
        let found: Vec<_> = Schedules::DRAWS
            .into_iter()
            .filter_map(|draw| self.schedules.run(draw, None, &program))
            .filter(|outcome| self.is_found(outcome))
            .collect();
        if child::is_child() {
            // The schedule comes from the parent.
            self.schedules.run(Draw::Replay, None, &program);
            return;
        }
        assert!(!found.is_empty(), "no schedule notices `{mutant}`");
        for outcome in &found {
            let schedule = failing_schedule(outcome).expect("a failure tells its schedule");
            let again = self.schedules.run(Draw::Replay, Some(schedule), &program);
            let again = again.expect("this is no child");
            assert_eq!(again.said, format!("1 executions: {}", reason(outcome)));
        }
    }

    /// Whether it failed, for its reason.
    #[track_caller]
    fn is_found(self, outcome: &Outcome) -> bool {
        assert!(
            outcome.holds || self.why.explains(&outcome.said),
            "not {:?}: {}",
            self.why,
            outcome.said
        );
        !outcome.holds
    }
}

impl fmt::Display for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str("random"),
            Self::Pct { depth } => write!(f, "pct of depth {depth}"),
            Self::Replay => f.write_str("replay"),
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    match value.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{variable} is `{value}`: {error}"),
    }
}

/// The schedule that shuttle told of, on a line of its own between quotation marks.
fn failing_schedule(outcome: &Outcome) -> Option<&str> {
    let (_, told) = outcome.notes.split_once("failing schedule:\n\"\n")?;
    told.split_once("\n\"").map(|(schedule, _)| schedule)
}

/// How it ended, without the number of executions.
fn reason(outcome: &Outcome) -> &str {
    outcome
        .said
        .split_once(": ")
        .map_or("", |(_, reason)| reason)
}
