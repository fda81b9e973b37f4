//! The report that is shown at the end.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use crate::accounts::Accounts;
use crate::crew::Log;
use crate::findings::{ALERT, Delays, Finding, LATE, Traffic};
use crate::input::Source;
use crate::options::Options;
use crate::records::{Airport, Flight, Records};
use crate::replay::{Ending, Replay};
use crate::table::Side::{Left, Right};
use crate::table::{NONE, Table, bar, grouped};

/// How many routes and airports are shown.
const SHOWN: usize = 10;

/// The whole report; displays as several lines.
pub(crate) struct Report<'a> {
    pub(crate) source: &'a Source,
    pub(crate) records: &'a Records,
    pub(crate) options: &'a Options,
    pub(crate) replay: &'a Replay,
    pub(crate) logs: &'a [Log],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source(f)?;
        for log in self.logs {
            match &log.finding {
                Finding::Routes(routes) => self.routes(f, routes)?,
                Finding::Airports(airports) => self.airports(f, airports)?,
                Finding::Hours(hours) => self.hours(f, hours)?,
                Finding::Longest(flights) => self.alerts(f, log.reception.received, flights)?,
                Finding::Alerts(_) | Finding::Count => {}
            }
        }
        write!(
            f,
            "{}",
            Accounts {
                options: self.options,
                replay: self.replay,
                logs: self.logs
            }
        )
    }
}

impl Report<'_> {
    fn source(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flights = &self.records.flights;
        let (first, last) = (flights[0].when, flights[flights.len() - 1].when);
        let all = (flights.len() as u64).saturating_mul(self.options.repeat);
        writeln!(f, "Flights of {}, {first} to {last}", self.source)?;
        writeln!(f, "  {:>12} records", grouped(flights.len() as u64))?;
        writeln!(
            f,
            "  {:>12} malformed",
            grouped(self.records.malformed.count())
        )?;
        write!(f, "  {:>12} events sent", grouped(self.replay.sent))?;
        match self.replay.ending {
            Ending::Complete if self.options.repeat > 1 => {
                writeln!(f, " (every record {} times)", grouped(self.options.repeat))
            }
            Ending::Complete => writeln!(f),
            Ending::Interrupted => {
                writeln!(
                    f,
                    " of {}: interrupted by Ctrl-C, what follows is the part until then",
                    grouped(all)
                )
            }
            Ending::Deserted => {
                writeln!(
                    f,
                    " of {}: every subscriber fell behind and was disconnected",
                    grouped(all)
                )
            }
        }
    }

    fn routes(
        &self,
        f: &mut fmt::Formatter<'_>,
        routes: &HashMap<(Airport, Airport), Delays>,
    ) -> fmt::Result {
        writeln!(
            f,
            "\nDelay by route ({} of them, the busiest first)",
            grouped(routes.len() as u64)
        )?;
        let mut table = Table::new(&[
            ("route", Left),
            ("flights", Right),
            ("mean delay", Right),
            ("late", Right),
            ("worst", Right),
        ]);
        let mut routes: Vec<_> = routes
            .iter()
            .map(|(&(from, to), delays)| (self.route(from, to), delays))
            .collect();
        routes.sort_unstable_by(|(a, these), (b, those)| {
            those.flights.cmp(&these.flights).then(a.cmp(b))
        });
        for (route, delays) in routes.into_iter().take(SHOWN) {
            table.row([
                route,
                grouped(delays.flights),
                mean(delays.mean()),
                percent(delays.late, delays.flights),
                minutes(delays.worst),
            ]);
        }
        write!(f, "{table}")
    }

    fn airports(
        &self,
        f: &mut fmt::Formatter<'_>,
        airports: &HashMap<Airport, Traffic>,
    ) -> fmt::Result {
        writeln!(
            f,
            "\nAirports ({} of them, the busiest first)",
            grouped(airports.len() as u64)
        )?;
        let mut table = Table::new(&[
            ("airport", Left),
            ("departures", Right),
            ("arrivals", Right),
            ("both", Right),
            ("", Left),
        ]);
        let both = |traffic: &Traffic| traffic.departures + traffic.arrivals;
        let mut airports: Vec<_> = airports
            .iter()
            .map(|(&airport, traffic)| (self.records.airport(airport), traffic))
            .collect();
        airports.sort_unstable_by_key(|(airport, traffic)| (Reverse(both(traffic)), *airport));
        let most = airports.first().map_or(0, |(_, traffic)| both(traffic));
        for (airport, traffic) in airports.into_iter().take(SHOWN) {
            table.row([
                airport.to_owned(),
                grouped(traffic.departures),
                grouped(traffic.arrivals),
                grouped(both(traffic)),
                bar(both(traffic), most, 30),
            ]);
        }
        write!(f, "{table}")
    }

    fn hours(&self, f: &mut fmt::Formatter<'_>, hours: &[Delays; 24]) -> fmt::Result {
        writeln!(
            f,
            "\nDelays by hour of day: flights that were late by {LATE} minutes or more"
        )?;
        let mut table = Table::new(&[
            ("hour", Left),
            ("flights", Right),
            ("mean delay", Right),
            ("late", Right),
            ("late", Right),
            ("", Left),
        ]);
        let most = hours
            .iter()
            .map(|delays| delays.late)
            .max()
            .unwrap_or_default();
        for (hour, delays) in hours.iter().enumerate() {
            table.row([
                format!("{hour:02}"),
                grouped(delays.flights),
                mean(delays.mean()),
                percent(delays.late, delays.flights),
                grouped(delays.late),
                bar(delays.late, most, 40),
            ]);
        }
        write!(f, "{table}")
    }

    fn alerts(&self, f: &mut fmt::Formatter<'_>, alerts: u64, longest: &[Flight]) -> fmt::Result {
        writeln!(
            f,
            "\nAlerts: {} for {ALERT} minutes or more, the longest:",
            grouped(alerts)
        )?;
        let mut table = Table::new(&[
            ("left", Left),
            ("route", Left),
            ("miles", Right),
            ("delay", Right),
        ]);
        for flight in longest {
            table.row([
                flight.when.to_string(),
                self.route(flight.origin, flight.destination),
                grouped(u64::from(flight.distance.unsigned_abs())),
                minutes(Some(flight.delay)),
            ]);
        }
        write!(f, "{table}")
    }

    fn route(&self, from: Airport, to: Airport) -> String {
        format!(
            "{} → {}",
            self.records.airport(from),
            self.records.airport(to)
        )
    }
}

/// Minutes, rounded to a tenth; a value that rounds to zero has no sign.
fn mean(minutes: Option<f64>) -> String {
    let tenths = |minutes: f64| (minutes * 10.0).round() / 10.0 + 0.0;
    minutes.map_or_else(
        || NONE.to_owned(),
        |minutes| format!("{:.1} min", tenths(minutes)),
    )
}

fn minutes(minutes: Option<i32>) -> String {
    minutes.map_or_else(|| NONE.to_owned(), |minutes| format!("{minutes} min"))
}

fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => NONE.to_owned(),
        _ => format!("{:.0} %", part as f64 / whole as f64 * 100.0),
    }
}
