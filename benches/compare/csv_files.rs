//! One CSV file for each question, and one that describes the machine.

use std::path::{Path, PathBuf};

use fanfeed_benches::machine::Machine;
use fanfeed_benches::stats::Spread;

use crate::questions::Question;
use crate::rounds::Measured;

/// Writes them into a directory.
#[derive(Debug)]
pub(crate) struct CsvFiles {
    directory: PathBuf,
}

impl CsvFiles {
    /// Describes the machine there, and is ready for the rest.
    pub(crate) fn new(directory: &Path, machine: &Machine) -> csv::Result<Self> {
        let mut file = csv::Writer::from_path(directory.join("machine.csv"))?;
        file.write_record(["what", "which"])?;
        for (what, which) in machine.facts() {
            file.write_record([what, which.as_str()])?;
        }
        file.flush()?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Writes a question's figures, a line for each, and the ratios after them.
    pub(crate) fn write(&self, question: &Question, cases: &[Measured]) -> csv::Result<()> {
        let path = self.directory.join(format!("{}.csv", question.key));
        let mut file = csv::Writer::from_path(path)?;
        file.write_record([
            "case",
            "readers",
            "contender",
            "waits",
            "figure",
            "median",
            "least",
            "greatest",
        ])?;
        for case in cases {
            let readers = case.readers.map(|n| n.to_string()).unwrap_or_default();
            let mut line = |name: &str, waits: &str, figure: &str, spread: &Spread| {
                let [median, least, greatest] =
                    [spread.median, spread.least, spread.greatest].map(|it| format!("{it:.4}"));
                file.write_record([
                    &case.label,
                    &readers,
                    name,
                    waits,
                    figure,
                    &median,
                    &least,
                    &greatest,
                ])
            };
            for row in &case.rows {
                for (column, spread) in question.columns.iter().zip(&row.figures) {
                    line(row.name, row.waits, column, spread)?;
                }
                let first = format!("ratio to {}", case.rows[0].name);
                line(row.name, row.waits, &first, &row.ratio)?;
            }
            for pair in &case.pairs {
                line(
                    pair.ours,
                    "",
                    &format!("ratio to {}", pair.theirs),
                    &pair.ratio,
                )?;
            }
        }
        file.flush()?;
        Ok(())
    }
}
