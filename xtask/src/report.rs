//! Runs the steps, tells what each does while it does it, and sums up.

use crate::steps::{Step, Work};
use crate::tools::Tools;
use crate::unavailable;
use std::fmt::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(String),
    NotRun(String),
}

/// A step that is over.
#[derive(Debug)]
struct Entry<'a> {
    step: &'a Step,
    outcome: Outcome,
    took: Duration,
}

/// Runs them all in order. A failure does not keep the later steps from running unless `fail_fast` says so: one run
/// then tells everything that is wrong.
pub(crate) fn run(steps: &mut [Step], fail_fast: bool) -> ExitCode {
    let mut tools = Tools::default();
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut stopped = false;
    let is_ci = unavailable::is_ci();
    for step in steps {
        let started = Instant::now();
        let outcome = if stopped {
            Outcome::NotRun("an earlier step failed".to_owned())
        } else {
            if let Some(reason) = step.settle(&mut tools) {
                println!("\n    {} does less: {reason}", step.name);
            }
            println!("\n==> {step}");
            demand(step, perform(step, &mut tools), is_ci)
        };
        let took = started.elapsed();
        match &outcome {
            Outcome::Passed => println!("<== {}: passed in {}", step.name, seconds(took)),
            Outcome::Failed(why) => {
                println!("<== {}: FAILED in {}: {why}", step.name, seconds(took));
                stopped = fail_fast;
            }
            Outcome::NotRun(_) if stopped => {}
            Outcome::NotRun(why) => println!("<== {}: not run: {why}", step.name),
        }
        entries.push(Entry {
            step,
            outcome,
            took,
        });
    }
    let mut text = String::new();
    let passed = summarise(&entries, &mut text).expect("a string takes everything");
    print!("{text}");
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Under `CI` a step that was not run is a failure, unless it is known that it cannot be run there: or a machine that lacks
/// a tool would report that everything is well.
fn demand(step: &Step, outcome: Outcome, is_ci: bool) -> Outcome {
    let Outcome::NotRun(why) = outcome else {
        return outcome;
    };
    match unavailable::excuse(&step.name) {
        _ if !is_ci => Outcome::NotRun(why),
        Some(reason) => Outcome::NotRun(format!("{why}; {reason}")),
        None => Outcome::Failed(format!("not run, which CI demands: {why}")),
    }
}

fn perform(step: &Step, tools: &mut Tools) -> Outcome {
    for tool in &step.needs {
        if let Err(reason) = tools.ensure(*tool) {
            return Outcome::NotRun(reason.to_owned());
        }
    }
    if let Some(programs) = &step.programs
        && let Err(error) = programs.write()
    {
        return Outcome::Failed(format!("its programs could not be written: {error}"));
    }
    match &step.work {
        Work::Run(command) => match command.run() {
            Ok(()) => Outcome::Passed,
            Err(failure) => Outcome::Failed(failure.to_string()),
        },
        Work::Judge(command, judge) => match command.output(true) {
            Ok(text) => judge(&text).map_or_else(Outcome::Failed, |()| Outcome::Passed),
            Err(failure) => Outcome::Failed(failure.to_string()),
        },
        Work::Leave(reason) => Outcome::NotRun(reason.clone()),
    }
}

/// Writes how each step ended, and last, on a line of their own, the three numbers. Returns whether the run passed.
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
        let outcome = demand(&left("fuzz/feed"), not_run(), true);
        assert!(matches!(outcome, Outcome::Failed(why) if why.contains("a tool is missing")));
        let outcome = demand(&left("fuzz/feed"), not_run(), false);
        assert!(matches!(outcome, Outcome::NotRun(_)));
    }

    #[test]
    fn under_ci_a_step_that_cannot_be_run_there_is_excused_with_its_reason() {
        let outcome = demand(&left("msrv"), not_run(), true);
        assert!(matches!(outcome, Outcome::NotRun(why) if why.contains("toolchains alone")));
        let outcome = demand(&left("msrv"), Outcome::Failed(String::new()), true);
        assert!(matches!(outcome, Outcome::Failed(_)));
    }

    /// Runs the summary over steps that ended so; its text, and whether the run passed.
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
