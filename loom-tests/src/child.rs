//! A model in its own process.
//!
//! The process ends at the model's first panic, wherever that is. Unwinding would run destructors
//! that wait for threads of the model, which never run again. Also, what a mutant may do to memory
//! stays in that process.

use std::env;
use std::panic::{self, PanicHookInfo};
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Tells a child process which model it is to run: where in the code that is, and what of it.
const CHILD: &str = "FANFEED_MODEL";
/// How a child ends whose model held.
const HELD: i32 = 2;
/// How a child ends whose model failed.
const FAILED: i32 = 3;

/// What a model came to.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) holds: bool,
    /// How many executions it had, and how it ended.
    pub(crate) said: String,
    /// What else was said, by its checker.
    #[allow(dead_code, reason = "loom's models do not read it")]
    pub(crate) notes: String,
}

impl Outcome {
    /// How many executions it had.
    #[allow(dead_code, reason = "shuttle's programs have as many as they are told")]
    pub(crate) fn executions(&self) -> usize {
        let number = self.said.split_whitespace().next();
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

/// How many executions the model of this process has begun.
static EXECUTIONS: AtomicUsize = AtomicUsize::new(0);

/// An execution begins.
pub(crate) fn count_execution() {
    EXECUTIONS.fetch_add(1, Ordering::Relaxed);
}

/// Whether this is the child for one model, perhaps another one.
#[allow(dead_code, reason = "loom's models do not ask")]
pub(crate) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Runs a model in a child process with these variables: `explore` returns there if the model
/// holds, and panics otherwise. `None` in the child of another model.
pub(crate) fn run(
    model: &str,
    variables: &[(&str, &str)],
    explore: impl FnOnce(),
) -> Option<Outcome> {
    match env::var(CHILD) {
        Err(_) => Some(start(model, variables)),
        Ok(wanted) if wanted == model => {
            panic::set_hook(Box::new(fail));
            let begun = Instant::now();
            explore();
            say(&format!("holds, {:.1?}", begun.elapsed()));
            process::exit(HELD)
        }
        Ok(_) => None,
    }
}

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
fn start(model: &str, variables: &[(&str, &str)]) -> Outcome {
    let program = env::current_exe().expect("a test program has a path");
    let child = Command::new(program)
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, model)
        .envs(variables.iter().copied())
        .output()
        .expect("a test program can be run");
    let output = String::from_utf8_lossy(&child.stdout);
    let notes = String::from_utf8_lossy(&child.stderr).into_owned();
    let said = output.lines().last().unwrap_or_default().to_owned();
    let (holds, said) = match child.status.code() {
        Some(HELD) => (true, said),
        Some(FAILED) => (false, said),
        None => (false, child.status.to_string()),
        Some(_) => panic!("no model ran: {notes}"),
    };
    Outcome { holds, said, notes }
}
