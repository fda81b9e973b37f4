//! Rows that compare one of ours with its best peer, and give the ratio that it should reach:
//! `--only targets`, with `--row` for a single one.

use std::time::Duration;

use super::latency::Paced;
use super::oversubscribed::Entry;
use super::{Chart, Question};
use crate::field::{
    self, BUS, CROSSBEAM, CROSSBEAM_PARKED, CROSSFIRE, CROSSFIRE_MPSC, EXCLUSIVE, KANAL,
    OVER_CROSSBEAM, OWN, OWN_PARKED, Probe, SHARED, SINGLE, STD,
};
use crate::handler::{Checking, Handler, Opaque};
use crate::peers::channels::{parking, parking_sender, spinning};
use crate::peers::crossbeam::Crossbeam;
use crate::peers::crossfire::{Mpsc, Spsc};
use crate::peers::kanal::Kanal;
use crate::peers::std::Std;
use crate::peers::{bus, disruptor, feed, ring};
use crate::plan::Plan;
use crate::rounds::{Bound, Case, Contender, Goal};
use crate::throughput::{BURST_COLUMNS, Bursts, STREAM_COLUMNS, Stream};

/// What `--only` calls all of them.
pub(crate) const KEY: &str = "targets";

/// All rows.
pub(crate) const ROWS: &[Question] = &[
    row(
        "own-recv",
        "own channel, one reader that blocks in recv, two cores",
        STREAM_COLUMNS,
        own_recv,
    ),
    row(
        "own-polled",
        "own channels, polled, two cores",
        STREAM_COLUMNS,
        own_polled,
    ),
    row(
        "own-core",
        "own channels, one core, bursts of 128",
        BURST_COLUMNS,
        own_core,
    ),
    row(
        "senders",
        "several sending threads on one feed, two cores",
        super::oversubscribed::COLUMNS,
        senders,
    ),
    row(
        "over-crossbeam",
        "a feed over crossbeam's channels under backpressure, two cores",
        STREAM_COLUMNS,
        over_crossbeam,
    ),
    row(
        "ring-check",
        "exclusive ring, a check that branches, two cores",
        STREAM_COLUMNS,
        |plan, next| ring_streams(plan, Checking, next),
    ),
    row(
        "ring-handler",
        "exclusive ring, a handler that the compiler does not see, two cores",
        STREAM_COLUMNS,
        |plan, next| ring_streams(plan, Opaque::new(), next),
    ),
    row(
        "ring-core-check",
        "exclusive ring, a check that branches, one core, bursts of 128",
        BURST_COLUMNS,
        |plan, next| ring_bursts(plan, Checking, next),
    ),
    row(
        "ring-core-handler",
        "exclusive ring, a handler that the compiler does not see, one core, bursts of 128",
        BURST_COLUMNS,
        |plan, next| ring_bursts(plan, Opaque::new(), next),
    ),
    row(
        "shared",
        "shared ring, one reader, polled, two cores",
        STREAM_COLUMNS,
        shared,
    ),
    row(
        "stages",
        "exclusive ring, readers that follow others, two cores",
        STREAM_COLUMNS,
        |plan, next| stages(|name| Stream::new(plan, name, "polled"), next),
    ),
    row(
        "stages-core",
        "exclusive ring, readers that follow others, one core, bursts of 128",
        BURST_COLUMNS,
        |plan, next| stages(|name| bursts(plan, name, Checking), next),
    ),
    row(
        "latency",
        "one way from core to core at 100,000 values a second",
        super::latency::COLUMNS,
        latency,
    ),
];

const fn row(
    key: &'static str,
    title: &'static str,
    columns: &'static [&'static str],
    ask: fn(Plan, &mut dyn FnMut(Case)),
) -> Question {
    Question {
        key,
        title,
        note: "u64, capacity 1,024.",
        columns,
        chart: Chart::None,
        shown: &[],
        ask,
    }
}

/// So many times the best peer; the first of `ours` counts.
fn at_least(ratio: f64, ours: usize) -> Option<Goal> {
    let bound = Bound::AtLeast(ratio);
    Some(Goal { ours, bound })
}

fn own_recv(plan: Plan, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Stream::new(plan, name, waits);
    let draining = enter("Feed, own channel, recv and drain", "parks, parks");
    let mut contenders = vec![
        enter(OWN_PARKED, "parks, parks").take(feed::own_channel_parked::<u64>()),
        draining.take(feed::own_channel_draining::<u64>()),
    ];
    let ours = contenders.len();
    contenders.extend(field::parked_peers(enter));
    next(Case {
        label: "n = 1".into(),
        contenders,
        goal: at_least(1.0, ours),
        ..Case::default()
    });
}

fn own_polled(plan: Plan, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Stream::new(plan, name, waits);
    let spins = "spins, polled";
    for &n in plan.readers {
        next(Case {
            label: format!("n = {n}"),
            contenders: vec![
                enter(OWN, "parks, polled").take(feed::own_channels::<u64>(n)),
                enter(CROSSBEAM, spins).take(spinning::<Crossbeam, u64>(n)),
                enter(STD, spins).take(spinning::<Std, u64>(n)),
                enter(KANAL, spins).take(spinning::<Kanal, u64>(n)),
                enter(CROSSFIRE, spins).take(spinning::<Spsc, u64>(n)),
                enter(BUS, "parks, polled").take(bus::polled::<u64>(n)),
            ],
            goal: at_least(1.0, 1),
            ..Case::default()
        });
    }
}

