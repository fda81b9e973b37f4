//! Charts: throughput over the number of readers, and percentiles.

use fanfeed_benches::machine::Machine;

use crate::questions::{Chart, Question};
use crate::rounds::{Measured, Row};
use crate::svg::{Drawing, GUIDE, Stroke, Words};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 84.0;
const PLOT_WIDTH: f64 = 560.0;
const PLOT_HEIGHT: f64 = 440.0;
/// What the names of the contenders take on the left of percentiles.
const NAMES: f64 = 280.0;
const LINE_HEIGHT: f64 = 18.0;
/// Below the middle of a line of words their foot.
const FOOT: f64 = 4.0;

/// As far apart as there are many; dashes tell those of one colour apart.
const COLOURS: [&str; 10] = [
    "#0b6fb8", "#d1495b", "#2e8b57", "#e08e0b", "#6a4c93", "#00798c", "#8d5524", "#c2185b",
    "#5c6f2b", "#555555",
];
const DASHES: [&str; 3] = ["none", "7 4", "2 3"];

/// The question's chart, if it has one.
pub(crate) fn draw(question: &Question, cases: &[Measured], machine: &Machine) -> Option<String> {
    match question.chart {
        Chart::None | Chart::Bars => None,
        Chart::OverReaders => Some(over_readers(question, cases, machine)),
        Chart::Percentiles { first, count } => {
            Some(percentiles(question, cases, machine, first..first + count))
        }
    }
}

/// A logarithmic scale.
struct Scale {
    least: f64,
    greatest: f64,
    /// Where the least lies, and the greatest.
    from: f64,
    to: f64,
}

impl Scale {
    /// Whole powers of ten around these figures.
    fn around(figures: &[f64], from: f64, to: f64) -> Self {
        let positive = figures.iter().copied().filter(|figure| *figure > 0.0);
        let least = positive.clone().fold(f64::INFINITY, f64::min);
        let greatest = positive.fold(f64::MIN_POSITIVE, f64::max);
        let least = 10_f64.powf(least.min(greatest).log10().floor());
        Self {
            least,
            greatest: 10_f64.powf(greatest.log10().ceil()).max(10.0 * least),
            from,
            to,
        }
    }

    fn at(&self, figure: f64) -> f64 {
        let share = (figure.max(self.least) / self.least).ln() / (self.greatest / self.least).ln();
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (first, last) = (self.least.log10().round(), self.greatest.log10().round());
        (first as i32..=last as i32).map(|power| 10_f64.powi(power))
    }
}

/// A line for each contender.
fn over_readers(question: &Question, cases: &[Measured], machine: &Machine) -> String {
    let points: Vec<(f64, &[Row])> = cases
        .iter()
        .filter_map(|case| Some((case.readers? as f64, case.rows.as_slice())))
        .collect();
    let all: Vec<f64> = (points.iter().flat_map(|(_, rows)| *rows))
        .map(first_figure)
        .collect();
    let (right, bottom) = (LEFT + PLOT_WIDTH, TOP + PLOT_HEIGHT);
    let y = Scale::around(&all, bottom, TOP);
    let (fewest, most) = (&points[0], &points[points.len() - 1]);
    let x = Scale {
        least: fewest.0,
        greatest: most.0.max(2.0 * fewest.0),
        from: LEFT,
        to: right,
    };
    // From the highest line at the right end to the lowest, as they are seen.
    let mut named: Vec<&Row> = most.1.iter().collect();
    named.sort_by(|one, other| first_figure(other).total_cmp(&first_figure(one)));

    let legend = TOP + named.len() as f64 * LINE_HEIGHT;
    let height = legend.max(bottom + 44.0) + 10.0;
    let mut drawing = Drawing::new((WIDTH, height), question.title, &subtitle(machine));
    for tick in y.ticks() {
        let at = y.at(tick);
        drawing.line((LEFT, at), (right, at), GUIDE);
        drawing.words((LEFT - 8.0, at + FOOT), Words::To, &tick.to_string());
    }
    for (readers, _) in &points {
        let at = x.at(*readers);
        drawing.line((at, TOP), (at, bottom), GUIDE);
        drawing.words((at, bottom + 18.0), Words::Around, &readers.to_string());
    }
    let middle = (LEFT + PLOT_WIDTH / 2.0, bottom + 38.0);
    drawing.words(middle, Words::Around, "readers");
    drawing.words((LEFT, TOP - 10.0), Words::From, question.columns[0]);
    for (index, row) in named.iter().enumerate() {
        let stroke = stroke(index, row.name);
        let path: Vec<(f64, f64)> = points
            .iter()
            .filter_map(|(readers, rows)| {
                let row = rows.iter().find(|it| it.name == row.name)?;
                Some((x.at(*readers), y.at(first_figure(row))))
            })
            .collect();
        for ends in path.windows(2) {
            drawing.line(ends[0], ends[1], stroke);
        }
        for point in path {
            drawing.dot(point, stroke.colour);
        }
        let (left, at) = (right + 20.0, TOP + index as f64 * LINE_HEIGHT);
        drawing.line((left, at), (left + 28.0, at), stroke);
        drawing.words((left + 36.0, at + FOOT), Words::From, row.name);
    }
    drawing.finish()
}

