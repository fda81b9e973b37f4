//! Everything on one core.

use super::{Chart, Question};
use crate::field::{self, CROSSBEAM, EXCLUSIVE, EXCLUSIVE_PARK, MULTI, OWN, SHARED, SINGLE};
use crate::handler::Checking;
use crate::plan::Plan;
use crate::rounds::Case;
use crate::throughput::{BURST_COLUMNS, Bursts};

/// What the work itself costs, without a cache line that changes hands.
pub(crate) const QUESTION: Question = Question {
    key: "one-core",
    title: "bursts of 128 sent and drained by one thread",
    note: "u64, capacity 1,024. Nobody ever waits: what is there is drained, and there is room.",
    columns: BURST_COLUMNS,
    chart: Chart::OverReaders,
    ask,
};

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    for &n in plan.readers {
        let handler = Checking;
        let enter = |name, waits| Bursts {
            plan,
            name,
            waits,
            handler,
        };
        let mut contenders = field::one_producer(n, enter);
        contenders.extend(field::several_producers_alone(n, enter));
        next(Case {
            label: format!("n = {n}"),
            readers: Some(n),
            contenders,
            pairs: vec![
                (EXCLUSIVE, SINGLE),
                (EXCLUSIVE_PARK, SINGLE),
                (SHARED, MULTI),
                (OWN, CROSSBEAM),
            ],
            ..Case::default()
        });
    }
}
