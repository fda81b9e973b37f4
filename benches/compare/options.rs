//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::plan::Plan;
use crate::questions::{QUESTIONS, Question, targets};

/// Compares fanfeed's channels and rings with its peers, and writes tables, CSV and charts.
#[derive(Debug, Parser)]
#[command(name = "compare", bin_name = "cargo bench --bench compare --", version = None)]
pub(crate) struct Options {
    /// Take less than a minute: fewer and shorter rounds, and noisier figures
    #[arg(long, conflicts_with = "test")]
    quick: bool,

    /// Only show that everything works: each contender runs once, and nothing is written
    #[arg(long)]
    test: bool,

    /// Ask only this question (see --list); may be given several times
    #[arg(long, value_name = "QUESTION", value_parser = question_keys())]
    only: Vec<String>,

    /// Only this row of the targets (see --list); may be given several times
    #[arg(long, value_name = "ROW", value_parser = row_keys())]
    row: Vec<String>,

    /// How many rounds count
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,

    /// Where the CSV files and charts go [default: compare/ in cargo's target directory]
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,

    /// Put the tables and charts into README.md and benches/figures too
    #[arg(long, conflicts_with_all = ["test", "quick"])]
    pub(crate) readme: bool,

    /// Print what can be asked, and do nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn question_keys() -> clap::builder::PossibleValuesParser {
    let keys = QUESTIONS.iter().map(|question| question.key);
    keys.chain([targets::KEY]).collect::<Vec<_>>().into()
}

fn row_keys() -> clap::builder::PossibleValuesParser {
    let keys = targets::ROWS.iter().map(|row| row.key);
    keys.collect::<Vec<_>>().into()
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
            rounds: self.rounds.map_or(plan.rounds, usize::from),
            ..plan
        }
    }

    /// The targets that are asked for.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &'static Question> {
        let is_asked = self.is_asked(targets::KEY);
        let rows = targets::ROWS.iter().filter(move |_| is_asked);
        rows.filter(|row| self.row.is_empty() || self.row.iter().any(|key| key == row.key))
    }

    /// The other questions that are asked.
    pub(crate) fn questions(&self) -> impl Iterator<Item = &'static Question> {
        QUESTIONS
            .iter()
            .filter(|question| self.is_asked(question.key))
    }

    fn is_asked(&self, key: &str) -> bool {
        let is_all = self.only.is_empty() && (self.row.is_empty() || key == targets::KEY);
        is_all || self.only.iter().any(|only| only == key)
    }

    /// Where files go; nowhere in a smoke test.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        if self.test {
            return None;
        }
        let program = std::env::current_exe().unwrap_or_default();
        // target/PROFILE/deps/compare-HASH
        let target = program.ancestors().nth(3).map(PathBuf::from);
        let default = target.unwrap_or_else(|| "target".into()).join("compare");
        Some(self.out.clone().unwrap_or(default))
    }
}
