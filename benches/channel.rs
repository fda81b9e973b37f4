//! The feed's own channel behind a feed, compared with loops over other channels, and batches
//! compared with single sends.
//!
//! One pinned thread sends bursts of 128 values to n channels of 1,024 and drains them with
//! `try_recv`. Unlike the loops, the feed lets its subscribers come and go while it sends.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fanfeed::{Feed, Receiver};
use fanfeed_benches::{Contender, check, check_burst, compare, pin};

const BURST: u64 = 128;
const BATCH: u64 = 32;
const CAPACITY: usize = 1024;

fn own_channels(n: usize) -> (Feed<u64>, Vec<Receiver<u64>>) {
    let feed = Feed::new();
    let receivers = (0..n)
        .map(|_| feed.channel(CAPACITY).expect("a fair capacity"))
        .collect();
    (feed, receivers)
}

fn drain(receivers: &mut [Receiver<u64>]) {
    for receiver in receivers {
        check_burst(BURST, || receiver.try_recv().ok());
    }
}

fn drain_in_runs(receivers: &mut [Receiver<u64>]) {
    for receiver in receivers {
        let mut received = 0;
        let mut each = |value: u64| {
            check(value, received);
            received += 1;
        };
        while receiver.drain(CAPACITY, &mut each).is_ok() {}
        assert_eq!(received, BURST, "a value was lost or doubled");
    }
}

/// One burst through a loop over senders, and its draining.
macro_rules! burst {
    ($channels:expr, $send:expr, $receive:expr) => {
        || {
            for value in 0..BURST {
                for (sender, _) in &$channels {
                    $send(sender, black_box(value));
                }
            }
            for (_, receiver) in &$channels {
                check_burst(BURST, || $receive(receiver));
            }
        }
    };
}

fn beside_others(c: &mut Criterion) {
    pin::to_core(0);
    crossfire::detect_backoff_cfg();
    for n in [1, 8, 64, 1000] {
        let crossbeam: Vec<_> = (0..n)
            .map(|_| crossbeam_channel::bounded::<u64>(CAPACITY))
            .collect();
        let (feed, mut receivers) = own_channels(n);
        let kanal: Vec<_> = (0..n).map(|_| kanal::bounded::<u64>(CAPACITY)).collect();
        let crossfire: Vec<_> = (0..n)
            .map(|_| crossfire::spsc::bounded_blocking::<u64>(CAPACITY))
            .collect();
        let flume: Vec<_> = (0..n).map(|_| flume::bounded::<u64>(CAPACITY)).collect();
        let contenders = vec![
            Contender::timed(
                "loop over crossbeam",
                burst!(
                    crossbeam,
                    |sender: &crossbeam_channel::Sender<u64>, value| sender
                        .try_send(value)
                        .expect("there is room"),
                    |receiver: &crossbeam_channel::Receiver<u64>| receiver.try_recv().ok()
                ),
            ),
            Contender::timed("Feed::send to own channels", || {
                for value in 0..BURST {
                    black_box(feed.send(black_box(value)));
                }
                drain(&mut receivers);
            }),
            Contender::timed(
                "loop over kanal",
                burst!(
                    kanal,
                    |sender: &kanal::Sender<u64>, value| assert_eq!(
                        sender.try_send(value),
                        Ok(true)
                    ),
                    |receiver: &kanal::Receiver<u64>| receiver.try_recv().expect("it is open")
                ),
            ),
            Contender::timed(
                "loop over crossfire (spsc)",
                burst!(
                    crossfire,
                    |sender: &crossfire::Tx<_>, value| sender
                        .try_send(value)
                        .expect("there is room"),
                    |receiver: &crossfire::Rx<_>| receiver.try_recv().ok()
                ),
            ),
            Contender::timed(
                "loop over flume",
                burst!(
                    flume,
                    |sender: &flume::Sender<u64>, value| sender
                        .try_send(value)
                        .expect("there is room"),
                    |receiver: &flume::Receiver<u64>| receiver.try_recv().ok()
                ),
            ),
        ];
        compare(
            c,
            "own channel",
            &format!("n = {n}"),
            BURST * n as u64,
            contenders,
        );
    }
}

fn batches(c: &mut Criterion) {
    pin::to_core(0);
    for n in [1, 8, 64, 1000] {
        let (single, mut single_receivers) = own_channels(n);
        let (runs, mut runs_receivers) = own_channels(n);
        let (batched, mut batched_receivers) = own_channels(n);
        let contenders = vec![
            Contender::timed("send, and try_recv", || {
                for value in 0..BURST {
                    black_box(single.send(black_box(value)));
                }
                drain(&mut single_receivers);
            }),
            Contender::timed("send, and drain in runs", || {
                for value in 0..BURST {
                    black_box(runs.send(black_box(value)));
                }
                drain_in_runs(&mut runs_receivers);
            }),
            Contender::timed("send_batch of 32, and drain in runs", || {
                for first in (0..BURST).step_by(BATCH as usize) {
                    black_box(batched.send_batch(black_box(first)..first + BATCH));
                }
                drain_in_runs(&mut batched_receivers);
            }),
        ];
        compare(
            c,
            "batches",
            &format!("n = {n}"),
            BURST * n as u64,
            contenders,
        );
    }
}

criterion_group!(benches, beside_others, batches);
criterion_main!(benches);
