//! The memory of a reader.

use super::{Chart, Question};
use crate::ALLOCATOR;
use crate::field::Probe;
use crate::link::{CAPACITY, Reads, Sends};
use crate::peers::channels::spinning;
use crate::peers::crossbeam::Crossbeam;
use crate::peers::crossfire::Spsc;
use crate::peers::flume::Flume;
use crate::peers::kanal::Kanal;
use crate::peers::rtrb::Rtrb;
use crate::peers::{async_broadcast, asyncband, bus, disruptor, feed, ring, tokio};
use crate::plan::Plan;
use crate::rounds::{Case, Contender};

/// The memory of many readers.
pub(crate) const QUESTION: Question = Question {
    key: "memory",
    title: "the memory of 1,000 readers",
    note: "u64, capacity 1,024; less is better. What is allocated and not freed, without the stacks of threads: when just \
           made, and once 1,000 values were sent and nobody has read them.",
    columns: &["bytes a reader", "total KiB", "total KiB when full"],
    chart: Chart::None,
    shown: &[],
    ask,
};

const READERS: usize = 1000;
/// Fewer than the least of them has room for.
const VALUES: u64 = CAPACITY as u64 - 24;

fn ask(_: Plan, next: &mut dyn FnMut(Case)) {
    let n = READERS;
    next(Case {
        label: format!("n = {n}"),
        readers: None,
        contenders: vec![
            weigh("RingFeed, lossless", "Park", move || {
                Filling.take(ring::exclusive_waiting(
                    n,
                    fanfeed::ring::WaitStrategy::Park,
                ))
            }),
            weigh("RingFeed, lossy", "Park", move || {
                Filling.take(ring::lossy_parking(n))
            }),
            weigh("disruptor", "polled", move || disruptor::single(n, Filling)),
            weigh("tokio broadcast", "polled", move || {
                Filling.take(tokio::broadcast(n))
            }),
            weigh("bus", "polled", move || Filling.take(bus::polled(n))),
            weigh("async-broadcast", "polled", move || {
                Filling.take(async_broadcast::lossless(n))
            }),
            weigh("asyncband", "polled", move || {
                Filling.take(asyncband::broadcast(n))
            }),
            weigh("Feed, own channels", "polled", move || {
                Filling.take(feed::own_channels(n))
            }),
            weigh("Feed, over crossbeam", "polled", move || {
                Filling.take(feed::over_crossbeam(n))
            }),
            weigh("loop over crossbeam", "polled", move || {
                Filling.take(spinning::<Crossbeam, _>(n))
            }),
            weigh("loop over kanal", "polled", move || {
                Filling.take(spinning::<Kanal, _>(n))
            }),
            weigh("loop over flume", "polled", move || {
                Filling.take(spinning::<Flume, _>(n))
            }),
            weigh("loop over crossfire (spsc)", "polled", move || {
                Filling.take(spinning::<Spsc, _>(n))
            }),
            weigh("loop over rtrb", "polled", move || {
                Filling.take(spinning::<Rtrb, _>(n))
            }),
        ],
        ..Case::default()
    });
}

/// Bytes that were allocated.
struct Weights {
    made: i64,
    full: i64,
}

fn weigh(
    name: &'static str,
    waits: &'static str,
    fill: impl Fn() -> Weights + 'static,
) -> Contender {
    Contender::new(name, waits, move || {
        let Weights { made, full } = ALLOCATOR.counting(&fill);
        vec![
            made as f64 / READERS as f64,
            made as f64 / 1024.0,
            full as f64 / 1024.0,
        ]
    })
}

/// Weighs what was made, fills it, and weighs it again.
struct Filling;

impl Probe<u64> for Filling {
    type Taken = Weights;

    fn take<S: Sends<u64>, R: Reads<u64>>(self, (mut sender, _readers): (S, R)) -> Weights {
        let made = ALLOCATOR.bytes();
        (0..VALUES).for_each(|number| sender.put(number));
        Weights {
            made,
            full: ALLOCATOR.bytes(),
        }
    }
}
