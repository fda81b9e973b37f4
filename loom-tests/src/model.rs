//! How a model is run.

use std::env;
use std::panic::{self, Location, PanicHookInfo};
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use fanfeed::sync::mutants;

/// Tells a child process which model it is to run: where in the code that is, and what of it.
const CHILD: &str = "FANFEED_MODEL";
/// How a child ends whose model held.
const HELD: i32 = 2;
/// How a child ends whose model failed.
const FAILED: i32 = 3;

/// How far a model is explored, and in what world.
///
/// A model fails at its first panic, wherever that is: an assertion of the model, a data race, a deadlock or a livelock
/// that loom reports. That a delivery catches the panics of what it calls does not hide it.
///
/// Each runs in a process of its own, which ends at that panic. Unwinding would run destructors that wait for threads of
/// the model which are never run again; and what a mutant may do to memory stays in there.
#[derive(Debug, Clone, Copy)]
#[must_use = "a model does nothing until `holds`, `fails` or `fails_with` runs it"]
pub struct Model {
    preemptions: usize,
    branches: usize,
    timers: bool,
}

impl Model {
    /// A model in which a thread is preempted, at a point where it could have gone on, at most so many times.
    pub fn bound(preemptions: usize) -> Self {
        Self {
            preemptions,
            branches: 2_000,
            timers: false,
        }
    }

    /// Has every timed wait end once the other threads have run. Without this no timer ever fires.
    pub fn with_timers(mut self) -> Self {
        self.timers = true;
        self
    }

    /// Asserts that every execution of the model goes well.
    #[track_caller]
    pub fn holds(self, f: impl Fn() + Send + Sync + 'static) {
        let outcome = self.run(None, f);
        assert_ne!(outcome, Some(Outcome::Fails), "the model fails");
    }

    /// Asserts that some execution of the model fails.
    #[track_caller]
    pub fn fails(self, f: impl Fn() + Send + Sync + 'static) {
        let outcome = self.run(None, f);
        assert_ne!(outcome, Some(Outcome::Holds), "the model holds");
    }

    /// Asserts that the model fails with that mutant of the code.
    #[track_caller]
    pub fn fails_with(self, mutant: &'static str, f: impl Fn() + Send + Sync + 'static) {
        let outcome = self.run(Some(mutant), f);
        assert_ne!(
            outcome,
            Some(Outcome::Holds),
            "the model does not notice `{mutant}`"
        );
    }

    /// Asserts that every execution of the model goes well with that mutant of the code: it is not what this model needs.
    #[track_caller]
    pub fn holds_with(self, mutant: &'static str, f: impl Fn() + Send + Sync + 'static) {
        let outcome = self.run(Some(mutant), f);
        assert_ne!(outcome, Some(Outcome::Fails), "the model fails");
    }

    /// Runs the model in a child process. `None` in the child of another model.
    #[track_caller]
    fn run<F>(self, mutant: Option<&'static str>, f: F) -> Option<Outcome>
    where
        F: Fn() + Send + Sync + 'static,
    {
        let subject = mutant.unwrap_or("the code as it is");
        let this = format!("{} with {subject}", Location::caller());
        match env::var(CHILD) {
            Err(_) => {
                let (outcome, said) = run_child(&this);
                println!("{} with {subject}: {said}", std::any::type_name::<F>());
                Some(outcome)
            }
            Ok(wanted) if wanted == this => self.explore(mutant, f),
            Ok(_) => None,
        }
    }

    /// Runs the model in this process, which ends with it.
    fn explore(self, mutant: Option<&'static str>, f: impl Fn() + Send + Sync + 'static) -> ! {
        panic::set_hook(Box::new(fail));
        let begun = Instant::now();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(self.preemptions);
        builder.max_branches = self.branches;
        let explore = || {
            builder.check(move || {
                EXECUTIONS.fetch_add(1, Ordering::Relaxed);
                f();
            });
        };
        let explore = || match mutant {
            Some(mutant) => mutants::with(mutant, explore),
            None => explore(),
        };
        if self.timers {
            mutants::with_timers(explore);
        } else {
            explore();
        }
        say(&format!("holds, {:.1?}", begun.elapsed()));
        process::exit(HELD)
    }
}

/// What a model came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Holds,
    Fails,
}

/// How many executions the model of this process has begun.
static EXECUTIONS: AtomicUsize = AtomicUsize::new(0);

/// The child's word to its parent, on its last line.
fn say(what: &str) {
    println!(
        "\n{} executions: {what}",
        EXECUTIONS.load(Ordering::Relaxed)
    );
}

/// Ends the process at the first panic of its model.
fn fail(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let reason = match payload.downcast_ref::<String>() {
        Some(formatted) => formatted.as_str(),
        None => payload.downcast_ref().copied().unwrap_or_default(),
    };
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let reason = reason.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    say(&format!("fails, {reason} ({place})"));
    process::exit(FAILED)
}

/// Runs this test program once more, for that model alone.
fn run_child(model: &str) -> (Outcome, String) {
    let program = env::current_exe().expect("a test program has a path");
    let child = Command::new(program)
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, model)
        .output()
        .expect("a test program can be run");
    let output = String::from_utf8_lossy(&child.stdout);
    let said = output.lines().last().unwrap_or_default().to_owned();
    match child.status.code() {
        Some(HELD) => (Outcome::Holds, said),
        Some(FAILED) => (Outcome::Fails, said),
        None => (Outcome::Fails, child.status.to_string()),
        Some(_) => panic!("no model ran: {}", String::from_utf8_lossy(&child.stderr)),
    }
}
