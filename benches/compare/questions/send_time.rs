//! How long one send takes, with many readers.

use std::time::Duration;

use super::{Chart, Question};
use crate::field::{
    CROSSBEAM, EXCLUSIVE, EXCLUSIVE_PARK, MULTI, OWN, Probe, SHARED, SHARED_PARK, SINGLE,
};
use crate::link::{Reads, Sends};
use crate::paced;
use crate::peers::channels::spinning;
use crate::peers::crossbeam::Crossbeam;
use crate::peers::{disruptor, feed, ring};
use crate::plan::Plan;
use crate::rounds::{Case, Contender};

/// What a sender pays at the moment it sends.
pub(crate) const QUESTION: Question = Question {
    key: "send-time",
    title: "the time of one send to 1,000 lossless readers",
    note: "u64, capacity 1,024, 10,000 sends a second; less is better. The draining thread keeps up, so that there is always \
           room. Each send is timed; one look at the clock is part of every figure.",
    columns: &["p50 ns", "p99 ns", "p99.9 ns", "max ns", "late %"],
    chart: Chart::Percentiles { first: 0, count: 4 },
    shown: &[],
    ask,
};

const READERS: usize = 1000;
/// So long that the slowest of them is done with the value before.
const INTERVAL: Duration = Duration::from_micros(100);
/// A percentile of so few sends as fit in a usual run would be a matter of luck.
const LONGER: u32 = 2;

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| SendTime { plan, name, waits };
    let n = READERS;
    next(Case {
        label: format!("n = {n}"),
        readers: None,
        contenders: vec![
            enter(EXCLUSIVE, "parks, polled").take(ring::exclusive(n)),
            enter(EXCLUSIVE_PARK, "parks, Park").take(ring::exclusive_waiting(
                n,
                fanfeed::ring::WaitStrategy::Park,
            )),
            enter(SHARED, "parks, polled").take(ring::shared(n)),
            enter(SHARED_PARK, "parks, Park")
                .take(ring::shared_waiting(n, fanfeed::ring::WaitStrategy::Park)),
            disruptor::single(n, enter(SINGLE, "spins, polled")),
            disruptor::multi(n, enter(MULTI, "spins, polled")),
            enter(OWN, "parks, polled").take(feed::own_channels(n)),
            enter(CROSSBEAM, "spins, polled").take(spinning::<Crossbeam, _>(n)),
        ],
        pairs: vec![
            (EXCLUSIVE, SINGLE),
            (EXCLUSIVE_PARK, SINGLE),
            (SHARED, MULTI),
            (SHARED_PARK, MULTI),
        ],
        ..Case::default()
    });
}

struct SendTime {
    plan: Plan,
    name: &'static str,
    waits: &'static str,
}

impl Probe<u64> for SendTime {
    type Taken = Contender;

    fn take<S: Sends<u64>, R: Reads<u64>>(self, (mut sender, mut readers): (S, R)) -> Contender {
        let span = LONGER * self.plan.paced;
        let count = (span.as_nanos() / INTERVAL.as_nanos()) as u64;
        Contender::new(self.name, self.waits, move || {
            let paced = paced::run(&mut sender, &mut readers, count, INTERVAL);
            let sends = &paced.sends;
            vec![
                sends.value_at_quantile(0.5) as f64,
                sends.value_at_quantile(0.99) as f64,
                sends.value_at_quantile(0.999) as f64,
                sends.max() as f64,
                100.0 * paced.late,
            ]
        })
    }
}
