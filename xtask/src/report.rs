//! Runs the steps, tells what each does while it does it, and sums up.

use crate::steps::{Step, Work};
use crate::tools::Tools;
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
pub(crate) fn run(steps: &[Step], fail_fast: bool) -> ExitCode {
    let mut tools = Tools::default();
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut stopped = false;
    for step in steps {
        let started = Instant::now();
        let outcome = if stopped {
            Outcome::NotRun("an earlier step failed".to_owned())
        } else {
            println!("\n==> {step}");
            perform(step, &mut tools)
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
    summarise(&entries)
}

fn perform(step: &Step, tools: &mut Tools) -> Outcome {
    for tool in &step.needs {
        if let Err(reason) = tools.ensure(*tool) {
            return Outcome::NotRun(reason.to_owned());
        }
    }
    match &step.work {
        Work::Run(command) => match command.run() {
            Ok(()) => Outcome::Passed,
            Err(failure) => Outcome::Failed(failure.to_string()),
        },
        Work::Judge(command, judge) => match command.output() {
            Ok(text) => {
                print!("{text}");
                judge(&text).map_or_else(Outcome::Failed, |()| Outcome::Passed)
            }
            Err(failure) => Outcome::Failed(failure.to_string()),
        },
        Work::Leave(reason) => Outcome::NotRun(reason.clone()),
    }
}

fn summarise(entries: &[Entry<'_>]) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    println!("\nsteps:");
    for Entry {
        step,
        outcome,
        took,
    } in entries
    {
        let word = match outcome {
            Outcome::Passed => {
                passed += 1;
                "passed"
            }
            Outcome::Failed(_) => {
                failed += 1;
                "FAILED"
            }
            Outcome::NotRun(_) => "not run",
        };
        println!("  {word:<8} {:<24} {:>9}", step.name, seconds(*took));
    }
    if failed > 0 {
        println!("\nfailed:");
        for Entry { step, outcome, .. } in entries {
            let Outcome::Failed(why) = outcome else {
                continue;
            };
            println!("  {}: {why}", step.name);
            if let Work::Run(command) | Work::Judge(command, _) = &step.work {
                println!("    to reproduce: {command}");
            }
        }
    }
    if entries.len() > passed + failed {
        println!("\nnot run:");
        for Entry { step, outcome, .. } in entries {
            if let Outcome::NotRun(why) = outcome {
                println!("  {}: {why}", step.name);
            }
        }
    }
    println!("\n{passed} passed, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
