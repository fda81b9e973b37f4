//! All threads on one core.

use super::{Chart, Question};
use crate::field::{
    self, BUS, CROSSBEAM, CROSSFIRE, EXCLUSIVE, EXCLUSIVE_PARK, FLUME, KANAL, MULTI,
    OVER_CROSSBEAM, OWN, RTRB, SHARED, SINGLE, STD,
};
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
    shown: &[
        EXCLUSIVE,
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
        FLUME,
        BUS,
    ],
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
        next(Case {
            label: format!("n = {n}"),
            readers: Some(n),
            contenders: field::all(n, enter),
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
