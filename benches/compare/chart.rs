//! Charts: bars, throughput over the number of readers, and percentiles.
//!
//! Ours are in colour and thick, peers in grey and thin. Labels stand beside their lines, and
//! markers and dashes differ, so that the charts can be read in black and white.

use fanfeed_benches::machine::Machine;

use crate::questions::{Chart, Question};
use crate::rounds::{Measured, Row};
use crate::svg::{Drawing, GUIDE, Marker, Stroke, Words};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 84.0;
const PLOT_WIDTH: f64 = 600.0;
const PLOT_HEIGHT: f64 = 480.0;
/// Where names end that stand on the left.
const NAMES: f64 = 268.0;
const LINE_HEIGHT: f64 = 18.0;
/// The least distance between two names beside lines.
const NAME_HEIGHT: f64 = 15.0;
/// How far the foot of a line of words lies below its middle.
const FOOT: f64 = 4.0;

const OURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#9c3d86", "#5a4fcf"];
const PEERS: &str = "#8a8a8a";
const DASHES: [&str; 4] = ["6 3", "2 3", "10 3 2 3", "none"];

/// The question's chart, if it has one.
pub(crate) fn draw(question: &Question, cases: &[Measured], machine: &Machine) -> Option<String> {
    match question.chart {
        Chart::None => None,
        Chart::Bars => Some(bars(question, cases, machine)),
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

/// How a contender of ours is drawn, the same in each chart; `None` for a peer.
fn style_of_ours(name: &str) -> Option<(Stroke, Marker)> {
    let index = match name {
        _ if !is_ours(name) => return None,
        _ if name.starts_with("Feed, over") => 4,
        _ if name.starts_with("Feed") => 3,
        _ if name.contains("shared") => 2,
        _ if name.contains("Park") => 1,
        _ => 0,
    };
    let stroke = Stroke {
        colour: OURS[index],
        dash: "none",
        width: 3.0,
    };
    Some((stroke, Marker::ALL[index]))
}

/// How the peer with this index is drawn.
fn style_of_peer(index: usize) -> Stroke {
    Stroke {
        colour: PEERS,
        dash: DASHES[index % DASHES.len()],
        width: 1.3,
    }
}

/// A bar for each contender, the longest first.
fn bars(question: &Question, cases: &[Measured], machine: &Machine) -> String {
    let mut rows: Vec<&Row> = (cases.iter())
        .flat_map(|case| question.shown_of(case))
        .collect();
    rows.sort_by(|one, other| first_figure(other).total_cmp(&first_figure(one)));
    let longest = rows.first().map_or(1.0, |row| first_figure(row));
    let height = TOP + rows.len() as f64 * LINE_HEIGHT + 16.0;
    let mut drawing = Drawing::new((WIDTH, height), question.title, &subtitle(machine));
    drawing.words((NAMES + 12.0, TOP - 14.0), Words::From, question.columns[0]);
    for (index, row) in rows.into_iter().enumerate() {
        let at = TOP + (index as f64 + 0.5) * LINE_HEIGHT;
        let end = NAMES + 12.0 + first_figure(row) / longest * (WIDTH - NAMES - 90.0);
        let is_ours = is_ours(row.name);
        let place = if is_ours { Words::HeadingTo } else { Words::To };
        drawing.words((NAMES, at + FOOT), place, row.name);
        let stroke = Stroke {
            colour: if is_ours { OURS[0] } else { PEERS },
            dash: "none",
            width: LINE_HEIGHT - 6.0,
        };
        drawing.line((NAMES + 12.0, at), (end, at), stroke);
        let figure = format!("{:.1}", first_figure(row));
        drawing.words((end + 6.0, at + FOOT), Words::From, &figure);
    }
    drawing.finish()
}

/// A line for each contender.
fn over_readers(question: &Question, cases: &[Measured], machine: &Machine) -> String {
    let points: Vec<(f64, Vec<&Row>)> = cases
        .iter()
        .filter_map(|case| Some((case.readers? as f64, question.shown_of(case))))
        .collect();
    let all: Vec<f64> = (points.iter().flat_map(|(_, rows)| rows))
        .map(|row| first_figure(row))
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

    let size = (WIDTH, bottom + 54.0);
    let mut drawing = Drawing::new(size, question.title, &subtitle(machine));
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

    let mut lines: Vec<_> = (most.1.iter().enumerate())
        .map(|(index, row)| match style_of_ours(row.name) {
            Some((stroke, marker)) => (*row, stroke, Some(marker)),
            None => (*row, style_of_peer(index), None),
        })
        .collect();
    // Ours last, and so on top of the others.
    lines.sort_by_key(|(.., marker)| marker.is_some());
    for (last, stroke, marker) in &lines {
        let path: Vec<(f64, f64)> = points
            .iter()
            .filter_map(|(readers, rows)| {
                let row = rows.iter().find(|it| it.name == last.name)?;
                Some((x.at(*readers), y.at(first_figure(row))))
            })
            .collect();
        for ends in path.windows(2) {
            drawing.line(ends[0], ends[1], *stroke);
        }
        for point in path {
            match marker {
                Some(marker) => drawing.marker(point, *marker, stroke.colour),
                None => drawing.dot(point, 2.0, stroke.colour),
            }
        }
    }

    lines.sort_by(|(one, ..), (other, ..)| first_figure(other).total_cmp(&first_figure(one)));
    let ends: Vec<f64> = (lines.iter().map(|(row, ..)| y.at(first_figure(row)))).collect();
    let places = apart(&ends, bottom);
    for ((row, stroke, _), (end, place)) in lines.iter().zip(ends.iter().zip(places)) {
        let leader = Stroke {
            width: 1.0,
            dash: "none",
            ..*stroke
        };
        drawing.line((right + 6.0, *end), (right + 26.0, place), leader);
        let words = if is_ours(row.name) {
            Words::HeadingFrom
        } else {
            Words::From
        };
        drawing.words((right + 30.0, place + FOOT), words, row.name);
    }
    drawing.finish()
}

/// These heights, which increase, moved so far apart that names fit, and none below `bottom`.
fn apart(heights: &[f64], bottom: f64) -> Vec<f64> {
    let mut places = heights.to_vec();
    let mut least = f64::NEG_INFINITY;
    for place in &mut places {
        *place = place.max(least);
        least = *place + NAME_HEIGHT;
    }
    let mut greatest = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(greatest);
        greatest = *place - NAME_HEIGHT;
    }
    places
}

/// A row of markers for each contender, from the first percentile to the last.
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
    let all: Vec<f64> = cases
        .iter()
        .flat_map(|case| question.shown_of(case))
        .flat_map(figures)
        .collect();
    let x = Scale::around(&all, NAMES + 12.0, WIDTH - 40.0);
    let lines: usize = cases
        .iter()
        .map(|case| question.shown_of(case).len() + 2)
        .sum();
    let bottom = TOP + lines as f64 * LINE_HEIGHT;

    let size = (WIDTH, bottom + 30.0);
    let mut drawing = Drawing::new(size, question.title, &subtitle(machine));
    for tick in x.ticks() {
        let at = x.at(tick);
        drawing.line((at, TOP), (at, bottom), GUIDE);
        drawing.words((at, bottom + 16.0), Words::Around, &time(tick));
    }
    for (index, column) in question.columns[columns.clone()].iter().enumerate() {
        let at = NAMES + 18.0 + index as f64 * 110.0;
        drawing.marker((at, TOP - 14.0), Marker::ALL[index], "#333");
        drawing.words((at + 10.0, TOP - 14.0 + FOOT), Words::From, column);
    }
    let mut at = TOP + LINE_HEIGHT;
    for case in cases {
        drawing.words((NAMES, at + FOOT), Words::HeadingTo, &case.label);
        at += LINE_HEIGHT;
        for row in question.shown_of(case) {
            let is_ours = is_ours(row.name);
            let colour = if is_ours { OURS[0] } else { PEERS };
            let place = if is_ours { Words::HeadingTo } else { Words::To };
            drawing.words((NAMES, at + FOOT), place, row.name);
            let places: Vec<f64> = figures(row).iter().map(|figure| x.at(*figure)).collect();
            drawing.line((places[0], at), (places[places.len() - 1], at), GUIDE);
            // The first is drawn last, to be seen where they meet.
            for (index, place) in places.iter().enumerate().rev() {
                drawing.marker((*place, at), Marker::ALL[index], colour);
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

fn is_ours(name: &str) -> bool {
    name.starts_with("RingFeed") || name.starts_with("Feed")
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
