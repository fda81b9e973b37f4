//! The cost of waiting while no value comes.

use std::thread;
use std::time::Duration;

use super::{Chart, Question};
use crate::cpu_time;
use crate::field::{self, EXCLUSIVE, EXCLUSIVE_BATCH, EXCLUSIVE_PARK, Probe, SHARED_PARK, SINGLE};
use crate::link::{Reads, Sends};
use crate::peers::{disruptor, ring};
use crate::plan::Plan;
use crate::rounds::{Case, Contender};

/// The processor's time.
pub(crate) const QUESTION: Question = Question {
    key: "idle",
    title: "the processor's time while a reader waits and nothing comes",
    note: "One reader, watched once it has gone to sleep, if it does; less is better. All threads of the process count, \
           and so helpers do, but for the one that looks.",
    columns: &["ms of CPU a second"],
    chart: Chart::None,
    shown: &[],
    ask,
};

/// After this time, all readers that park have parked.
const SETTLING: Duration = Duration::from_millis(20);

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    if cpu_time::of_other_threads().is_none() {
        println!(
            "  not asked: this system does not tell how much of the processor a process has used"
        );
        return;
    }
    let enter = |name, waits| Idle { plan, name, waits };
    let mut contenders = vec![
        enter(EXCLUSIVE_PARK, "Park").take(ring::exclusive_waiting(
            1,
            fanfeed::ring::WaitStrategy::Park,
        )),
        enter(SHARED_PARK, "Park").take(ring::shared_waiting(1, fanfeed::ring::WaitStrategy::Park)),
        enter(EXCLUSIVE_BATCH, "Batch").take(ring::exclusive_waiting(
            1,
            fanfeed::ring::WaitStrategy::Batch,
        )),
        enter(EXCLUSIVE, "polled").take(ring::exclusive(1)),
        disruptor::single(1, enter(SINGLE, "polled")),
    ];
    contenders.extend(field::parked(enter));
    contenders.extend(field::parked_peers(enter));
    next(Case {
        label: "n = 1".into(),
        readers: None,
        contenders,
        ..Case::default()
    });
}

struct Idle {
    plan: Plan,
    name: &'static str,
    waits: &'static str,
}

impl Probe<u64> for Idle {
    type Taken = Contender;

    fn take<S: Sends<u64>, R: Reads<u64>>(self, (mut sender, mut readers): (S, R)) -> Contender {
        Contender::new(self.name, self.waits, move || {
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut received = 0;
                    while received == 0 {
                        readers.wait(false);
                        readers.take(0, |_| received += 1);
                    }
                });
                thread::sleep(SETTLING);
                let before = cpu_time::of_other_threads().unwrap_or_default();
                thread::sleep(self.plan.idle);
                let after = cpu_time::of_other_threads().unwrap_or_default();
                // So that the reader ends.
                sender.put(0);
                let used = after.saturating_sub(before);
                vec![1e3 * used.as_secs_f64() / self.plan.idle.as_secs_f64()]
            })
        })
    }
}
