//! Runs the steps, reports their progress, and prints a summary.

use crate::steps::{Step, Work};
use crate::tools::Tools;
use crate::unavailable;
use crate::verdict;
use std::fmt::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(String),
    NotRun(String),
}

/// A step that has ended.
#[derive(Debug)]
struct Entry<'a> {
    step: &'a Step,
    outcome: Outcome,
    took: Duration,
}

/// Runs all steps. The steps that can run beside the others have a thread of their own, because one
/// of two processors would be idle most of the time otherwise. Each of the two groups runs in
/// order. The steps after a failure run too, unless `fail_fast` is set, so that one run reports
/// every failure. A step that `only` names fails if it cannot be run.
pub(crate) fn run(steps: &mut [Step], only: &[String], fail_fast: bool) -> ExitCode {
    let run = Run {
        only,
        tools: Mutex::default(),
        stopped: AtomicBool::new(false),
        fail_fast,
        is_ci: unavailable::is_ci(),
    };
    // The output of steps that run beside others is held back, unless there are no other steps.
    let is_divided = steps.iter().any(|step| !step.is_beside);
    let (beside, shown): (Vec<_>, Vec<_>) = steps
        .iter_mut()
        .enumerate()
        .partition(|(_, step)| is_divided && step.is_beside);
    let mut entries = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let run = &run;
        scope.spawn(move || {
            for (place, step) in beside {
                let mut text = String::new();
                let entry = run.step(step, Some(&mut text));
                if sender.send((place, entry, text)).is_err() {
                    break;
                }
            }
        });
        let mut entries = Vec::new();
        for (place, step) in shown {
            entries.push((place, run.step(step, None)));
            for (place, entry, text) in receiver.try_iter() {
                print!("{text}");
                entries.push((place, entry));
            }
        }
        for (place, entry, text) in receiver {
            print!("{text}");
            entries.push((place, entry));
        }
        entries
    });
    entries.sort_by_key(|(place, _)| *place);
    let entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
    let mut text = String::new();
    let passed = summarise(&entries, &mut text).expect("a string takes everything");
    print!("{text}");
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What all steps of a run share.
struct Run<'a> {
    /// The steps and groups that were asked for, or none.
    only: &'a [String],
    tools: Mutex<Tools>,
    /// Set when a step has failed and no later step may run.
    stopped: AtomicBool,
    fail_fast: bool,
    is_ci: bool,
}

impl Run<'_> {
    /// Runs a step and reports that. With `unseen`, the report and the output of the command are
    /// added to it. Otherwise both go to standard output.
    fn step<'a>(&self, step: &'a mut Step, mut unseen: Option<&mut String>) -> Entry<'a> {
        let started = Instant::now();
        let outcome = if self.stopped.load(Relaxed) {
            Outcome::NotRun("an earlier step failed".to_owned())
        } else {
            let mut tools = self.tools.lock().expect("a step does not panic");
            if let Some(reason) = step.settle(&mut tools) {
                let note = format!("    {} does less: {reason}", step.name);
                say(&mut unseen, &format!("\n{note}"));
            }
            say(&mut unseen, &format!("\n==> {step}"));
            let ready = prepare(step, &mut tools);
            drop(tools);
            let outcome = ready.unwrap_or_else(|| perform(step, &mut unseen));
            let is_asked_for = self.only.contains(&step.name);
            demand(step, outcome, is_asked_for, self.is_ci)
        };
        let took = started.elapsed();
        let name = &step.name;
        match &outcome {
            Outcome::Passed => say(
                &mut unseen,
                &format!("<== {name}: passed in {}", seconds(took)),
            ),
            Outcome::Failed(why) => {
                say(
                    &mut unseen,
                    &format!("<== {name}: FAILED in {}: {why}", seconds(took)),
                );
                if self.fail_fast {
                    self.stopped.store(true, Relaxed);
                }
            }
            Outcome::NotRun(_) if self.stopped.load(Relaxed) => {}
            Outcome::NotRun(why) => say(&mut unseen, &format!("<== {name}: not run: {why}")),
        }
        Entry {
            step,
            outcome,
            took,
        }
    }
}

fn say(unseen: &mut Option<&mut String>, line: &str) {
    match unseen {
        Some(text) => {
            text.push_str(line);
            text.push('\n');
        }
        None => println!("{line}"),
    }
}

/// A step that was asked for by its name and was not run is a failure. Under `CI`, any other is one
/// too, unless the table of `unavailable` excuses it. Otherwise a run without a tool would pass.
fn demand(step: &Step, outcome: Outcome, is_asked_for: bool, is_ci: bool) -> Outcome {
    let Outcome::NotRun(why) = outcome else {
        return outcome;
    };
    match unavailable::excuse(&step.name) {
        _ if is_asked_for => Outcome::Failed(format!("asked for, and not run: {why}")),
        _ if !is_ci => Outcome::NotRun(why),
        Some(reason) => Outcome::NotRun(format!("{why}; {reason}")),
        None => Outcome::Failed(format!("not run, which CI demands: {why}")),
    }
}

/// Installs what the step needs. If the step cannot begin, returns how it ended.
fn prepare(step: &Step, tools: &mut Tools) -> Option<Outcome> {
    for tool in &step.needs {
        if let Err(reason) = tools.ensure(*tool) {
            return Some(Outcome::NotRun(reason.to_owned()));
        }
    }
    let programs = step.programs.as_ref()?;
    let error = programs.write().err()?;
    Some(Outcome::Failed(format!(
        "its programs could not be written: {error}"
    )))
}

