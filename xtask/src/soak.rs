//! `cargo xtask soak`: builds the soak in release and runs it.

use std::process::ExitCode;
use std::time::Duration;

use crate::invocation::{Failure, Invocation};

/// Time for the build, the last generation and the checks at the end.
const BESIDE: Duration = Duration::from_secs(30 * 60);
/// The most minutes of a run: a week.
const MOST: f64 = 7.0 * 24.0 * 60.0;

/// The parsed arguments.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    minutes: f64,
    seed: Option<u64>,
}

impl Options {
    /// Parses the arguments after `soak`.
    pub(crate) fn parse<'a>(mut rest: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut options = Self {
            minutes: 1.0,
            seed: None,
        };
        while let Some(argument) = rest.next() {
            let mut value = || {
                rest.next()
                    .ok_or_else(|| format!("{argument} needs a number"))
            };
            match argument {
                "--minutes" => {
                    let text = value()?;
                    options.minutes = text
                        .parse()
                        .ok()
                        .filter(|minutes| *minutes > 0.0 && *minutes <= MOST)
                        .ok_or_else(|| {
                            format!("--minutes takes more than 0 and at most {MOST}, not `{text}`")
                        })?;
                }
                "--seed" => {
                    let text = value()?;
                    let seed = text
                        .parse()
                        .map_err(|_| format!("--seed takes a whole number, not `{text}`"))?;
                    options.seed = Some(seed);
                }
                other => return Err(format!("unknown option `{other}`")),
            }
        }
        Ok(options)
    }

    /// The command that runs it.
    pub(crate) fn invocation(&self) -> Invocation {
        let limit = BESIDE + Duration::from_secs_f64(self.minutes * 60.0);
        let line = format!(
            "cargo run --quiet -p fanfeed-soak --release -- --minutes {}",
            self.minutes
        );
        let command = Invocation::new(&line, limit);
        match self.seed {
            Some(seed) => command.arg("--seed").arg(seed.to_string()),
            None => command,
        }
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    match options.invocation().run() {
        Ok(()) => ExitCode::SUCCESS,
        // The soak has printed what it found.
        Err(Failure::Ended(status)) if status.code() == Some(1) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("soak: {failure}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace())
    }

    #[test]
    fn minutes_and_a_seed_are_handed_on() {
        let command = |line| parse(line).unwrap().invocation().to_string();
        let run = "cargo run --quiet -p fanfeed-soak --release -- --minutes";
        assert_eq!(command(""), format!("{run} 1"));
        assert_eq!(
            command("--minutes 0.2 --seed 7"),
            format!("{run} 0.2 --seed 7")
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "--minutes",
            "--minutes 0",
            "--minutes -1",
            "--minutes nan",
            "--minutes x",
            "--seed",
            "--seed -1",
            "now",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
