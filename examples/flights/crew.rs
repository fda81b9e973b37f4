//! The subscribers, each on a thread of its own.

use std::collections::HashMap;
use std::panic;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use fanfeed::{Feed, Overflow, Receiver, RecvError, Stats, Subscription};
use hdrhistogram::Histogram;

use crate::Failure;
use crate::findings::Finding;
use crate::options::Options;
use crate::records::Event;

/// The running subscribers.
pub(crate) struct Crew(Vec<Member>);

struct Member {
    name: String,
    alerts: bool,
    subscription: Subscription,
    thread: JoinHandle<(Reception, Finding)>,
}

/// The result of a subscriber.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) name: String,
    /// Whether it read the alerts and not the flights.
    pub(crate) alerts: bool,
    pub(crate) reception: Reception,
    /// What the feed counted for it.
    pub(crate) stats: Stats,
    pub(crate) finding: Finding,
}

/// What a subscriber counted while it received.
#[derive(Debug)]
pub(crate) struct Reception {
    pub(crate) received: u64,
    pub(crate) missed: u64,
    /// Whether it fell behind, and its subscription was ended for that.
    pub(crate) cut_off: bool,
    pub(crate) last: Option<Instant>,
    /// From send to receipt, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Crew {
    /// Subscribes as many as the options ask for, and the reader of the alerts.
    pub(crate) fn start(feed: &Feed<Event>, options: &Options) -> Result<Self, Failure> {
        let mut crew = Self(Vec::new());
        let alerts = Feed::new();
        for number in 1..=options.subscribers {
            let (name, finding) = match number {
                1 => ("routes".to_owned(), Finding::Routes(HashMap::new())),
                2 => ("airports".to_owned(), Finding::Airports(HashMap::new())),
                3 => ("hours".to_owned(), Finding::Hours(Default::default())),
                4 => {
                    // No alert is lost: the sender waits on this feed, whatever the
                    // overflow policy of the other feed.
                    let longest = Finding::Longest(Vec::new());
                    crew.add(
                        "alert reader".to_owned(),
                        &alerts,
                        options,
                        Overflow::Block,
                        longest,
                    )?;
                    ("alerts".to_owned(), Finding::Alerts(alerts.clone()))
                }
                _ => (format!("counter {number}"), Finding::Count),
            };
            crew.add(name, feed, options, options.overflow.into(), finding)?;
        }
        Ok(crew)
    }

    fn add(
        &mut self,
        name: String,
        feed: &Feed<Event>,
        options: &Options,
        overflow: Overflow,
        mut finding: Finding,
    ) -> Result<(), Failure> {
        let (mut receiver, subscription) = feed
            .subscriber()
            .name(name.as_str())
            .capacity(options.capacity)
            .overflow(overflow)
            .channel()
            .map_err(|error| Failure::Usage(error.to_string()))?
            .split();
        let alerts = matches!(finding, Finding::Longest(_));
        let thread = thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                let reception = receive(&mut receiver, &mut finding);
                finding.end();
                (reception, finding)
            })
            .map_err(|error| Failure::Machine(format!("cannot start a thread: {error}")))?;
        self.0.push(Member {
            name,
            alerts,
            subscription,
            thread,
        });
        Ok(())
    }

    /// Waits until every subscriber has received all its events. The feed must be closed first.
    pub(crate) fn join(self) -> Vec<Log> {
        let log = |member: Member| {
            let (reception, finding) = member
                .thread
                .join()
                .unwrap_or_else(|reason| panic::resume_unwind(reason));
            let stats = member.subscription.stats();
            Log {
                name: member.name,
                alerts: member.alerts,
                reception,
                stats,
                finding,
            }
        };
        let mut logs: Vec<_> = self.0.into_iter().map(log).collect();
        logs.sort_by_key(|log| log.alerts);
        logs
    }
}

fn receive(receiver: &mut Receiver<Event>, finding: &mut Finding) -> Reception {
    let mut reception = Reception {
        received: 0,
        missed: 0,
        cut_off: false,
        last: None,
        latency: latencies(),
    };
    loop {
        match receiver.recv() {
            Ok(event) => {
                let now = Instant::now();
                let latency = now.saturating_duration_since(event.sent).as_nanos();
                reception
                    .latency
                    .saturating_record(u64::try_from(latency).unwrap_or(u64::MAX));
                reception.received += 1;
                reception.last = Some(now);
                finding.see(&event.flight);
            }
            Err(RecvError::Lagged(missed)) => reception.missed += missed,
            Err(RecvError::Closed) => return reception,
            Err(RecvError::Overflowed) => {
                reception.cut_off = true;
                return reception;
            }
        }
    }
}

/// An empty histogram of 1 ns to 100 s, true to two digits: small enough for a thousand of them.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 100_000_000_000, 2).expect("these bounds are valid")
}
