//! What the subscribers compute.

use std::collections::HashMap;
use std::time::Instant;

use fanfeed::Feed;

use crate::records::{Airport, Event, Flight};

/// A flight counts as late from this many minutes.
pub(crate) const LATE: i32 = 15;

/// A delay of this many minutes or more raises an alert.
pub(crate) const ALERT: i32 = 120;

/// The delays of some flights.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Delays {
    pub(crate) flights: u64,
    pub(crate) late: u64,
    pub(crate) worst: Option<i32>,
    sum: i64,
}

impl Delays {
    fn add(&mut self, delay: i32) {
        self.flights += 1;
        self.late += u64::from(delay >= LATE);
        self.worst = self.worst.max(Some(delay));
        self.sum += i64::from(delay);
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        (self.flights > 0).then(|| self.sum as f64 / self.flights as f64)
    }
}

/// The numbers of flights that left an airport and that arrived there.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) departures: u64,
    pub(crate) arrivals: u64,
}

/// The result that one subscriber computes from its events.
#[derive(Debug)]
pub(crate) enum Finding {
    /// The delays by route.
    Routes(HashMap<(Airport, Airport), Delays>),
    /// The traffic by airport.
    Airports(HashMap<Airport, Traffic>),
    /// The delays by hour of day.
    Hours(Box<[Delays; 24]>),
    /// Nothing; it raises alerts, on a feed of their own.
    Alerts(Feed<Event>),
    /// The longest delays among the alerts, longest first.
    Longest(Vec<Flight>),
    /// Nothing: it only counts.
    Count,
}

impl Finding {
    pub(crate) fn see(&mut self, flight: &Flight) {
        match self {
            Self::Routes(routes) => {
                routes
                    .entry((flight.origin, flight.destination))
                    .or_default()
                    .add(flight.delay);
            }
            Self::Airports(airports) => {
                airports.entry(flight.origin).or_default().departures += 1;
                airports.entry(flight.destination).or_default().arrivals += 1;
            }
            Self::Hours(hours) => hours[flight.when.hour()].add(flight.delay),
            Self::Alerts(feed) if flight.delay >= ALERT => {
                feed.send(Event {
                    flight: *flight,
                    sent: Instant::now(),
                });
            }
            Self::Longest(flights) => keep_longest(flights, flight),
            Self::Alerts(_) | Self::Count => {}
        }
    }

    /// Called after the last event.
    pub(crate) fn end(&self) {
        if let Self::Alerts(feed) = self {
            feed.close();
        }
    }
}

fn keep_longest(flights: &mut Vec<Flight>, flight: &Flight) {
    const KEPT: usize = 5;
    let at = flights.partition_point(|kept| kept.delay >= flight.delay);
    // With --repeat a record comes more than once.
    if at < KEPT && !flights.contains(flight) {
        flights.insert(at, *flight);
        flights.truncate(KEPT);
    }
}
