//! Readers that work on each value.

use super::{Chart, Question};
use crate::field::{
    BROADCAST, BUS, CROSSBEAM, CROSSFIRE, EXCLUSIVE, EXCLUSIVE_PARK, EXCLUSIVE_SPINNING, OWN,
    Probe, SHARED, SINGLE,
};
use crate::handler::Working;
use crate::peers::channels::spinning;
use crate::peers::crossbeam::Crossbeam;
use crate::peers::crossfire::Spsc;
use crate::peers::{bus, disruptor, feed, ring, tokio};
use crate::plan::Plan;
use crate::rounds::Case;
use crate::throughput::{STREAM_COLUMNS, Stream};

/// What is left of the differences when the handler is what takes time.
pub(crate) const QUESTION: Question = Question {
    key: "work",
    title: "a handler that works for 50 ns on each value, two cores",
    note: "u64, capacity 1,024; one thread drains all readers. 50 ns a value are 20 million deliveries a second at best.",
    columns: STREAM_COLUMNS,
    chart: Chart::None,
    shown: &[],
    ask,
};

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Stream {
        plan,
        name,
        waits,
        handler: Working::new(),
    };
    for n in [1, 8, 64] {
        next(Case {
            label: format!("n = {n}"),
            readers: Some(n),
            contenders: vec![
                enter(EXCLUSIVE, "parks, polled").take(ring::exclusive::<u64>(n)),
                enter(EXCLUSIVE_SPINNING, "spins, polled").take(ring::exclusive_spinning::<u64>(n)),
                enter(EXCLUSIVE_PARK, "parks, Park").take(ring::exclusive_waiting::<u64>(
                    n,
                    fanfeed::ring::WaitStrategy::Park,
                )),
                enter(SHARED, "parks, polled").take(ring::shared::<u64>(n)),
                enter(OWN, "parks, polled").take(feed::own_channels::<u64>(n)),
                disruptor::single::<u64, _>(n, enter(SINGLE, "spins, polled")),
                enter(CROSSBEAM, "spins, polled").take(spinning::<Crossbeam, u64>(n)),
                enter(CROSSFIRE, "spins, polled").take(spinning::<Spsc, u64>(n)),
                enter(BUS, "parks, polled").take(bus::polled::<u64>(n)),
                enter(BROADCAST, "never, polled").take(tokio::broadcast::<u64>(n)),
            ],
            pairs: vec![(EXCLUSIVE, SINGLE), (OWN, CROSSBEAM)],
            ..Case::default()
        });
    }
}
