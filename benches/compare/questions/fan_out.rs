//! One sending thread, many readers, two cores.

use super::{Chart, Question};
use crate::field::{
    self, CROSSBEAM, EXCLUSIVE, EXCLUSIVE_BATCH, EXCLUSIVE_PARK, OWN, SINGLE, SINGLE_GATHERING,
};
use crate::plan::Plan;
use crate::rounds::Case;
use crate::throughput::{STREAM_COLUMNS, Stream};

/// How throughput goes with the number of readers.
pub(crate) const QUESTION: Question = Question {
    key: "fan-out",
    title: "one sender and many readers on two cores",
    note: "u64, capacity 1,024; one thread drains all readers.",
    columns: STREAM_COLUMNS,
    chart: Chart::OverReaders,
    ask,
};

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    for &n in plan.readers {
        next(Case {
            label: format!("n = {n}"),
            readers: Some(n),
            contenders: field::one_producer(n, |name, waits| Stream::new(plan, name, waits)),
            pairs: vec![
                (EXCLUSIVE, SINGLE),
                (EXCLUSIVE_BATCH, SINGLE_GATHERING),
                (EXCLUSIVE_PARK, SINGLE),
                (OWN, CROSSBEAM),
            ],
            ..Case::default()
        });
    }
}