/// A row of dots for each contender, from the first percentile to the last.
fn percentiles(
    question: &Question,
    cases: &[Measured],
    machine: &Machine,
    columns: std::ops::Range<usize>,
) -> String {
    let figures = |row: &Row| -> Vec<f64> {
        let figures = row.figures[columns.clone()].iter();
        figures.map(|figure| figure.median).collect()
    };
    let all: Vec<f64> = (cases.iter().flat_map(|case| &case.rows))
        .flat_map(figures)
        .collect();
    let x = Scale::around(&all, NAMES, WIDTH - 40.0);
    let lines: usize = cases.iter().map(|case| case.rows.len() + 2).sum();
    let bottom = TOP + lines as f64 * LINE_HEIGHT;

    let size = (WIDTH, bottom + 30.0);
    let mut drawing = Drawing::new(size, question.title, &subtitle(machine));
    for tick in x.ticks() {
        let at = x.at(tick);
        drawing.line((at, TOP), (at, bottom), GUIDE);
        drawing.words((at, bottom + 16.0), Words::Around, &time(tick));
    }
    for (index, column) in question.columns[columns.clone()].iter().enumerate() {
        let at = NAMES + index as f64 * 110.0;
        drawing.dot((at, TOP - 14.0), COLOURS[index]);
        drawing.words((at + 8.0, TOP - 14.0 + FOOT), Words::From, column);
    }
    let (end_of_names, mut at) = (NAMES - 12.0, TOP + LINE_HEIGHT);
    for case in cases {
        drawing.words((end_of_names, at + FOOT), Words::HeadingTo, &case.label);
        at += LINE_HEIGHT;
        for row in &case.rows {
            drawing.words((end_of_names, at + FOOT), Words::To, row.name);
            let dots: Vec<f64> = figures(row).iter().map(|figure| x.at(*figure)).collect();
            drawing.line((dots[0], at), (dots[dots.len() - 1], at), GUIDE);
            // The first comes last, to be seen where they meet.
            for (index, dot) in dots.iter().enumerate().rev() {
                drawing.dot((*dot, at), COLOURS[index]);
            }
            at += LINE_HEIGHT;
        }
        at += LINE_HEIGHT;
    }
    drawing.finish()
}

fn subtitle(machine: &Machine) -> String {
    format!("{}; medians of interleaved rounds", machine.line())
}

fn first_figure(row: &Row) -> f64 {
    row.figures[0].median
}

/// Ours are thicker.
fn stroke(index: usize, name: &str) -> Stroke {
    let is_ours = name.starts_with("RingFeed") || name.starts_with("Feed");
    Stroke {
        colour: COLOURS[index % COLOURS.len()],
        dash: DASHES[index / COLOURS.len() % DASHES.len()],
        width: if is_ours { 3.0 } else { 1.5 },
    }
}

/// A tick of so many nanoseconds.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        few if few < 1e3 => format!("{few} ns"),
        more if more < 1e6 => format!("{} µs", more / 1e3),
        many if many < 1e9 => format!("{} ms", many / 1e6),
        very_many => format!("{} s", very_many / 1e9),
    }
}
