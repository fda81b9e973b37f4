//! One sending thread, one reader, two cores.

use fanfeed::Waiting;

use super::{Chart, Question};
use crate::field::{
    self, EXCLUSIVE, EXCLUSIVE_BATCH, EXCLUSIVE_PARK, OWN, SINGLE, SINGLE_GATHERING,
};
use crate::link::Gathering;
use crate::peers::{disruptor, feed, processor, ring, rtrb};
use crate::plan::Plan;
use crate::rounds::Case;
use crate::throughput::{STREAM_COLUMNS, Stream};

/// The row of the disruptor's own thread.
const PROCESSOR: &str = "disruptor, busy-spin processor";

/// Value by value.
pub(crate) const SINGLY: Question = Question {
    key: "one-reader",
    title: "one sender and one reader on two cores, one by one",
    note: "u64, capacity 1,024. The ring's sender spins a little and then parks, the disruptor's spins; `try_send` is the \
           ring's sender spinning too.",
    columns: STREAM_COLUMNS,
    chart: Chart::None,
    ask: singly,
};

/// In batches of 32.
pub(crate) const BATCHES: Question = Question {
    key: "one-reader-batches",
    title: "one sender and one reader on two cores, in batches of 32",
    note: "u64, capacity 1,024. Only those that have a verb for batches.",
    columns: STREAM_COLUMNS,
    chart: Chart::None,
    ask: in_batches,
};

fn pairs() -> Vec<(&'static str, &'static str)> {
    vec![
        (EXCLUSIVE, SINGLE),
        (EXCLUSIVE_BATCH, SINGLE_GATHERING),
        (EXCLUSIVE_BATCH, SINGLE),
        (EXCLUSIVE_BATCH, PROCESSOR),
        (EXCLUSIVE_PARK, SINGLE),
    ]
}

fn singly(plan: Plan, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Stream { plan, name, waits };
    let mut contenders = field::one_producer(1, enter);
    contenders.push(enter(PROCESSOR, "spins, spins").take_own(processor::one_by_one));
    contenders.extend(field::parked(enter));
    let mut pairs = pairs();
    pairs.push((field::EXCLUSIVE_SPINNING, SINGLE));
    pairs.push((EXCLUSIVE_PARK, field::CROSSBEAM_PARKED));
    next(Case {
        label: "n = 1, one by one".into(),
        readers: Some(1),
        contenders,
        pairs,
    });
}

fn in_batches(plan: Plan, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Stream { plan, name, waits };
    let (sender, readers) = disruptor::single_in_batches();
    let gathering = (sender, Gathering::new(readers));
    next(Case {
        label: "n = 1, batches of 32".into(),
        readers: Some(1),
        contenders: vec![
            enter(EXCLUSIVE, "parks, polled").take_batches(ring::exclusive(1)),
            enter(EXCLUSIVE_BATCH, "parks, Batch")
                .take_batches(ring::exclusive_waiting(1, Waiting::Batch)),
            enter(EXCLUSIVE_PARK, "parks, Park")
                .take_batches(ring::exclusive_waiting(1, Waiting::Park)),
            enter(SINGLE, "spins, polled").take_batches(disruptor::single_in_batches()),
            enter(SINGLE_GATHERING, "spins, gathers").take_batches(gathering),
            enter(PROCESSOR, "spins, spins").take_own(processor::in_batches),
            enter("rtrb, chunks", "spins, polled").take_batches(rtrb::chunks()),
            enter(OWN, "parks, polled").take_batches(feed::own_channels(1)),
        ],
        pairs: pairs(),
    });
}
