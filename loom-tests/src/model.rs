//! How a model is run.

use std::panic::Location;

use fanfeed::sync::mutants;

use crate::child::{self, Outcome};
use crate::why::Why;

/// A model of fewer executions than this has little to interleave, and says why that is enough.
const MANY: usize = 100;

/// How far a model is explored, and in what world.
///
/// A model fails at its first panic, wherever that is: an assertion of the model, a data race, a
/// deadlock or a livelock that loom reports. That a delivery catches the panics of what it calls
/// does not hide it.
#[derive(Debug, Clone, Copy)]
#[must_use = "a model does nothing until `holds` runs it, or `because` says why it fails"]
pub struct Model {
    preemptions: usize,
    branches: usize,
    timers: bool,
    plain_fences: bool,
    shared_feeds: bool,
    few: Option<&'static str>,
}

/// A model that has to fail, for a reason.
#[derive(Debug, Clone, Copy)]
#[must_use = "a model does nothing until `fails` or `fails_with` runs it"]
pub struct FailingModel {
    model: Model,
    why: Why,
}

impl Model {
    /// A model in which a thread is preempted, at a point where it could have gone on, at most so
    /// many times.
    pub fn bound(preemptions: usize) -> Self {
        Self {
            preemptions,
            branches: 2_000,
            timers: false,
            plain_fences: false,
            shared_feeds: false,
            few: None,
        }
    }

    /// Has every timed wait end once the other threads have run. Without this no timer ever fires.
    pub fn with_timers(mut self) -> Self {
        self.timers = true;
        self
    }

    /// Has light fences cost as much as others, so that a feed has no sole sender: its first sender
    /// claims places as one of many does.
    pub fn with_plain_fences(mut self) -> Self {
        self.plain_fences = true;
        self
    }

    /// Has each feed begin as one on which several threads have sent.
    pub fn with_shared_feeds(mut self) -> Self {
        self.shared_feeds = true;
        self
    }

    /// Has it hold after fewer than a hundred executions, for this reason.
    pub fn few(mut self, reason: &'static str) -> Self {
        self.few = Some(reason);
        self
    }

    /// The same model, which has to fail for this reason and no other.
    pub fn because(self, why: Why) -> FailingModel {
        FailingModel { model: self, why }
    }

    /// Asserts that every execution of the model goes well.
    #[track_caller]
    pub fn holds(self, f: impl Fn() + Send + Sync + 'static) {
        self.assert_holds(None, f);
    }

    /// Asserts that every execution of the model goes well with that mutant of the code: it is not
    /// what this model needs.
    #[track_caller]
    pub fn holds_with(self, mutant: &'static str, f: impl Fn() + Send + Sync + 'static) {
        self.assert_holds(Some(mutant), f);
    }

    #[track_caller]
    fn assert_holds(self, mutant: Option<&'static str>, f: impl Fn() + Send + Sync + 'static) {
        let Some(outcome) = self.run(mutant, f) else {
            return;
        };
        assert!(outcome.holds, "the model fails: {}", outcome.said);
        let executions = outcome.executions();
        match self.few {
            None => assert!(
                executions >= MANY,
                "{executions} executions: give it more to do, or say why they are enough with `few`"
            ),
            Some(_) => assert!(executions < MANY, "{executions} executions are not few"),
        }
    }

    /// Runs the model in a child process. `None` in the child of another model.
    #[track_caller]
    fn run<F>(self, mutant: Option<&'static str>, f: F) -> Option<Outcome>
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
        Some(outcome)
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
        let explore = || match self.plain_fences {
            true => mutants::with_plain_fences(explore),
            false => explore(),
        };
        let explore = || match self.shared_feeds {
            true => mutants::with_shared_feeds(explore),
            false => explore(),
        };
        if self.timers {
            mutants::with_timers(explore);
        } else {
            explore();
        }
    }
}

impl FailingModel {
    /// Asserts that some execution of the model fails.
    #[track_caller]
    pub fn fails(self, f: impl Fn() + Send + Sync + 'static) {
        self.assert_fails(None, f);
    }

    /// Asserts that the model fails with that mutant of the code.
    #[track_caller]
    pub fn fails_with(self, mutant: &'static str, f: impl Fn() + Send + Sync + 'static) {
        self.assert_fails(Some(mutant), f);
    }

    #[track_caller]
    fn assert_fails(self, mutant: Option<&'static str>, f: impl Fn() + Send + Sync + 'static) {
        let Some(outcome) = self.model.run(mutant, f) else {
            return;
        };
        let subject = mutant.unwrap_or("the code as it is");
        assert!(!outcome.holds, "the model holds with {subject}");
        let is_why = self.why.explains(&outcome.said);
        assert!(is_why, "not {:?}: {}", self.why, outcome.said);
    }
}