fn own_core(plan: Plan, next: &mut dyn FnMut(Case)) {
    for &n in plan.readers {
        let ratio = match n {
            1 => 2.0,
            8 | 64 => 4.0,
            _ => 2.5,
        };
        next(Case {
            label: format!("n = {n}"),
            contenders: vec![
                bursts(plan, OWN, Checking).take(feed::own_channels::<u64>(n)),
                bursts(plan, CROSSBEAM, Checking).take(spinning::<Crossbeam, u64>(n)),
            ],
            goal: at_least(ratio, 1),
            ..Case::default()
        });
    }
}

fn senders(plan: Plan, next: &mut dyn FnMut(Case)) {
    let mut case = |label, contenders| {
        next(Case {
            label,
            contenders,
            goal: at_least(1.0, 1),
            ..Case::default()
        });
    };
    for (threads, cores) in [(2, 1), (4, 1), (2, 2), (4, 2)] {
        let entry = Entry {
            plan,
            threads,
            cores,
        };
        let place = match cores {
            1 => "the other core",
            _ => "both cores",
        };
        for n in [1, 8] {
            let contenders = vec![
                entry.take(OWN, "parks, polled", feed::own_channels(n)),
                entry.take(CROSSBEAM, "spins, polled", spinning::<Crossbeam, _>(n)),
                entry.take(
                    "loop over crossbeam, send",
                    "parks, polled",
                    parking_sender::<Crossbeam, _>(n),
                ),
            ];
            case(format!("{threads} on {place}, n = {n}"), contenders);
        }
        let parks = "parks, parks";
        let contenders = vec![
            entry.take(OWN_PARKED, parks, feed::own_channel_parked()),
            entry.take(CROSSBEAM_PARKED, parks, parking::<Crossbeam, _>()),
        ];
        case(format!("{threads} on {place}, recv"), contenders);
    }
}

fn over_crossbeam(plan: Plan, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Stream::new(plan, name, waits);
    for &n in plan.readers {
        next(Case {
            label: format!("n = {n}"),
            contenders: vec![
                enter(OVER_CROSSBEAM, "parks, polled").take(feed::over_crossbeam::<u64>(n)),
                enter(CROSSBEAM, "spins, polled").take(spinning::<Crossbeam, u64>(n)),
                enter("loop over crossbeam, send", "parks, polled")
                    .take(parking_sender::<Crossbeam, u64>(n)),
            ],
            goal: at_least(0.9, 1),
            ..Case::default()
        });
    }
}

fn ring_streams(plan: Plan, handler: impl Handler, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Stream {
        plan,
        name,
        waits,
        handler,
    };
    for &n in plan.readers {
        next(Case {
            label: format!("n = {n}"),
            contenders: vec![
                enter(EXCLUSIVE, "parks, polled").take(ring::exclusive::<u64>(n)),
                disruptor::single::<u64, _>(n, enter(SINGLE, "spins, polled")),
            ],
            goal: at_least(1.0, 1),
            ..Case::default()
        });
    }
}

fn ring_bursts(plan: Plan, handler: impl Handler, next: &mut dyn FnMut(Case)) {
    for &n in plan.readers {
        next(Case {
            label: format!("n = {n}"),
            contenders: vec![
                bursts(plan, EXCLUSIVE, handler).take(ring::exclusive::<u64>(n)),
                disruptor::single::<u64, _>(n, bursts(plan, SINGLE, handler)),
            ],
            goal: at_least(1.0, 1),
            ..Case::default()
        });
    }
}

fn bursts<H: Handler>(plan: Plan, name: &'static str, handler: H) -> Bursts<H> {
    Bursts {
        plan,
        name,
        waits: "never",
        handler,
    }
}

fn shared(plan: Plan, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Stream::new(plan, name, waits);
    next(Case {
        label: "n = 1".into(),
        contenders: vec![
            enter(SHARED, "parks, polled").take(ring::shared::<u64>(1)),
            enter(CROSSBEAM, "spins, polled").take(spinning::<Crossbeam, u64>(1)),
            enter(CROSSFIRE_MPSC, "spins, polled").take(spinning::<Mpsc, u64>(1)),
        ],
        goal: at_least(1.0, 1),
        ..Case::default()
    });
}

/// A pipeline of three and a diamond of four, with what `enter` makes of a name.
fn stages<P>(enter: impl Fn(&'static str) -> P, next: &mut dyn FnMut(Case))
where
    P: Probe<u64, Taken = Contender>,
{
    let mut case = |label: &str, ours, theirs| {
        next(Case {
            label: label.into(),
            contenders: vec![ours, theirs],
            goal: at_least(1.0, 1),
            ..Case::default()
        });
    };
    let ours = enter(EXCLUSIVE).take(ring::pipeline());
    case("pipeline of 3", ours, disruptor::pipeline(enter(SINGLE)));
    let ours = enter(EXCLUSIVE).take(ring::diamond());
    case("diamond of 4", ours, disruptor::diamond(enter(SINGLE)));
}

fn latency(plan: Plan, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Paced {
        plan,
        interval: Duration::from_micros(10),
        name,
        waits,
    };
    let mut case = |label: &str, contenders: Vec<Contender>, greatest| {
        let bound = Bound::AtMost(greatest);
        next(Case {
            label: label.into(),
            contenders,
            goal: Some(Goal { ours: 1, bound }),
            ..Case::default()
        });
    };
    let contenders = vec![
        enter(OWN_PARKED, "parks, parks").take(feed::own_channel_parked::<u64>()),
        enter(CROSSBEAM_PARKED, "parks, parks").take(parking::<Crossbeam, u64>()),
    ];
    case("recv", contenders, 1.0);
    let contenders = vec![
        enter(EXCLUSIVE, "parks, polled").take(ring::exclusive::<u64>(1)),
        disruptor::single(1, enter(SINGLE, "spins, polled")),
    ];
    case("spinning", contenders, 1.05);
}
