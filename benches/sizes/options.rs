//! The command line.

use clap::Parser;

use crate::plan::Plan;
use crate::series::SERIES;

/// Measures how the cost of fanfeed, crossbeam and tokio grows with the number of subscribers,
/// threads and tasks.
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

    /// Run only the rows whose names contain this; may be given several times
    #[arg(long, value_name = "NAME")]
    row: Vec<String>,

    /// How many rounds to run, instead of 5 (of 3 with a million subscribers, or with --quick)
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,

    /// Leave out smaller sizes
    #[arg(
        long,
        value_name = "SIZE",
        default_value_t = 0,
        hide_default_value = true
    )]
    from: usize,

    /// Leave out greater sizes
    #[arg(long, value_name = "SIZE", default_value_t = usize::MAX, hide_default_value = true)]
    up_to: usize,

    /// Print the series, and do nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// Run this row once at each size, and print nothing but its figures: the processes that this
    /// program starts do that
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) contender: Option<String>,

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
        let [rounds, rounds_of_most] = [plan.rounds, plan.rounds_of_most]
            .map(|rounds| self.rounds.map_or(rounds, |rounds| rounds as usize));
        Plan {
            from: self.from,
            up_to: self.up_to,
            rounds,
            rounds_of_most,
            ..plan
        }
    }

    /// The arguments that select the plan.
    pub(crate) fn of_plan(&self) -> &'static [&'static str] {
        match self {
            Self { test: true, .. } => &["--test"],
            Self { quick: true, .. } => &["--quick"],
            _ => &[],
        }
    }

    /// Whether the row with this name is to be run.
    pub(crate) fn runs_row(&self, name: &str) -> bool {
        self.row.is_empty() || self.row.iter().any(|row| name.contains(row))
    }

    /// Whether this series is to be run.
    pub(crate) fn runs(&self, key: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == key)
    }
}
