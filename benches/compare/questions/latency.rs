//! How long a value takes to arrive.

use std::time::Duration;

use super::{Chart, Question};
use crate::field::{
    self, CROSSBEAM_PARKED, EXCLUSIVE, EXCLUSIVE_BATCH, EXCLUSIVE_PARK, OWN_PARKED, Probe, SHARED,
    SINGLE, SINGLE_GATHERING, STD_PARKED,
};
use crate::link::{Reads, Sends};
use crate::paced;
use crate::peers::channels::spinning;
use crate::peers::crossbeam::Crossbeam;
use crate::peers::rtrb::Rtrb;
use crate::peers::{disruptor, ring};
use crate::plan::Plan;
use crate::rounds::{Case, Contender};

/// Percentiles of the time under way.
pub(super) const COLUMNS: &[&str] = &["p50 ns", "p99 ns", "p99.9 ns", "max ns", "late %"];

/// One way, from core to core.
pub(crate) const QUESTION: Question = Question {
    key: "latency",
    title: "one way from core to core, paced",
    note: "u64, one reader; less is better. A value bears the moment at which its send began. It is an open loop, due at \
           start + k x interval: a send that begins more than an interval after it was due is counted as late, and the \
           time it was late by is not part of the latency. Two looks at the clock are part of every figure.",
    columns: COLUMNS,
    chart: Chart::Percentiles { first: 0, count: 4 },
    shown: &[
        EXCLUSIVE,
        EXCLUSIVE_PARK,
        OWN_PARKED,
        SINGLE,
        "rtrb",
        CROSSBEAM_PARKED,
        STD_PARKED,
        "kanal, recv",
        "crossfire (mpsc), recv",
        "flume, recv",
    ],
    ask,
};

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    for (per_second, interval) in [
        ("100,000", Duration::from_micros(10)),
        ("1,000,000", Duration::from_micros(1)),
    ] {
        let enter = |name, waits| Paced {
            plan,
            interval,
            name,
            waits,
        };
        let mut contenders = vec![
            enter(EXCLUSIVE, "parks, polled").take(ring::exclusive(1)),
            enter(EXCLUSIVE_BATCH, "parks, Batch").take(ring::exclusive_waiting(
                1,
                fanfeed::ring::WaitStrategy::Batch,
            )),
            enter(EXCLUSIVE_PARK, "parks, Park").take(ring::exclusive_waiting(
                1,
                fanfeed::ring::WaitStrategy::Park,
            )),
            enter(SHARED, "parks, polled").take(ring::shared(1)),
            disruptor::single(1, enter(SINGLE, "spins, polled")),
            disruptor::single(
                1,
                enter(SINGLE_GATHERING, "spins, gathers").take_gathering(),
            ),
            enter("rtrb", "spins, polled").take(spinning::<Rtrb, _>(1)),
            enter("crossbeam, try_recv", "spins, polled").take(spinning::<Crossbeam, _>(1)),
        ];
        contenders.extend(field::parked(enter));
        contenders.extend(field::parked_peers(enter));
        next(Case {
            label: format!("{per_second} a second"),
            readers: None,
            contenders,
            pairs: vec![
                (EXCLUSIVE, SINGLE),
                (EXCLUSIVE_BATCH, SINGLE_GATHERING),
                (EXCLUSIVE_PARK, CROSSBEAM_PARKED),
            ],
            ..Case::default()
        });
    }
}

/// A contender that is paced.
pub(super) struct Paced {
    pub(super) plan: Plan,
    pub(super) interval: Duration,
    pub(super) name: &'static str,
    pub(super) waits: &'static str,
}

impl Probe<u64> for Paced {
    type Taken = Contender;

    fn take<S: Sends<u64>, R: Reads<u64>>(self, (mut sender, mut readers): (S, R)) -> Contender {
        let count = (self.plan.paced.as_nanos() / self.interval.as_nanos()) as u64;
        Contender::new(self.name, self.waits, move || {
            let paced = paced::run(&mut sender, &mut readers, count, self.interval);
            let under_way = &paced.under_way;
            vec![
                under_way.value_at_quantile(0.5) as f64,
                under_way.value_at_quantile(0.99) as f64,
                under_way.value_at_quantile(0.999) as f64,
                under_way.max() as f64,
                100.0 * paced.late,
            ]
        })
    }
}
