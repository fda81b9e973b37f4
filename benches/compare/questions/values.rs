//! Values of several sizes.

use std::sync::Arc;

use super::{Chart, Question};
use crate::field::{
    CROSSBEAM, EXCLUSIVE, EXCLUSIVE_BATCH, EXCLUSIVE_PARK, Probe, SINGLE, SINGLE_GATHERING,
};
use crate::payload::Payload;
use crate::peers::channels::spinning;
use crate::peers::crossbeam::Crossbeam;
use crate::peers::{disruptor, ring};
use crate::plan::Plan;
use crate::rounds::Case;
use crate::throughput::{STREAM_COLUMNS, Stream};

/// What larger values cost.
pub(crate) const QUESTION: Question = Question {
    key: "values",
    title: "values of several sizes on two cores",
    note: "Capacity 1,024, one sender. Rings are read by reference. Each Arc is an allocation of its own, made by the sender.",
    columns: STREAM_COLUMNS,
    chart: Chart::None,
    shown: &[],
    ask,
};

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    for n in [1, 8] {
        case::<[u64; 1]>(plan, n, "8 bytes", next);
        case::<[u64; 8]>(plan, n, "64 bytes", next);
        case::<[u64; 32]>(plan, n, "256 bytes", next);
        case::<Arc<[u8; 256]>>(plan, n, "Arc<[u8; 256]>", next);
    }
}

fn case<T: Payload>(plan: Plan, n: usize, what: &str, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Stream::new(plan, name, waits);
    let gathering = Probe::<T>::take_gathering(enter(SINGLE_GATHERING, "spins, gathers"));
    next(Case {
        label: format!("{what}, n = {n}"),
        readers: Some(n),
        contenders: vec![
            enter(EXCLUSIVE, "parks, polled").take(ring::exclusive::<T>(n)),
            enter(EXCLUSIVE_BATCH, "parks, Batch").take(ring::exclusive_waiting::<T>(
                n,
                fanfeed::ring::WaitStrategy::Batch,
            )),
            enter(EXCLUSIVE_PARK, "parks, Park").take(ring::exclusive_waiting::<T>(
                n,
                fanfeed::ring::WaitStrategy::Park,
            )),
            disruptor::single::<T, _>(n, enter(SINGLE, "spins, polled")),
            disruptor::single::<T, _>(n, gathering),
            enter(CROSSBEAM, "spins, polled").take(spinning::<Crossbeam, T>(n)),
        ],
        pairs: vec![
            (EXCLUSIVE, SINGLE),
            (EXCLUSIVE_BATCH, SINGLE_GATHERING),
            (EXCLUSIVE, CROSSBEAM),
        ],
        ..Case::default()
    });
}
