//! Tables, growth and verdicts.

use std::collections::BTreeMap;

use fanfeed_benches::growth::{LIMIT, Step, Verdict};
use fanfeed_benches::stats::Spread;

use crate::series::{Measured, Row, Series};

/// How the comparisons came out.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// With peers that do the same work.
    same: Counts,
    /// With peers that do other work.
    other: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    compared: usize,
    /// By the worst verdict of their steps.
    worst: BTreeMap<Verdict, usize>,
}

impl Counts {
    fn print(&self, peers: &str) {
        let count = |verdict| self.worst.get(&verdict).copied().unwrap_or(0);
        println!(
            "{} of {} comparisons with peers that do {peers} work say GROWS FASTER; {} others grow faster only where fanfeed \
             costs less than the peer at both sizes; {} others may grow faster, within the spread of the rounds; {} others rise \
             by {LIMIT} times at most where the peer's cost falls",
            count(Verdict::Faster),
            self.compared,
            count(Verdict::Cheaper),
            count(Verdict::Unsure),
            count(Verdict::PeerFalls),
        );
    }
}

impl Outcome {
    /// Explains the verdicts.
    pub(crate) fn explain() {
        println!(
            "\nGrowth is what an item costs at the greater size over what it costs at the smaller. The spread of a cost is from its \
             least to its greatest round; of five rounds or more, without the one least and the one greatest. A step GROWS FASTER \
             than a peer's if its growth is more than {LIMIT} times the peer's in the median of the rounds, and more than 1, and \
             than the peer's, wherever in their spreads the four costs are. The growth of a peer whose cost falls counts as 1 \
             there: costs fall where more items share what is done once, and that is no growth of the other. Where only the \
             fall tells the two apart, the step is named as such: fanfeed's cost rises by {LIMIT} times at most. Where the median \
             alone says that a step grows faster, the verdict is that it may grow faster: more rounds, or a machine with less to \
             do, can tell. Growth is relative: if fanfeed takes 12 ns where the peer takes 32, and both take 51 once the memory \
             of all subscribers is larger than the caches, then fanfeed's growth is the greater one. So each verdict has the \
             costs, too. Steps at which fanfeed costs less than the peer at both sizes are named and counted apart: nobody pays \
             for that growth, as far as it was measured. Peers that do other work than a row, as the note of the series says, \
             are compared in the same way, and counted apart. An item whose cost did not depend on caches would grow by 1.00, \
             and by 10 for each ten times as many if the algorithm were quadratic. What an item costs in instructions depends on \
             neither caches nor other programs: `valgrind --tool=callgrind --trace-children=yes` counts them, with --rounds 1, \
             --only and --row, and --from and --up-to the same size."
        );
    }

    /// Prints the counts.
    pub(crate) fn print(&self) {
        println!();
        self.same.print("the same");
        self.other.print("other");
    }
}

/// Prints the tables of a series, and adds its verdicts to the outcome.
pub(crate) fn print(series: &Series, measured: &Measured, outcome: &mut Outcome) {
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

        let spans = spans(measured);
        let mut lines = vec![heading(
            "growth, x".to_owned(),
            spans.iter().map(|span| span.label(measured)),
        )];
        let mut verdicts = Vec::new();
        for row in &measured.rows {
            lines.push(heading(
                row.name.to_owned(),
                spans
                    .iter()
                    .map(|span| with_spread(&span.step(row, measure).growth())),
            ));
        }
        for (row, peer, work) in pairs(measured) {
            let growth = spans.iter().map(|span| {
                let [ours, peer] = [row, peer].map(|row| span.step(row, measure));
                ours.over(&peer)
            });
            lines.push(heading(
                format!("{} over {}", row.name, peer.name),
                growth.map(|growth| with_spread(&growth)),
            ));
            let compared = Compared {
                measured,
                row,
                peer,
                measure,
            };
            verdicts.push(compared.verdict(&spans, work, outcome));
        }
        print_aligned(&lines);
        for verdict in verdicts {
            println!("  {verdict}");
        }
    }
}

