//! The tasks of this workspace. `cargo xtask test` runs everything that a change must pass, and CI
//! runs the same command. `cargo xtask soak` runs real threads on the crate for a given time.
//!
//! It is a program rather than a script, so that it works wherever Rust does. It depends only on
//! std, so that no dependency can break it before the first step.

mod examples;
mod invocation;
mod manifest;
mod programs;
mod report;
mod servers;
mod soak;
mod steps;
mod tools;
mod unavailable;
mod verdict;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask test [--list] [--only <step>]... [--fail-fast]
       cargo xtask soak [--minutes <n>] [--seed <s>]

  --list         name the steps and what they run, and stop
  --only <step>  run only this step, or this group of steps (`clippy`, `clippy/all`); may be given again
  --fail-fast    stop at the first step that fails

  A step that `--only` names fails if it cannot be run. Where the variable `CI` is set, so does any other step, unless it is
  known to be unavailable there.

  --minutes <n>  for how long, 1 if not given; fractions are allowed
  --seed <s>     what the threads' choices follow from; a new one if not given";

/// The parsed command line.
#[derive(Debug)]
enum Command {
    Test(Options),
    Soak(soak::Options),
}

/// How to run the steps.
#[derive(Debug, Default)]
struct Options {
    list: bool,
    only: Vec<String>,
    fail_fast: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = match parse(&arguments) {
        Ok(command) => command,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    // The manifest folder is that of xtask. Its parent is the workspace, whatever folder cargo was
    // called from.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask stands in the workspace");
    if let Err(error) = std::env::set_current_dir(root) {
        eprintln!("cannot enter the workspace: {error}");
        return ExitCode::from(2);
    }
    match command {
        Command::Test(options) => test(&options),
        Command::Soak(options) => soak::run(&options),
    }
}

fn parse(arguments: &[String]) -> Result<Command, String> {
    let mut rest = arguments.iter().map(String::as_str);
    match rest.next() {
        Some("test") => parse_test(rest).map(Command::Test),
        Some("soak") => soak::Options::parse(rest)
            .map(Command::Soak)
            .map_err(|error| format!("{error}\n{USAGE}")),
        Some(other) => Err(format!("unknown command `{other}`\n{USAGE}")),
        None => Err(USAGE.to_owned()),
    }
}

fn parse_test<'a>(mut rest: impl Iterator<Item = &'a str>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(argument) = rest.next() {
        match argument {
            "--list" => options.list = true,
            "--fail-fast" => options.fail_fast = true,
            "--only" => {
                let step = rest
                    .next()
                    .ok_or_else(|| format!("--only needs the name of a step\n{USAGE}"))?;
                options.only.push(step.to_owned());
            }
            other => return Err(format!("unknown option `{other}`\n{USAGE}")),
        }
    }
    Ok(options)
}

fn test(options: &Options) -> ExitCode {
    let mut steps = match steps::all() {
        Ok(steps) => steps,
        Err(error) => {
            eprintln!("cannot list the steps: {error}");
            return ExitCode::from(2);
        }
    };
    for wanted in &options.only {
        if !steps.iter().any(|step| step.is(wanted)) {
            eprintln!("there is no step `{wanted}`; `cargo xtask test --list` names them");
            return ExitCode::from(2);
        }
    }
    if !options.only.is_empty() {
        steps.retain(|step| options.only.iter().any(|wanted| step.is(wanted)));
    }
    if options.list {
        for step in &steps {
            println!("{step}");
        }
        return ExitCode::SUCCESS;
    }
    report::run(&mut steps, &options.only, options.fail_fast)
}

#[cfg(test)]
mod tests {
    use super::{Command, parse};

    fn arguments(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn steps_can_be_chosen_more_than_once() {
        let command = parse(&arguments("test --only loom --only clippy/all")).unwrap();
        let Command::Test(options) = command else {
            panic!("{command:?}");
        };
        assert_eq!(options.only, ["loom", "clippy/all"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "",
            "tset",
            "test --onyl loom",
            "test --only",
            "soak --only loom",
        ] {
            assert!(parse(&arguments(line)).is_err(), "{line}");
        }
    }
}
