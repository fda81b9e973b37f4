//! Flights, and how they are read from CSV. The example `board` of `fanfeed-sockets` has this
//! module as well.

use std::collections::HashMap;
use std::fmt;
use std::time::Instant;

use csv::{ByteRecord, ReaderBuilder, Trim};

use crate::moment::Moment;

/// An airport, by its number in [`Records::airports`]: so that an event is copied without an
/// allocation, whatever the records call their airports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Airport(pub(crate) u32);

/// One record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Flight {
    pub(crate) when: Moment,
    /// Minutes, negative when the flight was early.
    pub(crate) delay: i32,
    /// Miles.
    pub(crate) distance: i32,
    pub(crate) origin: Airport,
    pub(crate) destination: Airport,
}

/// What is sent on the feeds: a flight, and when it was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) flight: Flight,
    pub(crate) sent: Instant,
}

/// All records of a source, in the order of their time.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) flights: Vec<Flight>,
    pub(crate) airports: Vec<String>,
    pub(crate) malformed: Malformed,
}

impl Records {
    /// Reads records from CSV. The error says which column is wrong.
    pub(crate) fn read(data: &[u8]) -> Result<Self, String> {
        // Lines may differ in their number of fields here, so that the reading goes on after one.
        let mut reader = ReaderBuilder::new()
            .flexible(true)
            .trim(Trim::All)
            .from_reader(data);
        let columns = Columns::find(reader.byte_headers().map_err(|error| error.to_string())?)?;
        let mut airports = Airports::default();
        let mut lines = Lines {
            data,
            at: 0,
            line: 1,
        };
        let mut flights = Vec::new();
        let mut malformed = Malformed::default();
        let mut record = ByteRecord::new();
        let mut start = reader.position().byte() as usize;
        while reader
            .read_byte_record(&mut record)
            .map_err(|error| error.to_string())?
        {
            let end = reader.position().byte() as usize;
            match columns.flight(&record, &mut airports) {
                Ok(flight) => flights.push(flight),
                Err(reason) => malformed.add(lines.of(start, end), &reason),
            }
            start = end;
        }
        flights.sort_by_key(|flight| flight.when);
        Ok(Self {
            flights,
            airports: airports.names,
            malformed,
        })
    }

    pub(crate) fn airport(&self, airport: Airport) -> &str {
        &self.airports[airport.0 as usize]
    }
}

/// The records that were skipped: how many, and what was wrong with the first of them.
#[derive(Debug, Default)]
pub(crate) struct Malformed {
    count: u64,
    first: Vec<String>,
}

impl Malformed {
    /// So many are reported one by one: a file of another kind would fill the screen otherwise.
    const REPORTED: usize = 10;

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The lines that report them.
    pub(crate) fn complaints(&self, source: &impl fmt::Display) -> impl Iterator<Item = String> {
        let more = self.count - self.first.len() as u64;
        let each = self
            .first
            .iter()
            .map(move |reason| format!("{source}: {reason}"));
        each.chain(
            (more > 0).then(|| format!("{source}: {more} more malformed records, not shown")),
        )
    }

    fn add(&mut self, lines: impl fmt::Display, reason: &str) {
        self.count += 1;
        if self.first.len() < Self::REPORTED {
            self.first.push(format!("{lines}: {reason}"));
        }
    }
}

/// Which column is where.
struct Columns {
    at: [usize; NEEDED.len()],
    count: usize,
}

const NEEDED: [&str; 5] = ["date", "delay", "distance", "origin", "destination"];

impl Columns {
    fn find(header: &ByteRecord) -> Result<Self, String> {
        let names: Vec<_> = header
            .iter()
            .map(|name| String::from_utf8_lossy(name))
            .collect();
        let mut at = [0; NEEDED.len()];
        for (at, needed) in at.iter_mut().zip(NEEDED) {
            let mut found = (0..names.len()).filter(|&i| names[i].eq_ignore_ascii_case(needed));
            *at = found.next().ok_or_else(|| match names.len() {
                0 => format!(
                    "it is empty; its first line has to name {}",
                    NEEDED.join(", ")
                ),
                _ => format!(
                    "no column {needed:?}; its first line names {}",
                    brief(&names.join(","))
                ),
            })?;
            if found.next().is_some() {
                return Err(format!("its first line names the column {needed:?} twice"));
            }
        }
        Ok(Self {
            at,
            count: names.len(),
        })
    }

