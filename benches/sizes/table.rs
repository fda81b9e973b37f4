//! Tables, growth and verdicts.

use fanfeed_benches::stats::Spread;

use crate::series::{Measured, Row, Series};

/// A step grows faster than a peer's if its median is greater than this, and if it was greater than 1 in every round: what is
/// less is noise.
const LIMIT: f64 = 1.25;

/// Prints the tables of a series.
pub(crate) fn print(series: &Series, measured: &Measured) {
    for (measure, title) in series.measures.iter().enumerate() {
        let mut lines = vec![heading(
            format!("{title}, ns: median (least to greatest round)"),
            measured.sizes.iter().map(|&size| grouped(size)),
        )];
        for row in &measured.rows {
            lines.push(heading(
                row.name.to_owned(),
                (0..measured.sizes.len()).map(|size| with_spread(&figures(row, measure, size))),
            ));
        }
        println!();
        print_aligned(&lines);

        let steps = steps(measured);
        let mut lines = vec![heading(
            "growth, x".to_owned(),
            steps.iter().map(|step| step.label(measured)),
        )];
        let mut verdicts = Vec::new();
        for row in &measured.rows {
            lines.push(heading(
                row.name.to_owned(),
                steps
                    .iter()
                    .map(|step| with_spread(&step.growth(row, measure))),
            ));
        }
        for (row, peer) in pairs(measured) {
            let growth = steps.iter().map(|step| step.relative(row, peer, measure));
            lines.push(heading(
                format!("{} over {}", row.name, peer.name),
                growth.map(|growth| with_spread(&growth)),
            ));
            verdicts.push(verdict(measured, &steps, row, peer, measure));
        }
        print_aligned(&lines);
        for verdict in verdicts {
            println!("  {verdict}");
        }
    }
}

/// From one size to another.
#[derive(Debug, Clone, Copy)]
struct Step {
    from: usize,
    to: usize,
}

/// From each size to the next, and from the smallest to the greatest.
fn steps(measured: &Measured) -> Vec<Step> {
    let last = measured.sizes.len() - 1;
    let mut steps: Vec<_> = (0..last).map(|from| Step { from, to: from + 1 }).collect();
    if last > 1 {
        steps.push(Step { from: 0, to: last });
    }
    steps
}

impl Step {
    fn label(self, measured: &Measured) -> String {
        let Self { from, to } = self;
        format!(
            "{} to {}",
            grouped(measured.sizes[from]),
            grouped(measured.sizes[to])
        )
    }

    /// What an item costs at the greater size over what it costs at the smaller, round by round.
    fn rounds(self, row: &Row, measure: usize) -> Vec<f64> {
        let (from, to) = (row.rounds(measure, self.from), row.rounds(measure, self.to));
        to.iter().zip(from).map(|(to, from)| to / from).collect()
    }

    fn growth(self, row: &Row, measure: usize) -> Spread {
        Spread::of(self.rounds(row, measure))
    }

    /// The growth of one over that of another, round by round.
    fn relative(self, row: &Row, peer: &Row, measure: usize) -> Spread {
        let (ours, theirs) = (self.rounds(row, measure), self.rounds(peer, measure));
        Spread::of(ours.iter().zip(theirs).map(|(a, b)| a / b).collect())
    }
}

fn pairs(measured: &Measured) -> impl Iterator<Item = (&Row, &Row)> {
    measured.rows.iter().flat_map(move |row| {
        row.peers.iter().map(move |name| {
            let peer = measured.rows.iter().find(|peer| peer.name == *name);
            (row, peer.expect("a peer is a contender"))
        })
    })
}

fn verdict(measured: &Measured, steps: &[Step], row: &Row, peer: &Row, measure: usize) -> String {
    let faster: Vec<_> = steps
        .iter()
        .filter_map(|step| {
            let growth = step.relative(row, peer, measure);
            let is_faster = growth.median > LIMIT && growth.least > 1.0;
            is_faster.then(|| {
                let costs = [row, peer].map(|row| figures(row, measure, step.to).median);
                format!(
                    "{} (x {}; it then costs x {} of the peer's)",
                    step.label(measured),
                    short(growth.median),
                    short(costs[0] / costs[1])
                )
            })
        })
        .collect();
    let (ours, theirs) = (row.name, peer.name);
    if faster.is_empty() {
        format!("verdict: {ours} grows no faster than {theirs}")
    } else {
        let steps = faster.join(", ");
        format!("verdict: {ours} GROWS FASTER than {theirs} from {steps}")
    }
}

fn figures(row: &Row, measure: usize, size: usize) -> Spread {
    Spread::of(row.rounds(measure, size))
}

fn heading(first: String, others: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(first).chain(others).collect()
}

fn print_aligned(lines: &[Vec<String>]) {
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| {
            let cells = lines.iter().map(|line| line[column].len());
            cells.max().unwrap_or(0)
        })
        .collect();
    for line in lines {
        let cells = line.iter().zip(&widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        println!("  {}", line.join("  ").trim_end());
    }
}

fn with_spread(spread: &Spread) -> String {
    if !spread.median.is_finite() {
        return "-".to_owned();
    }
    let [median, least, greatest] = [spread.median, spread.least, spread.greatest].map(short);
    if least == greatest {
        return median;
    }
    format!("{median} ({least} to {greatest})")
}

/// Three digits, or all of a whole number.
fn short(figure: f64) -> String {
    match figure {
        figure if figure >= 1e7 => format!("{:.1}M", figure / 1e6),
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// With a comma at each thousand.
fn grouped(size: usize) -> String {
    let digits = size.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