fn perform(step: &Step, unseen: &mut Option<&mut String>) -> Outcome {
    let (command, judge) = match &step.work {
        Work::Run(command) => (command, None),
        Work::Judge(command, judge) => (command, Some(judge)),
        Work::Leave(reason) => return Outcome::NotRun(reason.clone()),
    };
    let (written, ended) = match (unseen, judge) {
        (Some(text), _) => {
            let (written, ended) = command.run_unseen();
            text.push_str(&written);
            (written, ended)
        }
        (None, Some(_)) => command.output(true),
        (None, None) => (String::new(), command.run()),
    };
    let judged = match ended {
        Ok(()) => judge.map_or(Ok(()), |judge| judge(&written)),
        Err(failure) => Err(verdict::with_failed_tests(&failure.to_string(), &written)),
    };
    judged.map_or_else(Outcome::Failed, |()| Outcome::Passed)
}

/// Writes how each step ended, and the three totals on the last line. Returns whether the run
/// passed.
fn summarise(entries: &[Entry<'_>], to: &mut impl Write) -> Result<bool, fmt::Error> {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    writeln!(to, "\nsteps:")?;
    for Entry {
        step,
        outcome,
        took,
    } in entries
    {
        let (word, count) = match outcome {
            Outcome::Passed => ("passed", &mut passed),
            Outcome::Failed(_) => ("FAILED", &mut failed),
            Outcome::NotRun(_) => ("not run", &mut skipped),
        };
        *count += 1;
        let took = seconds(*took);
        writeln!(to, "  {word:<8} {:<24} {took:>9}", step.name)?;
    }
    if failed > 0 {
        writeln!(to, "\nfailed:")?;
        for Entry { step, outcome, .. } in entries {
            let Outcome::Failed(why) = outcome else {
                continue;
            };
            writeln!(to, "  {}: {why}", step.name)?;
            if let Work::Run(command) | Work::Judge(command, _) = &step.work {
                writeln!(to, "    to reproduce: {command}")?;
            }
        }
    }
    if skipped > 0 {
        writeln!(to, "\nnot run:")?;
        for Entry { step, outcome, .. } in entries {
            if let Outcome::NotRun(why) = outcome {
                writeln!(to, "  {}: {why}", step.name)?;
            }
        }
    }
    writeln!(to, "\n{passed} passed, {failed} failed, {skipped} skipped")?;
    Ok(failed == 0)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{Entry, Outcome, demand, summarise};
    use crate::steps::{Step, Work};
    use std::time::Duration;

    fn left(name: &str) -> Step {
        Step::new(name, Work::Leave("as one says".to_owned()))
    }

    fn not_run() -> Outcome {
        Outcome::NotRun("a tool is missing".to_owned())
    }

    #[test]
    fn under_ci_a_step_that_was_not_run_fails() {
        let outcome = demand(&left("fuzz/feed"), not_run(), false, true);
        assert!(matches!(outcome, Outcome::Failed(why) if why.contains("a tool is missing")));
        let outcome = demand(&left("fuzz/feed"), not_run(), false, false);
        assert!(matches!(outcome, Outcome::NotRun(_)));
    }

    #[test]
    fn under_ci_a_step_that_cannot_be_run_there_is_excused_with_its_reason() {
        let outcome = demand(&left("msrv"), not_run(), false, true);
        assert!(matches!(outcome, Outcome::NotRun(why) if why.contains("toolchains alone")));
        let outcome = demand(&left("msrv"), Outcome::Failed(String::new()), false, true);
        assert!(matches!(outcome, Outcome::Failed(_)));
    }

    #[test]
    fn a_step_that_was_asked_for_fails_if_it_cannot_be_run() {
        for is_ci in [false, true] {
            let outcome = demand(&left("msrv"), not_run(), true, is_ci);
            assert!(matches!(outcome, Outcome::Failed(why) if why.contains("a tool is missing")));
        }
    }

    /// Summarises steps with these outcomes. Returns the text, and whether the run passed.
    fn summary(outcomes: Vec<Outcome>) -> (String, bool) {
        let steps: Vec<Step> = (0..outcomes.len())
            .map(|number| left(&format!("step/{number}")))
            .collect();
        let entries: Vec<Entry<'_>> = steps
            .iter()
            .zip(outcomes)
            .map(|(step, outcome)| Entry {
                step,
                outcome,
                took: Duration::ZERO,
            })
            .collect();
        let mut text = String::new();
        let passed = summarise(&entries, &mut text).unwrap();
        (text, passed)
    }

    #[test]
    fn the_last_line_counts_three_things() {
        let (text, passed) = summary(vec![Outcome::Passed, not_run(), Outcome::Passed]);
        assert!(passed);
        assert!(
            text.ends_with("\n\n2 passed, 0 failed, 1 skipped\n"),
            "{text}"
        );
        assert!(
            text.contains("not run:\n  step/1: a tool is missing"),
            "{text}"
        );
        let failure = Outcome::Failed("it broke".to_owned());
        let (text, passed) = summary(vec![Outcome::Passed, failure]);
        assert!(!passed);
        assert!(
            text.ends_with("\n\n1 passed, 1 failed, 0 skipped\n"),
            "{text}"
        );
        assert!(text.contains("failed:\n  step/1: it broke"), "{text}");
    }
}
