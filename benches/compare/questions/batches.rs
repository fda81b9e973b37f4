//! Batches.

use super::{Chart, Question};
use crate::field::{EXCLUSIVE, EXCLUSIVE_BATCH, EXCLUSIVE_PARK, OWN, SINGLE, SINGLE_GATHERING};
use crate::link::Gathering;
use crate::peers::{disruptor, feed, processor, ring, rtrb};
use crate::plan::Plan;
use crate::rounds::Case;
use crate::throughput::{STREAM_COLUMNS, Stream};

/// The row of the disruptor's own thread.
const PROCESSOR: &str = "disruptor, busy-spin processor";

/// In batches of 32.
pub(crate) const QUESTION: Question = Question {
    key: "batches",
    title: "one sender and one reader on two cores, in batches of 32",
    note: "u64, capacity 1,024. Only those that have a verb for batches.",
    columns: STREAM_COLUMNS,
    chart: Chart::None,
    shown: &[],
    ask,
};

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Stream::new(plan, name, waits);
    let (sender, readers) = disruptor::single_in_batches();
    let gathering = (sender, Gathering::new(readers));
    next(Case {
        label: "n = 1, batches of 32".into(),
        readers: Some(1),
        contenders: vec![
            enter(EXCLUSIVE, "parks, polled").take_batches(ring::exclusive(1)),
            enter(EXCLUSIVE_BATCH, "parks, Batch").take_batches(ring::exclusive_waiting(
                1,
                fanfeed::ring::WaitStrategy::Batch,
            )),
            enter(EXCLUSIVE_PARK, "parks, Park").take_batches(ring::exclusive_waiting(
                1,
                fanfeed::ring::WaitStrategy::Park,
            )),
            enter(SINGLE, "spins, polled").take_batches(disruptor::single_in_batches()),
            enter(SINGLE_GATHERING, "spins, gathers").take_batches(gathering),
            enter(PROCESSOR, "spins, spins").take_own(processor::in_batches),
            enter("rtrb, chunks", "spins, polled").take_batches(rtrb::chunks()),
            enter(OWN, "parks, polled").take_batches(feed::own_channels(1)),
        ],
        pairs: vec![
            (EXCLUSIVE, SINGLE),
            (EXCLUSIVE_BATCH, SINGLE_GATHERING),
            (EXCLUSIVE_BATCH, PROCESSOR),
            (EXCLUSIVE_PARK, SINGLE),
        ],
        ..Case::default()
    });
}
