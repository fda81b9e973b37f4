//! More threads than cores.

use super::{Chart, Question};
use crate::contended;
use crate::field::{
    CROSSBEAM, CROSSBEAM_PARKED, MULTI, OWN, OWN_PARKED, SHARED, SHARED_BATCH, SHARED_PARK,
};
use crate::link::{CAPACITY, Reads, Sends};
use crate::peers::channels::{parking, spinning};
use crate::peers::crossbeam::Crossbeam;
use crate::peers::crossfire::Mpsc;
use crate::peers::flume::Flume;
use crate::peers::kanal::Kanal;
use crate::peers::{disruptor, feed, ring};
use crate::plan::Plan;
use crate::rounds::{Case, Contender};
use crate::sizer::Sizer;
use crate::stream::Outcome;

/// Throughput, and how long a send takes.
pub(super) const COLUMNS: &[&str] = &["million deliveries/s", "p50 ns", "p99 ns", "p99.9 ns"];

/// What becomes of sends when senders are preempted.
pub(crate) const QUESTION: Question = Question {
    key: "oversubscribed",
    title: "several sending threads and one that drains, on two cores",
    note: "u64, capacity 1,024, one reader. The first, third, ... sender is pinned to one core, the others share the other \
           with the draining thread. Every 16th send is timed. Order is checked for each sender.",
    columns: COLUMNS,
    chart: Chart::Percentiles { first: 1, count: 3 },
    shown: &[],
    ask,
};

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    for threads in [2, 4] {
        let cores = 2;
        let entry = Entry {
            plan,
            threads,
            cores,
        };
        next(Case {
            label: format!("{threads} sending threads"),
            readers: None,
            contenders: vec![
                entry.take(SHARED, "parks, polled", ring::shared(1)),
                entry.take(
                    SHARED_BATCH,
                    "parks, Batch",
                    ring::shared_waiting(1, fanfeed::ring::WaitStrategy::Batch),
                ),
                entry.take(
                    SHARED_PARK,
                    "parks, Park",
                    ring::shared_waiting(1, fanfeed::ring::WaitStrategy::Park),
                ),
                entry.take(OWN, "parks, polled", feed::own_channels(1)),
                entry.take(OWN_PARKED, "parks, parks", feed::own_channel_parked()),
                entry.take(MULTI, "spins, polled", disruptor::multi_cloneable()),
                entry.take(CROSSBEAM, "spins, polled", spinning::<Crossbeam, _>(1)),
                entry.take(CROSSBEAM_PARKED, "parks, parks", parking::<Crossbeam, _>()),
                entry.take("kanal, recv", "parks, parks", parking::<Kanal, _>()),
                entry.take("flume, recv", "parks, parks", parking::<Flume, _>()),
                entry.take(
                    "crossfire (mpsc), recv",
                    "parks, parks",
                    parking::<Mpsc, _>(),
                ),
            ],
            pairs: vec![(SHARED, MULTI), (SHARED_PARK, MULTI)],
            ..Case::default()
        });
    }
}

/// Contenders with so many sending threads on the first so many cores.
pub(super) struct Entry {
    pub(super) plan: Plan,
    pub(super) threads: usize,
    pub(super) cores: usize,
}

impl Entry {
    /// A contender with these ends.
    pub(super) fn take<S, R>(
        &self,
        name: &'static str,
        waits: &'static str,
        ends: (S, R),
    ) -> Contender
    where
        S: Sends<u64> + Clone,
        R: Reads<u64>,
    {
        let cores = self.cores;
        let (sender, mut readers) = ends;
        let mut senders = vec![sender; self.threads];
        let mut sizer = Sizer::new(self.plan);
        Contender::new(name, waits, move || {
            let mut last = None;
            sizer.run(|count| {
                let each = count.max(CAPACITY as u64) / senders.len() as u64;
                let contended = contended::run(&mut senders, &mut readers, each, cores);
                let outcome = Outcome {
                    took: contended.took,
                    sending: contended.took,
                    received: contended.sent * readers.readers() as u64,
                    missed: 0,
                };
                last = Some(contended);
                outcome
            });
            let contended = last.expect("it ran");
            let sends = &contended.sends;
            vec![
                (contended.sent * readers.readers() as u64) as f64
                    / contended.took.as_secs_f64()
                    / 1e6,
                sends.value_at_quantile(0.5) as f64,
                sends.value_at_quantile(0.99) as f64,
                sends.value_at_quantile(0.999) as f64,
            ]
        })
    }
}
