//! How a model is run.

use std::panic::Location;

use fanfeed::sync::mutants;

use crate::child;

/// How far a model is explored, and in what world.
///
/// A model fails at its first panic, wherever that is: an assertion of the model, a data race, a deadlock or a livelock
/// that loom reports. That a delivery catches the panics of what it calls does not hide it.
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
        let holds = self.run(None, f);
        assert_ne!(holds, Some(false), "the model fails");
    }

    /// Asserts that some execution of the model fails.
    #[track_caller]
    pub fn fails(self, f: impl Fn() + Send + Sync + 'static) {
        let holds = self.run(None, f);
        assert_ne!(holds, Some(true), "the model holds");
    }

    /// Asserts that the model fails with that mutant of the code.
    #[track_caller]
    pub fn fails_with(self, mutant: &'static str, f: impl Fn() + Send + Sync + 'static) {
        let holds = self.run(Some(mutant), f);
        assert_ne!(holds, Some(true), "the model does not notice `{mutant}`");
    }

    /// Asserts that every execution of the model goes well with that mutant of the code: it is not what this model needs.
    #[track_caller]
    pub fn holds_with(self, mutant: &'static str, f: impl Fn() + Send + Sync + 'static) {
        let holds = self.run(Some(mutant), f);
        assert_ne!(holds, Some(false), "the model fails");
    }

    /// Runs the model in a child process, and says whether it holds. `None` in the child of another model.
    #[track_caller]
    fn run<F>(self, mutant: Option<&'static str>, f: F) -> Option<bool>
    where
        F: Fn() + Send + Sync + 'static,
    {
        let subject = mutant.unwrap_or("the code as it is");
        let this = format!("{} with {subject}", Location::caller());
        let outcome = child::run(&this, &[], || self.explore(mutant, f))?;
        println!(
            "{} with {subject}: {}",
            std::any::type_name::<F>(),
            outcome.said
        );
        Some(outcome.holds)
    }

    /// Runs the model in this process.
    fn explore(self, mutant: Option<&'static str>, f: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(self.preemptions);
        builder.max_branches = self.branches;
        let explore = || {
            builder.check(move || {
                child::count_execution();
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
    }
}
