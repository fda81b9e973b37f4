//! Tables and charts for README: `-- --readme` puts them there.
//!
//! A table goes into the code block after the line `<!-- compare: KEY -->`, a chart into the file
//! `benches/figures/KEY.svg` if README shows it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::questions::Question;
use crate::rounds::Measured;
use crate::table;

/// How a code block begins and ends.
const FENCE: &str = "```";

/// README's text.
#[derive(Debug)]
pub(crate) struct Readme {
    root: PathBuf,
    text: String,
}

impl Readme {
    /// This repository's.
    pub(crate) fn open() -> io::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = fs::read_to_string(root.join("README.md"))?;
        Ok(Self { root, text })
    }

    /// Puts what was measured where README has a place for it, and saves it. Tables end with the
    /// line `about`.
    pub(crate) fn put(
        &mut self,
        question: &Question,
        cases: &[Measured],
        chart: Option<&str>,
        about: &str,
    ) -> io::Result<()> {
        let marker = format!("<!-- compare: {} -->\n", question.key);
        if let Some(block) = block_after(&self.text, &marker) {
            let lines = table(question, cases);
            let table = format!("{}\n{about}\n", table::aligned(&lines));
            self.text.replace_range(block, &table);
            fs::write(self.root.join("README.md"), &self.text)?;
        }
        let path = format!("benches/figures/{}.svg", question.key);
        if let Some(chart) = chart
            && self.text.contains(&path)
        {
            fs::write(self.root.join(path), chart)?;
        }
        Ok(())
    }
}

/// Where the lines of the code block after this marker are.
fn block_after(text: &str, marker: &str) -> Option<std::ops::Range<usize>> {
    let fence = text.find(marker)? + marker.len();
    let start = fence + text[fence..].find('\n')? + 1;
    let end = start + text[start..].find(FENCE)?;
    Some(start..end)
}

/// The first figure of each row that is shown, with a column for each case.
fn table(question: &Question, cases: &[Measured]) -> Vec<Vec<String>> {
    let labels = cases.iter().map(|case| case.label.clone());
    let mut lines = vec![
        [question.columns[0].to_owned()]
            .into_iter()
            .chain(labels)
            .collect::<Vec<_>>(),
    ];
    for row in question.shown_of(&cases[0]) {
        let figures = cases.iter().map(|case| {
            let mut rows = case.rows.iter();
            let row = rows.find(|it| it.name == row.name);
            row.map_or("-".to_owned(), |row| table::short(row.figures[0].median))
        });
        lines.push([row.name.to_owned()].into_iter().chain(figures).collect());
    }
    lines
}
