//! Tables, growth and verdicts.

use fanfeed_benches::stats::Spread;

use crate::series::{Measured, Row, Series};

/// A step grows faster than a peer's if the median of its growth over the peer's is greater than
/// this, and more than the spread of the rounds can explain.
const LIMIT: f64 = 1.25;

/// How the comparisons came out.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    compared: usize,
    faster: usize,
    /// Those that grow faster at no step but where they cost less than the peer, at both sizes.
    cheaper: usize,
    /// Those that grow faster at no step, but may at one, within the spread of the rounds.
    unsure: usize,
}

impl Outcome {
    /// Explains the verdicts.
    pub(crate) fn explain() {
        println!(
            "\nGrowth is what an item costs at the greater size over what it costs at the smaller. The spread of a cost is from its \
             least to its greatest round; of five rounds or more, without the one least and the one greatest. A step GROWS FASTER \
             than a peer's if its growth is more than {LIMIT} times the peer's in the median of the rounds, and more than 1, and \
             than the peer's, wherever in their spreads the four costs are. Where the median alone says so, the verdict is that \
             it may grow faster: more rounds, or a machine with less to do, can tell. Growth is relative: if fanfeed takes 12 \
             ns where the peer takes 32, and both take 51 once the memory of all subscribers is larger than the caches, then \
             fanfeed's growth is the greater one. So each verdict has the costs, too. Steps at which fanfeed costs less than the \
             peer at both sizes are named and counted apart: nobody pays for that growth, as far as it was measured. An item \
             whose cost did not depend on caches would grow by 1.00, and by 10 for each ten times as many if the algorithm were \
             quadratic. What an item costs in instructions depends on neither caches nor other programs: `valgrind \
             --tool=callgrind --trace-children=yes` counts them, with --rounds 1, --only and --row, and --from and --up-to the \
             same size."
        );
    }

    /// Prints the counts.
    pub(crate) fn print(&self) {
        let Self {
            compared,
            faster,
            cheaper,
            unsure,
        } = self;
        println!(
            "\n{faster} of {compared} comparisons say GROWS FASTER; {cheaper} others grow faster only where fanfeed costs less than \
             the peer at both sizes; {unsure} others may grow faster, within the spread of the rounds"
        );
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
            verdicts.push(verdict(measured, &steps, row, peer, measure, outcome));
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

    /// The least growth that the spreads of both costs allow.
    fn least_growth(self, row: &Row, measure: usize) -> f64 {
        middle(row, measure, self.to).least / middle(row, measure, self.from).greatest
    }

    /// The greatest growth that the spreads of both costs allow.
    fn greatest_growth(self, row: &Row, measure: usize) -> f64 {
        middle(row, measure, self.to).greatest / middle(row, measure, self.from).least
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
        // A peer may be left out.
        let peer = |name| measured.rows.iter().find(|peer| peer.name == name);
        row.peers
            .iter()
            .filter_map(move |&name| Some((row, peer(name)?)))
    })
}

fn verdict(
    measured: &Measured,
    steps: &[Step],
    row: &Row,
    peer: &Row,
    measure: usize,
    outcome: &mut Outcome,
) -> String {
    let cost = |row, size| figures(row, measure, size).median;
    let may_be_faster = |step: &&Step| {
        let over_peer = step.relative(row, peer, measure).median;
        over_peer > LIMIT && step.growth(row, measure).median > 1.0
    };
    let is_faster = |step: &&Step| {
        let least = step.least_growth(row, measure);
        least > 1.0 && least > step.greatest_growth(peer, measure)
    };
    let is_cheaper = |step: &&Step| {
        cost(row, step.from) < cost(peer, step.from) && cost(row, step.to) < cost(peer, step.to)
    };
    let (faster, unsure): (Vec<_>, Vec<_>) =
        steps.iter().filter(may_be_faster).partition(is_faster);
    let (cheaper, dearer): (Vec<_>, Vec<_>) = faster.into_iter().partition(is_cheaper);
    let named = |steps: Vec<&Step>| {
        let name = |step: &Step| {
            let costs = [row, peer].map(|row| {
                let [from, to] = [step.from, step.to].map(|size| short(cost(row, size)));
                format!("{from} to {to} ns")
            });
            format!(
                "{} (x {}: {}, the peer {})",
                step.label(measured),
                short(step.relative(row, peer, measure).median),
                costs[0],
                costs[1]
            )
        };
        steps.into_iter().map(name).collect::<Vec<_>>().join(", ")
    };
    outcome.compared += 1;
    outcome.faster += usize::from(!dearer.is_empty());
    outcome.cheaper += usize::from(dearer.is_empty() && !cheaper.is_empty());
    outcome.unsure += usize::from(dearer.is_empty() && cheaper.is_empty() && !unsure.is_empty());
    let (ours, theirs) = (row.name, peer.name);
    let mut parts = Vec::new();
    if !dearer.is_empty() {
        parts.push(format!("GROWS FASTER than {theirs} from {}", named(dearer)));
    }
    if !cheaper.is_empty() {
        let steps = named(cheaper);
        parts.push(format!(
            "grows faster than {theirs}, but costs less, from {steps}"
        ));
    }
    if !unsure.is_empty() {
        let steps = named(unsure);
        parts.push(format!(
            "may grow faster than {theirs}, within the spread of the rounds, from {steps}"
        ));
    }
    if parts.is_empty() {
        parts.push(format!("grows no faster than {theirs}"));
    }
    format!("verdict: {ours} {}", parts.join("; it "))
}

fn figures(row: &Row, measure: usize, size: usize) -> Spread {
    Spread::of(row.rounds(measure, size))
}

/// The spread of a cost, without its least and its greatest round where there are enough.
fn middle(row: &Row, measure: usize, size: usize) -> Spread {
    /// One round in which another program had the processor must not decide.
    const ENOUGH: usize = 5;
    let mut rounds = row.rounds(measure, size);
    rounds.sort_by(f64::total_cmp);
    if rounds.len() >= ENOUGH {
        rounds.pop();
        rounds.remove(0);
    }
    Spread::of(rounds)
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
