//! Charts, drawn as SVG.

use std::fmt::Write;

use crate::machine::Machine;
use crate::questions::{Chart, Question};
use crate::rounds::{Measured, Row};

const LEFT: f64 = 64.0;
const TOP: f64 = 84.0;
const PLOT_WIDTH: f64 = 560.0;
const PLOT_HEIGHT: f64 = 440.0;
const LEGEND_LINE: f64 = 18.0;
const WIDTH: f64 = 960.0;

/// As far apart as there are many; the dashes tell those of one colour apart.
const COLOURS: [&str; 10] = [
    "#0b6fb8", "#d1495b", "#2e8b57", "#e08e0b", "#6a4c93", "#00798c", "#8d5524", "#c2185b",
    "#5c6f2b", "#555555",
];
const DASHES: [&str; 3] = ["", "7 4", "2 3"];

/// The question's chart, if there is one.
pub(crate) fn draw(question: &Question, cases: &[Measured], machine: &Machine) -> Option<String> {
    match question.chart {
        Chart::None => None,
        Chart::OverReaders => Some(over_readers(question, cases, machine)),
        Chart::Percentiles { first, count } => {
            let columns = &question.columns[first..first + count];
            Some(percentiles(question, cases, machine, first, columns))
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
    fn around(figures: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let positive = figures.filter(|figure| *figure > 0.0);
        let least = positive.clone().fold(f64::INFINITY, f64::min);
        let greatest = positive.fold(f64::MIN_POSITIVE, f64::max).max(least);
        let least = 10_f64.powf(least.log10().floor());
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

fn over_readers(question: &Question, cases: &[Measured], machine: &Machine) -> String {
    let points: Vec<(f64, &[Row])> = cases
        .iter()
        .filter_map(|case| Some((case.readers? as f64, case.rows.as_slice())))
        .collect();
    let y = Scale::around(
        points
            .iter()
            .flat_map(|(_, rows)| rows.iter().map(first_figure)),
        TOP + PLOT_HEIGHT,
        TOP,
    );
    let (fewest, most) = (points[0].0, points[points.len() - 1].0);
    let x = Scale {
        least: fewest,
        greatest: most.max(fewest * 2.0),
        from: LEFT,
        to: LEFT + PLOT_WIDTH,
    };
    // From the highest line at the right end to the lowest, as they are seen.
    let mut names: Vec<&Row> = points[points.len() - 1].1.iter().collect();
    names.sort_by(|one, other| first_figure(other).total_cmp(&first_figure(one)));

    let mut svg = open(question, machine, names.len());
    for tick in y.ticks() {
        let at = y.at(tick);
        line(&mut svg, (LEFT, at), (LEFT + PLOT_WIDTH, at), "#ddd", "");
        text(&mut svg, (LEFT - 8.0, at + 4.0), "end", &plain(tick));
    }
    for (readers, _) in &points {
        let at = x.at(*readers);
        line(&mut svg, (at, TOP), (at, TOP + PLOT_HEIGHT), "#eee", "");
        text(
            &mut svg,
            (at, TOP + PLOT_HEIGHT + 18.0),
            "middle",
            &plain(*readers),
        );
    }
    let middle = (LEFT + PLOT_WIDTH / 2.0, TOP + PLOT_HEIGHT + 38.0);
    text(&mut svg, middle, "middle", "readers");
    text(&mut svg, (LEFT, TOP - 10.0), "start", question.columns[0]);
    for (index, row) in names.iter().enumerate() {
        let (colour, dash) = style(index);
        let path: Vec<(f64, f64)> = points
            .iter()
            .filter_map(|(readers, rows)| {
                let row = rows.iter().find(|it| it.name == row.name)?;
                Some((x.at(*readers), y.at(first_figure(row))))
            })
            .collect();
        for ends in path.windows(2) {
            line(&mut svg, ends[0], ends[1], colour, dash);
        }
        for point in path {
            circle(&mut svg, point, colour);
        }
        let at = TOP + index as f64 * LEGEND_LINE;
        let left = LEFT + PLOT_WIDTH + 20.0;
        line(&mut svg, (left, at), (left + 28.0, at), colour, dash);
        text(&mut svg, (left + 36.0, at + 4.0), "start", row.name);
    }
    svg + "</svg>\n"
}

/// A row of dots for each contender, from the first percentile to the last.
fn percentiles(
    question: &Question,
    cases: &[Measured],
    machine: &Machine,
    first: usize,
    columns: &[&str],
) -> String {
    const NAMES: f64 = 280.0;
    let figures = |row: &Row| -> Vec<f64> {
        let figures = &row.figures[first..first + columns.len()];
        figures.iter().map(|figure| figure.median).collect()
    };
    let all: Vec<f64> = cases
        .iter()
        .flat_map(|case| &case.rows)
        .flat_map(figures)
        .collect();
    let x = Scale::around(all.into_iter(), NAMES, WIDTH - 30.0);
    let lines: usize = cases.iter().map(|case| case.rows.len() + 2).sum();
    let bottom = TOP + lines as f64 * LEGEND_LINE;

    let mut svg = open_with_height(question, machine, bottom + 30.0);
    for tick in x.ticks() {
        let at = x.at(tick);
        line(&mut svg, (at, TOP), (at, bottom), "#ddd", "");
        text(
            &mut svg,
            (at, bottom + 16.0),
            "middle",
            &format!("{} ns", plain(tick)),
        );
    }
    for (index, column) in columns.iter().enumerate() {
        let at = NAMES + index as f64 * 110.0;
        circle(&mut svg, (at, TOP - 14.0), COLOURS[index]);
        text(&mut svg, (at + 8.0, TOP - 10.0), "start", column);
    }
    let mut at = TOP + LEGEND_LINE;
    for case in cases {
        let label = format!(
            "<tspan font-weight=\"bold\">{}</tspan>",
            escaped(&case.label)
        );
        raw_text(&mut svg, (NAMES - 12.0, at + 4.0), "end", &label);
        at += LEGEND_LINE;
        for row in &case.rows {
            text(&mut svg, (NAMES - 12.0, at + 4.0), "end", row.name);
            let figures = figures(row);
            let ends = (x.at(figures[0]), x.at(figures[figures.len() - 1]));
            line(&mut svg, (ends.0, at), (ends.1, at), "#bbb", "");
            for (index, figure) in figures.iter().enumerate() {
                circle(&mut svg, (x.at(*figure), at), COLOURS[index]);
            }
            at += LEGEND_LINE;
        }
        at += LEGEND_LINE;
    }
    svg + "</svg>\n"
}

fn first_figure(row: &Row) -> f64 {
    row.figures[0].median
}

fn style(index: usize) -> (&'static str, &'static str) {
    let dash = DASHES[index / COLOURS.len() % DASHES.len()];
    (COLOURS[index % COLOURS.len()], dash)
}

fn open(question: &Question, machine: &Machine, names: usize) -> String {
    let legend = TOP + names as f64 * LEGEND_LINE;
    open_with_height(
        question,
        machine,
        legend.max(TOP + PLOT_HEIGHT + 44.0) + 10.0,
    )
}

fn open_with_height(question: &Question, machine: &Machine, height: f64) -> String {
    let title = escaped(question.title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" role=\"img\" aria-label=\"{title}\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"15\" font-weight=\"bold\" fill=\"#222\">{title}</text>\n"
    );
    let line = format!("{}; medians of interleaved rounds", machine.line());
    text(&mut svg, (16.0, 44.0), "start", &line);
    svg
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, dash: &str) {
    let width = if colour.len() == 4 { 1 } else { 2 };
    // Writing to a string does not fail.
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\" \
         stroke-dasharray=\"{dash}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn circle(svg: &mut String, at: (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
        at.0, at.1
    );
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    raw_text(svg, at, anchor, &escaped(words));
}

fn raw_text(svg: &mut String, at: (f64, f64), anchor: &str, markup: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#333\">{markup}</text>",
        at.0, at.1
    );
}

fn escaped(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A tick's number, without a fraction where it has none.
fn plain(figure: f64) -> String {
    if figure >= 1.0 {
        format!("{figure:.0}")
    } else {
        format!("{figure}")
    }
}