/// From one size to another.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: usize,
    to: usize,
}

/// From each size to the next, and from the smallest to the greatest.
fn spans(measured: &Measured) -> Vec<Span> {
    let last = measured.sizes.len() - 1;
    let mut spans: Vec<_> = (0..last).map(|from| Span { from, to: from + 1 }).collect();
    if last > 1 {
        spans.push(Span { from: 0, to: last });
    }
    spans
}

impl Span {
    fn label(self, measured: &Measured) -> String {
        let Self { from, to } = self;
        format!(
            "{} to {}",
            grouped(measured.sizes[from]),
            grouped(measured.sizes[to])
        )
    }

    fn step(self, row: &Row, measure: usize) -> Step {
        Step::new(row.rounds(measure, self.from), row.rounds(measure, self.to))
    }
}

/// Whether a peer does what the row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Same,
    Other,
}

fn pairs(measured: &Measured) -> impl Iterator<Item = (&Row, &Row, Work)> {
    measured.rows.iter().flat_map(move |row| {
        let of = |names: &'static [&'static str], work| names.iter().map(move |&name| (name, work));
        of(row.peers.same, Work::Same)
            .chain(of(row.peers.other, Work::Other))
            // A peer may be left out.
            .filter_map(move |(name, work)| {
                let peer = measured.rows.iter().find(|peer| peer.name == name)?;
                Some((row, peer, work))
            })
    })
}

/// One measure of a row, and of a peer.
struct Compared<'a> {
    measured: &'a Measured,
    row: &'a Row,
    peer: &'a Row,
    measure: usize,
}

impl Compared<'_> {
    fn verdict(&self, spans: &[Span], work: Work, outcome: &mut Outcome) -> String {
        let mut found: BTreeMap<Verdict, Vec<String>> = BTreeMap::new();
        for span in spans {
            let [ours, peer] = [self.row, self.peer].map(|row| span.step(row, self.measure));
            let verdict = ours.compare(&peer);
            found
                .entry(verdict)
                .or_default()
                .push(self.name(*span, &ours, &peer));
        }
        let counts = match work {
            Work::Same => &mut outcome.same,
            Work::Other => &mut outcome.other,
        };
        counts.compared += 1;
        if let Some((&worst, _)) = found.last_key_value() {
            *counts.worst.entry(worst).or_default() += 1;
        }
        let theirs = match work {
            Work::Same => self.peer.name.to_owned(),
            Work::Other => format!("{}, which does other work,", self.peer.name),
        };
        let mut parts = Vec::new();
        // The worst comes first.
        for (verdict, steps) in found.into_iter().rev() {
            let steps = steps.join(", ");
            match verdict {
                Verdict::Faster => parts.push(format!("GROWS FASTER than {theirs} from {steps}")),
                Verdict::Cheaper => parts.push(format!(
                    "grows faster than {theirs} but costs less, from {steps}"
                )),
                Verdict::Unsure => parts.push(format!(
                    "may grow faster than {theirs} within the spread of the rounds, from {steps}"
                )),
                Verdict::PeerFalls => parts.push(format!(
                    "rises by {LIMIT} times at most where {theirs} falls, from {steps}"
                )),
                Verdict::NoFaster if parts.is_empty() => {
                    parts.push(format!("grows no faster than {theirs}"));
                }
                Verdict::NoFaster => {}
            }
        }
        let verdict = parts.join("; it ");
        format!(
            "verdict: {} {}",
            self.row.name,
            verdict.trim_end_matches(',')
        )
    }

    /// The sizes, the growth over the peer's, and the costs.
    fn name(&self, span: Span, ours: &Step, peer: &Step) -> String {
        let [costs, peers] = [ours, peer].map(|step| {
            let [from, to] = step.medians().map(short);
            format!("{from} to {to} ns")
        });
        format!(
            "{} (x {}: {costs}, the peer {peers})",
            span.label(self.measured),
            short(ours.over(peer).median),
        )
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
