//! The command line.

use std::time::Duration;

use clap::Parser;

/// Runs feeds, rings and subscriptions on real threads, and holds what they do against what they
/// promise.
#[derive(Debug, Parser)]
#[command(name = "fanfeed-soak")]
pub(crate) struct Options {
    /// For how long: fractions are allowed
    #[arg(long, default_value = "1", value_parser = minutes)]
    pub(crate) minutes: Duration,
    /// The seed of the choices of all threads; without it, a random seed is chosen and printed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// A week: longer than any soak, and far below the limit of a clock.
const MOST: f64 = 7.0 * 24.0 * 60.0;

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if minutes > 0.0 && minutes <= MOST {
        Ok(Duration::from_secs_f64(minutes * 60.0))
    } else {
        Err(format!(
            "the minutes must be more than 0 and at most {MOST}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{Options, minutes};
    use clap::Parser;
    use std::time::Duration;

    #[test]
    fn minutes_may_have_fractions() {
        assert_eq!(minutes("0.2"), Ok(Duration::from_secs(12)));
        for text in ["", "0", "-1", "nan", "inf", "1e9", "two"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let parse = |line: &str| Options::try_parse_from(line.split_whitespace());
        assert_eq!(parse("soak --seed 7 --minutes 2").unwrap().seed, Some(7));
        for line in ["soak --minutes x", "soak --seed -1", "soak now"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
