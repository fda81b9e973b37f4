//! The accounts of the replay: how many events each subscriber received, how many a second, and
//! with what latency.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::crew::{self, Log};
use crate::options::{Options, Policy, Speed};
use crate::replay::{Ending, Replay};
use crate::table::Side::{Left, Right};
use crate::table::{NONE, Table, grouped, short};

/// The last part of the report; displays as several lines.
pub(crate) struct Accounts<'a> {
    pub(crate) options: &'a Options,
    pub(crate) replay: &'a Replay,
    pub(crate) logs: &'a [Log],
}

impl fmt::Display for Accounts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subscribers(f)?;
        self.rates(f)?;
        self.latency(f)
    }
}

impl Accounts<'_> {
    fn subscribers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = match self.options.overflow {
            Policy::Block => "the sender waits",
            Policy::DropNewest => "the new event is missed",
            Policy::DropOldest => "the oldest event is missed",
            Policy::Disconnect => "it is disconnected",
        };
        let capacity = grouped(self.options.capacity as u64);
        writeln!(
            f,
            "\nSubscribers: capacity {capacity}; when one is full, {policy}"
        )?;
        let mut table = Table::new(&[
            ("subscriber", Left),
            ("received", Right),
            ("missed", Right),
            ("delivered", Right),
            ("dropped", Right),
            ("blocked", Right),
            ("for", Right),
            ("", Left),
        ]);
        for log in self.logs {
            let (reception, stats) = (&log.reception, log.stats);
            table.row([
                log.name.clone(),
                grouped(reception.received),
                grouped(self.missed(log)),
                grouped(stats.delivered),
                grouped(stats.dropped),
                grouped(stats.blocked),
                short(stats.blocked_for),
                remark(log).to_owned(),
            ]);
        }
        writeln!(f, "{table}")?;
        writeln!(f, "  received and missed: as the subscriber counted")?;
        writeln!(
            f,
            "  delivered, dropped, how often and how long the sender was blocked: as its stats() say"
        )?;
        self.balance(f)
    }

    /// Says whether every event is accounted for. A send that Ctrl-C interrupted may have reached
    /// only some subscribers; any other difference is a fault.
    fn balance(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut_short = u64::from(self.replay.ending == Ending::Interrupted);
        let off_by = |log: &Log| {
            self.replay
                .sent
                .abs_diff(log.reception.received + self.missed(log))
        };
        let names = |wanted: &dyn Fn(u64) -> bool| {
            let wanted = self.flights().filter(|log| wanted(off_by(log)));
            wanted.map(|log| &*log.name).collect::<Vec<_>>().join(", ")
        };
        let (off, lost) = (names(&|by| by > 0), names(&|by| by > cut_short));
        if off.is_empty() {
            writeln!(
                f,
                "  received + missed = sent, for every subscriber of the flights"
            )
        } else if lost.is_empty() {
            writeln!(
                f,
                "  Ctrl-C cut the last send short, before it reached: {off}"
            )
        } else {
            writeln!(
                f,
                "  NOT ACCOUNTED FOR: received + missed ≠ sent for {lost}"
            )
        }
    }

    fn rates(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Replay {
            sent, begin, end, ..
        } = *self.replay;
        let deliveries = self.flights().map(|log| log.reception.received).sum();
        let last = self
            .flights()
            .filter_map(|log| log.reception.last)
            .max()
            .unwrap_or(end);
        writeln!(
            f,
            "\nRates: events until the last send, deliveries of flights until the last receipt"
        )?;
        let mut table = Table::new(&[
            ("", Left),
            ("count", Right),
            ("time", Right),
            ("rate", Right),
        ]);
        for (name, count, until) in [("events", sent, end), ("deliveries", deliveries, last)] {
            let time = until.saturating_duration_since(begin);
            let rate = match time.is_zero() {
                true => NONE.to_owned(),
                false => format!(
                    "{}/s",
                    grouped((count as f64 / time.as_secs_f64()).round() as u64)
                ),
            };
            table.row([name.to_owned(), grouped(count), short(time), rate]);
        }
        write!(f, "{table}")
    }

    fn latency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nLatency from send to receipt")?;
        let mut table = Table::new(&[
            ("subscriber", Left),
            ("p50", Right),
            ("p99", Right),
            ("p99.9", Right),
            ("", Left),
        ]);
        let mut row = |name: &str, latency: &Histogram<u64>, remark: &str| {
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| match latency.is_empty() {
                true => NONE.to_owned(),
                false => short(Duration::from_nanos(latency.value_at_quantile(quantile))),
            });
            table.row([name.to_owned(), p50, p99, p999, remark.to_owned()]);
        };
        let mut all = crew::latencies();
        for log in self.logs {
            row(&log.name, &log.reception.latency, remark(log));
        }
        for log in self.flights() {
            all.add(&log.reception.latency)
                .expect("all have the same bounds");
        }
        row("all", &all, "of the flights");
        writeln!(f, "{table}")?;
        writeln!(
            f,
            "  From just before send is called until recv has returned. That takes in waiting for"
        )?;
        writeln!(
            f,
            "  room, waiting in the queue, and reading the clock at both ends, for which the rates"
        )?;
        writeln!(f, "  above pay as well.")?;
        match self.options.speed {
            Speed::Max => {
                writeln!(
                    f,
                    "  At full speed this is mostly the waiting in queues. What a delivery takes by itself"
                )?;
                writeln!(
                    f,
                    "  shows at a --speed that leaves them empty, or with a small --capacity."
                )
            }
            Speed::Factor(_) => {
                writeln!(
                    f,
                    "  At this pace it takes in the waking of subscribers that were asleep."
                )
            }
        }
    }

    fn flights(&self) -> impl Iterator<Item = &Log> {
        self.logs.iter().filter(|log| !log.alerts)
    }

    /// The number of events that a subscriber missed. A disconnected subscriber missed all events
    /// after its disconnection, and its receiver does not count those.
    fn missed(&self, log: &Log) -> u64 {
        match log.reception.cut_off {
            true => self.replay.sent.saturating_sub(log.reception.received),
            false => log.reception.missed,
        }
    }
}

fn remark(log: &Log) -> &'static str {
    match log.reception.cut_off {
        true => "disconnected",
        false if log.alerts => "of the alerts",
        false => "",
    }
}
