//! One sending thread, many readers, two cores.

use super::{Chart, Question};
use crate::field::{
    self, ASYNC_BROADCAST, BROADCAST, BUS, CROSSBEAM, CROSSFIRE, EXCLUSIVE, EXCLUSIVE_BATCH,
    EXCLUSIVE_PARK, KANAL, MULTI, MULTI_GATHERING, OVER_CROSSBEAM, OWN, RTRB, SHARED, SHARED_BATCH,
    SHARED_PARK, SINGLE, SINGLE_GATHERING, STD,
};
use crate::plan::Plan;
use crate::rounds::Case;
use crate::throughput::{STREAM_COLUMNS, Stream};

/// How throughput goes with the number of readers.
pub(crate) const QUESTION: Question = Question {
    key: "fan-out",
    title: "one sender and many readers on two cores",
    note: "u64, capacity 1,024; one thread drains all readers, which look all the time but for those of the ring that park.",
    columns: STREAM_COLUMNS,
    chart: Chart::OverReaders,
    shown: &[
        EXCLUSIVE,
        EXCLUSIVE_PARK,
        SHARED,
        OWN,
        OVER_CROSSBEAM,
        SINGLE,
        MULTI,
        RTRB,
        CROSSFIRE,
        CROSSBEAM,
        STD,
        KANAL,
        BUS,
        BROADCAST,
        ASYNC_BROADCAST,
    ],
    ask,
};

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    for &n in plan.readers {
        next(Case {
            label: format!("n = {n}"),
            readers: Some(n),
            contenders: field::all(n, |name, waits| Stream::new(plan, name, waits)),
            pairs: vec![
                (EXCLUSIVE, SINGLE),
                (EXCLUSIVE_BATCH, SINGLE_GATHERING),
                (EXCLUSIVE_PARK, SINGLE),
                (SHARED, MULTI),
                (SHARED_BATCH, MULTI_GATHERING),
                (SHARED_PARK, MULTI),
                (OWN, CROSSBEAM),
            ],
            ..Case::default()
        });
    }
}
