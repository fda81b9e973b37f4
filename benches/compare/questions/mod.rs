//! The questions, one to a file; a question has one table for each of its cases.

mod batches;
mod blocking;
mod fan_out;
mod idle;
mod joining;
mod latency;
mod lossy;
mod one_core;
mod oversubscribed;
mod send_time;
pub(crate) mod targets;
mod values;
mod weight;
mod work;

use crate::plan::Plan;
use crate::rounds::{Case, Measured, Row};

/// A question.
pub(crate) struct Question {
    /// What `--only` calls it.
    pub(crate) key: &'static str,
    /// What is asked.
    pub(crate) title: &'static str,
    /// What one has to know to read the tables.
    pub(crate) note: &'static str,
    /// What the figures are. The ratios are of the first.
    pub(crate) columns: &'static [&'static str],
    /// What is drawn.
    pub(crate) chart: Chart,
    /// The contenders in the chart, and in README's table; all of them if this is empty.
    pub(crate) shown: &'static [&'static str],
    /// Makes the cases, one after the other: the contenders of one are gone before those of the
    /// next are made.
    pub(crate) ask: fn(Plan, &mut dyn FnMut(Case)),
}

impl Question {
    /// The rows of this case that are shown in the chart and in README, in the order that the
    /// question has.
    pub(crate) fn shown_of<'case>(&self, case: &'case Measured) -> Vec<&'case Row> {
        if self.shown.is_empty() {
            return case.rows.iter().collect();
        }
        let row = |name: &&str| case.rows.iter().find(|row| row.name == *name);
        self.shown.iter().filter_map(row).collect()
    }
}

/// What is drawn of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chart {
    /// Nothing.
    None,
    /// The first figure of each contender.
    Bars,
    /// The first figure over the number of readers.
    OverReaders,
    /// These of the columns, which are percentiles in nanoseconds, for each contender.
    Percentiles {
        /// The first of them.
        first: usize,
        /// How many they are.
        count: usize,
    },
}

/// All of them but the [`targets`].
pub(crate) const QUESTIONS: &[Question] = &[
    blocking::QUESTION,
    fan_out::QUESTION,
    batches::QUESTION,
    work::QUESTION,
    oversubscribed::QUESTION,
    lossy::QUESTION,
    one_core::QUESTION,
    latency::QUESTION,
    send_time::QUESTION,
    values::QUESTION,
    weight::QUESTION,
    joining::QUESTION,
    idle::QUESTION,
];
