//! Senders that several threads may use, of which one does.

use super::{Chart, Question};
use crate::field::{
    self, CROSSBEAM, MULTI, MULTI_GATHERING, OWN, SHARED, SHARED_BATCH, SHARED_PARK,
};
use crate::plan::Plan;
use crate::rounds::Case;
use crate::throughput::{STREAM_COLUMNS, Stream};

/// What it costs that there might be more senders.
pub(crate) const QUESTION: Question = Question {
    key: "several-producers",
    title: "a sender for several threads, used by one, on two cores",
    note: "u64, capacity 1,024; one thread sends, one drains all readers.",
    columns: STREAM_COLUMNS,
    chart: Chart::OverReaders,
    ask,
};

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    for &n in plan.readers {
        next(Case {
            label: format!("n = {n}"),
            readers: Some(n),
            contenders: field::several_producers(n, |name, waits| Stream::new(plan, name, waits)),
            pairs: vec![
                (SHARED, MULTI),
                (SHARED_BATCH, MULTI_GATHERING),
                (SHARED_PARK, MULTI),
                (OWN, CROSSBEAM),
            ],
            ..Case::default()
        });
    }
}
