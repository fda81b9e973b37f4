//! More threads than cores: several threads send at full speed, one drains all readers.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::handler::{Checking, Handler};
use crate::link::{Reads, Sends};
use crate::stream::DRAINING_CORE;
use crate::threads::{self, Job};

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

/// Each sender sends so many values from a thread of its own; they are spread over the first
/// `cores` cores.
pub(crate) fn run<S: Sends<u64>>(
    senders: &mut [S],
    readers: &mut impl Reads<u64>,
    each: u64,
    cores: usize,
) -> Contended {
    let sent = each * senders.len() as u64;
    let threads = senders.len();
    let mut histograms = vec![histogram(); threads];
    let mut jobs: Vec<_> = (senders.iter_mut().zip(&mut histograms).enumerate())
        .map(|(thread, (sender, sends))| {
            Job::new(thread % cores, move || {
                send(sender, thread as u64, each, sends);
            })
        })
        .collect();
    jobs.push(Job::new(DRAINING_CORE, || receive(readers, sent, threads)));
    let spans = threads::run_all(jobs);

    let (draining, sending) = spans.split_last().expect("one drains");
    let begun = sending.iter().map(|span| span.begun).min();
    let mut sends = histogram();
    for ours in histograms {
        sends.add(ours).expect("they have the same bounds");
    }
    Contended {
        took: draining.ended - begun.expect("there is a sender"),
        sent,
        sends,
    }
}

fn send(sender: &mut impl Sends<u64>, thread: u64, each: u64, sends: &mut Histogram<u64>) {
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
}

/// Receives the values of all threads with each reader, and checks the order of each thread's. It
/// yields when it has found nothing: there may be a sender on its core.
fn receive(readers: &mut impl Reads<u64>, sent: u64, threads: usize) {
    let mut next = vec![vec![0; threads]; readers.readers()];
    let mut due = vec![sent; next.len()];
    let (mut left, mut found) = (sent * next.len() as u64, false);
    while left > 0 {
        readers.wait(found);
        let before = left;
        for (reader, (next, due)) in next.iter_mut().zip(&mut due).enumerate() {
            let mut received = 0;
            readers.take_due(reader, *due, |value| {
                let next = &mut next[(value >> NUMBER_BITS) as usize];
                Checking.handle(value & ((1 << NUMBER_BITS) - 1), *next);
                *next += 1;
                received += 1;
            });
            *due -= received;
            left -= received;
        }
        found = left != before;
        if !found {
            std::thread::yield_now();
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(GREATEST.as_nanos() as u64, 3).expect("fair bounds")
}