    fn flight(&self, record: &ByteRecord, airports: &mut Airports) -> Result<Flight, String> {
        if record.len() != self.count {
            let fields = if record.len() == 1 { "field" } else { "fields" };
            return Err(format!(
                "{} {fields} instead of {}",
                record.len(),
                self.count
            ));
        }
        let date = self.text(record, 0)?;
        let when = Moment::parse(date).ok_or_else(|| format!("date {} is not one", brief(date)))?;
        let delay = self.number(record, 1, -MOST)?;
        let distance = self.number(record, 2, 0.0)?;
        let (origin, destination) = (self.text(record, 3)?, self.text(record, 4)?);
        let (origin, destination) = (airports.number(origin), airports.number(destination));
        Ok(Flight {
            when,
            delay,
            distance,
            origin,
            destination,
        })
    }

    fn text<'r>(&self, record: &'r ByteRecord, column: usize) -> Result<&'r str, String> {
        match str::from_utf8(&record[self.at[column]]) {
            Ok("") => Err(format!("{} is missing", NEEDED[column])),
            Ok(text) => Ok(text),
            Err(_) => Err(format!("{} is not UTF-8", NEEDED[column])),
        }
    }

    fn number(&self, record: &ByteRecord, column: usize, least: f64) -> Result<i32, String> {
        let (name, text) = (NEEDED[column], self.text(record, column)?);
        match text.parse::<f64>() {
            Ok(number) if (least..=MOST).contains(&number) => Ok(number.round() as i32),
            Ok(number) if number.is_finite() => Err(format!(
                "{name} {} is not from {least} to {MOST}",
                brief(text)
            )),
            _ => Err(format!("{name} {} is not a number", brief(text))),
        }
    }
}

/// No delay in minutes and no distance in miles is above this.
const MOST: f64 = 1_000_000.0;

/// The names of the airports met so far.
#[derive(Default)]
struct Airports {
    numbers: HashMap<String, Airport>,
    names: Vec<String>,
}

impl Airports {
    fn number(&mut self, name: &str) -> Airport {
        if let Some(airport) = self.numbers.get(name) {
            return *airport;
        }
        let airport = Airport(self.names.len() as u32);
        self.numbers.insert(name.to_owned(), airport);
        // A name is shown in a terminal, which must not be told what to do by a file.
        let clean = |c: char| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        };
        self.names.push(name.chars().map(clean).take(24).collect());
        airport
    }
}

/// A value from the input as a message quotes it: escaped, and not longer than a line.
fn brief(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Counts lines up to a record.
///
/// The line that `csv` gives for a record is that on which the one before ended, which after an
/// empty line or CRLF is another one.
struct Lines<'a> {
    data: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line, or the lines, of the record in these bytes; ends of lines around it do not count.
    fn of(&mut self, start: usize, end: usize) -> String {
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let record = &self.data[start..end];
        let start = start + record.iter().take_while(|byte| is_end(byte)).count();
        let end = end - record.iter().rev().take_while(|byte| is_end(byte)).count();
        self.line += self.ends(self.at, start);
        self.at = start;
        match self.ends(start, end.max(start)) {
            0 => format!("line {}", self.line),
            more => format!(
                "line {} (to {}: is a quote left open?)",
                self.line,
                self.line + more
            ),
        }
    }

    fn ends(&self, from: usize, to: usize) -> u64 {
        let ends = |&i: &usize| match self.data[i] {
            b'\n' => true,
            b'\r' => self.data.get(i + 1) != Some(&b'\n'),
            _ => false,
        };
        (from..to).filter(ends).count() as u64
    }
}
