//! The command line.

use clap::Parser;

use crate::plan::Plan;
use crate::series::SERIES;

/// Measures how the cost of fanfeed, crossbeam and tokio grows with the number of subscribers, threads and tasks.
#[derive(Debug, Parser)]
#[command(name = "sizes", bin_name = "cargo bench --bench sizes --", version = None)]
pub(crate) struct Options {
    /// Take a fraction of the time: smaller sizes, fewer rounds, and noisier figures
    #[arg(long, conflicts_with = "test")]
    quick: bool,

    /// Only show that everything works: each contender runs once at small sizes
    #[arg(long)]
    test: bool,

    /// Run only this series (see --list); may be given several times
    #[arg(long, value_name = "SERIES", value_parser = series_keys())]
    only: Vec<String>,

    /// How many rounds to run, instead of 5, or of 3 with --quick
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,

    /// Leave out greater sizes
    #[arg(long, value_name = "SIZE", default_value_t = usize::MAX, hide_default_value = true)]
    up_to: usize,

    /// Print the series, and do nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn series_keys() -> clap::builder::PossibleValuesParser {
    SERIES
        .iter()
        .map(|series| series.key)
        .collect::<Vec<_>>()
        .into()
}

impl Options {
    /// How much is to be measured.
    pub(crate) fn plan(&self) -> Plan {
        let plan = match self {
            Self { test: true, .. } => Plan::SMOKE,
            Self { quick: true, .. } => Plan::QUICK,
            _ => Plan::FULL,
        };
        Plan {
            up_to: self.up_to,
            rounds: self.rounds.map_or(plan.rounds, |rounds| rounds as usize),
            ..plan
        }
    }

    /// Whether this series is to be run.
    pub(crate) fn runs(&self, key: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == key)
    }
}
