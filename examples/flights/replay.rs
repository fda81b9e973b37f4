//! The sending side.

use std::time::{Duration, Instant};

use fanfeed::Feed;

use crate::interrupt::Stop;
use crate::options::{Options, Speed};
use crate::progress::Progress;
use crate::records::{Event, Flight};

/// The result of a replay.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) sent: u64,
    pub(crate) begin: Instant,
    /// When the last send returned.
    pub(crate) end: Instant,
    pub(crate) ending: Ending,
}

/// The reason that a replay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// There was nothing left to send.
    Complete,
    /// Ctrl-C.
    Interrupted,
    /// Every subscriber was disconnected.
    Deserted,
}

/// Sends the flights, which are in the order of their time, as events.
pub(crate) fn run(
    feed: &Feed<Event>,
    flights: &[Flight],
    options: &Options,
    stop: &Stop,
    mut progress: Progress,
) -> Replay {
    let begin = Instant::now();
    let mut sent = 0;
    let ending = 'replay: {
        for pass in 0..options.repeat {
            for flight in flights {
                if let Speed::Factor(factor) = options.speed {
                    wait(begin, due(flights, pass, flight) / factor, stop);
                }
                if feed.is_closed() {
                    break 'replay Ending::Interrupted;
                }
                let now = Instant::now();
                let reached = feed.send(Event {
                    flight: *flight,
                    sent: now,
                });
                let nobody_left = reached == 0 && feed.subscriber_count() == 0;
                if nobody_left && feed.is_closed() {
                    break 'replay Ending::Interrupted;
                }
                sent += 1;
                if nobody_left {
                    break 'replay Ending::Deserted;
                }
                progress.sent(sent, now);
            }
        }
        Ending::Complete
    };
    Replay {
        sent,
        begin,
        end: Instant::now(),
        ending,
    }
}

/// The time at which a flight is due, in seconds of recorded time since the first flight of the
/// first pass. The next pass begins one minute after the last flight of this pass: the records have
/// a resolution of one minute.
fn due(flights: &[Flight], pass: u64, flight: &Flight) -> f64 {
    let first = flights[0].when;
    let pass_takes = flights[flights.len() - 1].when.seconds_since(first) + 60.0;
    pass as f64 * pass_takes + flight.when.seconds_since(first)
}

/// Waits until the given number of seconds after `begin`, or until Ctrl-C.
fn wait(begin: Instant, seconds: f64, stop: &Stop) {
    // No process lives as long as a time that does not fit into a `Duration`.
    let due = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let left = due.saturating_sub(begin.elapsed());
    if !left.is_zero() {
        // Nothing is ever sent on it: this is a sleep that ends early when it is disconnected.
        let _ = stop.recv_timeout(left);
    }
}
