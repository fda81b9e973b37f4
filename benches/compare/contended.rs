//! More threads than cores: several threads send at full speed, one drains.

use std::time::{Duration, Instant};

use fanfeed_benches::pin;
use hdrhistogram::Histogram;

use crate::gate::Gate;
use crate::link::{Reads, Sends};
use crate::stream::DRAINING_CORE;

/// A value is its thread's number, above these bits, and its own number on that thread.
const NUMBER_BITS: u32 = 48;
/// How many sends lie between two that are timed, so that the clock is not what is measured.
const SAMPLED: u64 = 16;
/// Longer than any run.
const GREATEST: Duration = Duration::from_secs(120);

/// What came of it.
pub(crate) struct Contended {
    /// From the first send to the last value received.
    pub(crate) took: Duration,
    /// Values sent, by all threads together.
    pub(crate) sent: u64,
    /// How long those sends took that were timed, in nanoseconds.
    pub(crate) sends: Histogram<u64>,
}

/// Each sender sends so many values from a thread of its own; they are spread over both cores.
pub(crate) fn run<S: Sends<u64>>(
    senders: &mut [S],
    readers: &mut impl Reads<u64>,
    each: u64,
) -> Contended {
    let sent = each * senders.len() as u64;
    let gate = Gate::new(senders.len() + 1);
    let mut next = vec![0; senders.len()];
    std::thread::scope(|scope| {
        let sending: Vec<_> = (senders.iter_mut().enumerate())
            .map(|(thread, sender)| {
                let gate = &gate;
                scope.spawn(move || {
                    pin::to_core(thread % 2);
                    gate.pass();
                    let start = Instant::now();
                    (start, send(sender, thread as u64, each))
                })
            })
            .collect();
        let draining = scope.spawn(|| {
            pin::to_core(DRAINING_CORE);
            gate.pass();
            receive(readers, sent, &mut next);
            Instant::now()
        });
        let mut sends = histogram();
        let mut start = None;
        for thread in sending {
            let (begun, ours) = thread.join().expect("a sender does not panic");
            start = start.into_iter().chain([begun]).min();
            sends.add(ours).expect("they have the same bounds");
        }
        let end = draining.join().expect("every value is in its place");
        Contended {
            took: end - start.expect("there is a sender"),
            sent,
            sends,
        }
    })
}

fn send(sender: &mut impl Sends<u64>, thread: u64, each: u64) -> Histogram<u64> {
    let mut sends = histogram();
    for number in 0..each {
        let value = thread << NUMBER_BITS | number;
        if number % SAMPLED == 0 {
            let begun = Instant::now();
            sender.put(value);
            sends.saturating_record(begun.elapsed().as_nanos() as u64);
        } else {
            sender.put(value);
        }
    }
    sends
}

fn receive(readers: &mut impl Reads<u64>, sent: u64, next: &mut [u64]) {
    let (mut received, mut wrong, mut found) = (0, 0, false);
    while received < sent {
        readers.wait(found);
        let before = received;
        readers.take(0, |value| {
            let next = &mut next[(value >> NUMBER_BITS) as usize];
            wrong |= (value ^ *next) & ((1 << NUMBER_BITS) - 1);
            *next += 1;
            received += 1;
        });
        found = received != before;
    }
    assert_eq!(
        wrong, 0,
        "a thread's values were lost, doubled or out of order"
    );
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(GREATEST.as_nanos() as u64, 3).expect("fair bounds")
}
