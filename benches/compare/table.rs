//! Tables for people.

use fanfeed_benches::stats::Spread;

use crate::questions::Question;
use crate::rounds::{Bound, Measured};

/// Prints a question's heading.
pub(crate) fn heading(question: &Question) {
    println!(
        "\n## {} ({})\n{}",
        question.title, question.key, question.note
    );
}

/// Prints one case.
pub(crate) fn print(question: &Question, measured: &Measured) {
    let mut lines = vec![
        ["contender", "waits"]
            .into_iter()
            .chain(question.columns.iter().copied())
            .chain(["x first"])
            .map(str::to_owned)
            .collect::<Vec<_>>(),
    ];
    for row in &measured.rows {
        let mut line = vec![row.name.to_owned(), row.waits.to_owned()];
        line.extend(row.figures.iter().map(with_spread));
        line.push(with_spread(&row.ratio));
        lines.push(line);
    }
    println!("\n{}", measured.label);
    print!("{}", aligned(&lines));
    for pair in &measured.pairs {
        println!(
            "{} over {}: x {}",
            pair.ours,
            pair.theirs,
            with_spread(&pair.ratio)
        );
    }
}

/// Prints what was reached of what was to be reached.
pub(crate) fn summary(rows: &[(&Question, Vec<Measured>)]) {
    let head = [
        "row",
        "case",
        "ours",
        "best peer",
        "",
        "ratio",
        "to reach",
        "",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for (question, cases) in rows {
        for case in cases {
            let (Some(goal), Some(pair)) = (case.goal, case.pairs.first()) else {
                continue;
            };
            let figure = |name: &str| {
                let mut rows = case.rows.iter();
                let row = rows.find(|row| row.name == name);
                row.map(|row| short(row.figures[0].median))
            };
            let bound = match goal.bound {
                Bound::AtLeast(least) => format!("at least {least}"),
                Bound::AtMost(greatest) => format!("at most {greatest}"),
            };
            let is_reached = goal.bound.is_reached(pair.ratio.median);
            lines.push(vec![
                question.key.to_owned(),
                case.label.clone(),
                figure(pair.ours).unwrap_or_default(),
                figure(pair.theirs).unwrap_or_default(),
                pair.theirs.to_owned(),
                with_spread(&pair.ratio),
                bound,
                if is_reached { "reached" } else { "MISSED" }.to_owned(),
            ]);
        }
    }
    println!("\n## Targets: ours beside the best peer");
    print!("{}", aligned(&lines));
}

/// Lines of aligned columns.
pub(crate) fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The median, and from where to where.
fn with_spread(spread: &Spread) -> String {
    let Spread {
        median,
        least,
        greatest,
    } = *spread;
    // Over nothing there is no ratio.
    if !(least.is_finite() && greatest.is_finite()) {
        return "-".to_owned();
    }
    if least == greatest {
        return short(median);
    }
    format!(
        "{} ({} to {})",
        short(median),
        short(least),
        short(greatest)
    )
}

/// Three digits or so.
pub(crate) fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 1e6 => format!("{:.2}M", figure / 1e6),
        size if size >= 1e5 => format!("{:.0}k", figure / 1e3),
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        0.0 => "0".to_owned(),
        size if size >= 0.1 => format!("{figure:.2}"),
        _ => format!("{figure:.4}"),
    }
}
