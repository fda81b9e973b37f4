//! Paced sending: a fixed number of values a second, whatever happens to them. This measures how
//! long a value takes to arrive, or how long one send takes.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::handler::{Checking, Handler};
use crate::link::{Reads, Sends};
use crate::stream::{DRAINING_CORE, SENDING_CORE};
use crate::threads::{self, Job};

/// A value is the nanoseconds since the start at which its send began, and these low bits of its
/// number.
const NUMBER_BITS: u32 = 20;
/// Longer than any run.
const GREATEST: Duration = Duration::from_secs(120);

/// What came of it.
pub(crate) struct Paced {
    /// From the moment a send began until its value was in the hands of the reader (of the first,
    /// if there are several), in nanoseconds.
    pub(crate) under_way: Histogram<u64>,
    /// How long the sends took, in nanoseconds.
    pub(crate) sends: Histogram<u64>,
    /// The share of sends that began more than an interval after they were due.
    pub(crate) late: f64,
}

/// Sends so many values, one each `interval`. It is an open loop: a send that is late does not put
/// off those after it.
pub(crate) fn run(
    sender: &mut impl Sends<u64>,
    readers: &mut impl Reads<u64>,
    count: u64,
    interval: Duration,
) -> Paced {
    let epoch = Instant::now();
    let (mut sends, mut under_way, mut late) = (histogram(), histogram(), 0);
    threads::run([
        Job::new(SENDING_CORE, || {
            late = send(sender, count, interval, epoch, &mut sends);
        }),
        Job::new(DRAINING_CORE, || {
            receive(readers, count, epoch, &mut under_way);
        }),
    ]);
    Paced {
        under_way,
        sends,
        late: late as f64 / count as f64,
    }
}

fn send(
    sender: &mut impl Sends<u64>,
    count: u64,
    interval: Duration,
    epoch: Instant,
    sends: &mut Histogram<u64>,
) -> u64 {
    let first_due = epoch.elapsed() + Duration::from_micros(10);
    let mut late = 0;
    for number in 0..count {
        let due = first_due + interval * number as u32;
        let begun = loop {
            let now = epoch.elapsed();
            if now >= due {
                break now;
            }
            std::hint::spin_loop();
        };
        late += u64::from(begun > due + interval);
        sender.put((begun.as_nanos() as u64) << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1));
        record(sends, epoch.elapsed() - begun);
    }
    late
}

fn receive(
    readers: &mut impl Reads<u64>,
    count: u64,
    epoch: Instant,
    under_way: &mut Histogram<u64>,
) {
    let mut next = vec![0; readers.readers()];
    let due = count * next.len() as u64;
    let (mut dealt_with, mut found) = (0, false);
    while dealt_with < due {
        readers.wait(found);
        let before = dealt_with;
        for (reader, next) in next.iter_mut().enumerate() {
            let first = *next;
            let missed = readers.take_due(reader, count - first, |value| {
                if reader == 0 {
                    let begun = Duration::from_nanos(value >> NUMBER_BITS);
                    record(under_way, epoch.elapsed() - begun);
                }
                let low = |number| number & ((1 << NUMBER_BITS) - 1);
                Checking.handle(low(*value), low(*next));
                *next += 1;
            });
            *next += missed;
            dealt_with += *next - first;
        }
        found = dealt_with != before;
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(GREATEST.as_nanos() as u64, 3).expect("fair bounds")
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(took.as_nanos() as u64);
}
