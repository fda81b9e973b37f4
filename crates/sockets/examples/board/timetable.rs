//! What happens when, and under which number.
//!
//! Both follow from the time of day alone: a server that was restarted goes on where the replay is
//! by now, a second server is at the same place, and the numbers tell a page exactly how much it
//! missed.

use std::time::Duration;

use serde::Serialize;

use crate::moment::Moment;
use crate::records::{self, Records};

/// All events of the records, which are replayed over and over.
pub(crate) struct Timetable {
    records: Records,
    first: Moment,
    events: Vec<Event>,
    /// How many events each airport has in one pass.
    counts: Vec<u64>,
    /// How many of their seconds one pass takes.
    length: f64,
    /// How many of their seconds are one second here.
    speed: f64,
}

/// One event of a pass.
struct Event {
    /// When it happens, in seconds from the beginning of the pass.
    second: f64,
    kind: Kind,
    /// The number of its record.
    flight: usize,
    /// Its numbers on the channels of the two airports, the origin's first.
    numbers: [u64; 2],
}

/// What happens to a flight. Both airports hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Departed,
    Arrived,
}

impl Kind {
    /// The type of the message.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Departed => "departed",
            Self::Arrived => "arrived",
        }
    }
}

/// An event in all passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pass: u64,
    event: usize,
}

/// A flight as the page gets it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Flight<'a> {
    flight: u64,
    from: &'a str,
    to: &'a str,
    miles: i32,
    /// Minutes, negative when the flight was early.
    delay: i32,
    /// When it left, by the clock of the airport.
    left: String,
    /// When it leaves and when it arrives in this replay, in milliseconds since 1970.
    off: f64,
    on: f64,
}

/// The body of a message about a flight.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Body<'a> {
    /// The number of the message on its channel, without gaps.
    pub(crate) seq: u64,
    /// Numbers of another speed have nothing to do with each other.
    pub(crate) epoch: f64,
    #[serde(flatten)]
    pub(crate) flight: Flight<'a>,
}

impl Timetable {
    /// The records must not be empty.
    pub(crate) fn new(records: Records, speed: f64) -> Self {
        let first = records.flights[0].when;
        let mut events = Vec::with_capacity(2 * records.flights.len());
        for (flight, record) in records.flights.iter().enumerate() {
            let left = record.when.seconds_since(first);
            for (second, kind) in [
                (left, Kind::Departed),
                (left + duration(record), Kind::Arrived),
            ] {
                events.push(Event {
                    second,
                    kind,
                    flight,
                    numbers: [0; 2],
                });
            }
        }
        events.sort_by(|a, b| a.second.total_cmp(&b.second));
        let mut counts = vec![0; records.airports.len()];
        for event in &mut events {
            let record = &records.flights[event.flight];
            event.numbers = [record.origin, record.destination].map(|airport| {
                let count = &mut counts[airport.0 as usize];
                *count += 1;
                *count
            });
        }
        // The records resolve minutes: the next pass begins one after the last event.
        let length = events.last().map_or(0.0, |event| event.second) + 60.0;
        Self {
            records,
            first,
            events,
            counts,
            length,
            speed,
        }
    }

    /// How many flights each airport has in the records, by its code.
    pub(crate) fn flights(&self) -> impl Iterator<Item = (&str, u64)> {
        let codes = self.records.airports.iter().map(String::as_str);
        // A flight has two events.
        codes.zip(self.counts.iter().map(|count| count / 2))
    }

    /// The first event after `now`, which is counted from 1970.
    pub(crate) fn next(&self, now: Duration) -> Position {
        let (pass, second) = self.split(now);
        let event = self.events.partition_point(|event| event.second <= second);
        self.normal(pass, event)
    }

    pub(crate) fn after(&self, position: Position) -> Position {
        self.normal(position.pass, position.event + 1)
    }

    /// When the event happens, counted from 1970.
    pub(crate) fn due(&self, position: Position) -> Duration {
        self.time(position.pass, self.events[position.event].second)
    }

    pub(crate) fn kind(&self, position: Position) -> Kind {
        self.events[position.event].kind
    }

    /// The bodies of the event's messages, and the channel of each.
    pub(crate) fn bodies(&self, position: Position) -> [(&str, Body<'_>); 2] {
        let event = &self.events[position.event];
        let record = &self.records.flights[event.flight];
        let flight = self.flight(position.pass, event.flight);
        let mut numbers = event.numbers.into_iter();
        [record.origin, record.destination].map(|airport| {
            let before = position.pass * self.counts[airport.0 as usize];
            let body = Body {
                seq: before + numbers.next().unwrap_or_default(),
                epoch: self.speed,
                flight: flight.clone(),
            };
            (self.records.airport(airport), body)
        })
    }

    /// The flights from or to an airport that are in the air at `now`.
    pub(crate) fn aloft(&self, airport: &str, now: Duration) -> Vec<Flight<'_>> {
        let (pass, second) = self.split(now);
        let begun = self.events.partition_point(|event| event.second <= second);
        let longest = self.records.flights.iter().map(duration);
        let earliest = second - longest.fold(0.0, f64::max);
        let recent = self.events[..begun].iter().rev();
        recent
            .take_while(|event| event.second >= earliest)
            .filter(|event| event.kind == Kind::Departed)
            .filter(|event| event.second + duration(&self.records.flights[event.flight]) > second)
            .map(|event| self.flight(pass, event.flight))
            .filter(|flight| flight.from == airport || flight.to == airport)
            .collect()
    }

    fn flight(&self, pass: u64, number: usize) -> Flight<'_> {
        let record = &self.records.flights[number];
        let left = record.when.seconds_since(self.first);
        let millisecond = |second| self.time(pass, second).as_secs_f64() * 1e3;
        Flight {
            flight: pass * self.records.flights.len() as u64 + number as u64,
            from: self.records.airport(record.origin),
            to: self.records.airport(record.destination),
            miles: record.distance,
            delay: record.delay,
            left: record.when.to_string(),
            off: millisecond(left),
            on: millisecond(left + duration(record)),
        }
    }

    /// The pass at `now`, and how many seconds of it are over.
    fn split(&self, now: Duration) -> (u64, f64) {
        let total = now.as_secs_f64() * self.speed;
        let pass = (total / self.length).floor();
        (pass as u64, total - pass * self.length)
    }

    fn time(&self, pass: u64, second: f64) -> Duration {
        Duration::from_secs_f64((pass as f64 * self.length + second) / self.speed)
    }

    fn normal(&self, pass: u64, event: usize) -> Position {
        match event < self.events.len() {
            true => Position { pass, event },
            false => Position {
                pass: pass + 1,
                event: 0,
            },
        }
    }
}

/// How long a flight takes, in seconds. The records do not say: estimated as half an hour and 480
/// miles an hour.
fn duration(record: &records::Flight) -> f64 {
    30.0 * 60.0 + f64::from(record.distance) / 480.0 * 3600.0
}
