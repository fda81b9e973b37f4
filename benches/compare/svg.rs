//! Drawing SVG: lines, dots, markers and text.

use std::fmt::Write;

/// A point: from the left, and from the top.
pub(crate) type Point = (f64, f64);

/// How a line is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stroke {
    pub(crate) colour: &'static str,
    pub(crate) dash: &'static str,
    pub(crate) width: f64,
}

/// A thin line that only guides the eye.
pub(crate) const GUIDE: Stroke = Stroke {
    colour: "#ddd",
    dash: "none",
    width: 1.0,
};

/// Where words stand, seen from their point.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Words {
    /// They begin there.
    From,
    /// They begin there, and are bold.
    HeadingFrom,
    /// They have their middle there.
    Around,
    /// They end there.
    To,
    /// They end there, and are bold.
    HeadingTo,
}

/// The shape of a point.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
}

impl Marker {
    pub(crate) const ALL: [Self; 5] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Diamond,
        Self::Cross,
    ];

    /// Its outline around a point, as a path.
    fn path(self) -> &'static str {
        match self {
            Self::Circle => "m-4.5,0 a4.5,4.5 0 1,0 9,0 a4.5,4.5 0 1,0 -9,0z",
            Self::Square => "m-4,-4 h8 v8 h-8z",
            Self::Triangle => "m-5,4 h10 l-5,-9z",
            Self::Diamond => "m-5.5,0 l5.5,-5.5 l5.5,5.5 l-5.5,5.5z",
            Self::Cross => "m-5,-2 h3 v-3 h4 v3 h3 v4 h-3 v3 h-4 v-3 h-3z",
        }
    }
}

/// A drawing that grows.
#[derive(Debug)]
pub(crate) struct Drawing {
    svg: String,
}

impl Drawing {
    /// A white sheet with a title and a line below it.
    pub(crate) fn new((width, height): Point, title: &str, subtitle: &str) -> Self {
        let title = escaped(title);
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             font-size=\"12\" role=\"img\" aria-label=\"{title}\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text x=\"16\" y=\"24\" font-size=\"15\" font-weight=\"bold\" fill=\"#222\">{title}</text>\n"
        );
        let mut drawing = Self { svg };
        drawing.words((16.0, 44.0), Words::From, subtitle);
        drawing
    }

    pub(crate) fn line(&mut self, from: Point, to: Point, stroke: Stroke) {
        let Stroke {
            colour,
            dash,
            width,
        } = stroke;
        self.put(format_args!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\" \
             stroke-dasharray=\"{dash}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    pub(crate) fn dot(&mut self, (x, y): Point, radius: f64, colour: &str) {
        self.put(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\"/>"
        ));
    }

    pub(crate) fn marker(&mut self, (x, y): Point, marker: Marker, colour: &str) {
        self.put(format_args!(
            "<path d=\"M{x:.1},{y:.1} {}\" fill=\"{colour}\" stroke=\"#ffffff\"/>",
            marker.path()
        ));
    }

    pub(crate) fn words(&mut self, (x, y): Point, place: Words, words: &str) {
        let (anchor, weight) = match place {
            Words::From => ("start", "normal"),
            Words::HeadingFrom => ("start", "bold"),
            Words::Around => ("middle", "normal"),
            Words::To => ("end", "normal"),
            Words::HeadingTo => ("end", "bold"),
        };
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-weight=\"{weight}\" fill=\"#333\">{}</text>",
            escaped(words)
        ));
    }

    /// The whole file.
    pub(crate) fn finish(self) -> String {
        self.svg + "</svg>\n"
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.svg, "{element}").expect("writing to a string does not fail");
    }
}

fn escaped(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
