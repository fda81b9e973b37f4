//! The cost that a feed adds to a loop over crossbeam senders: sending and draining, and only
//! sending.
//!
//! One pinned thread sends bursts of 128 values to n bounded channels of 1,024 and drains them. The
//! contenders share nothing, not even channels.

use std::hint::black_box;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use criterion::{Criterion, criterion_group, criterion_main};
use crossbeam_channel::{Receiver, Sender, bounded};
use fanfeed::Feed;
use fanfeed_benches::{Contender, check_burst, compare, pin};

const BURST: u64 = 128;

type Channels = Vec<(Sender<u64>, Receiver<u64>)>;

fn channels(n: usize) -> Channels {
    (0..n).map(|_| bounded(1024)).collect()
}

/// Drains a burst, of which each channel has all.
fn drain(channels: &Channels) {
    for (_, receiver) in channels {
        check_burst(BURST, || receiver.try_recv().ok());
    }
}

/// Bursts of which the draining counts, or does not. Inlined, so that each contender has a loop of
/// its own.
#[inline(always)]
fn bursts(
    times: u64,
    counts_draining: bool,
    mut send: impl FnMut(u64),
    drain: impl Fn(),
) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..times {
        let start = Instant::now();
        (0..BURST).for_each(&mut send);
        if counts_draining {
            drain();
            spent += start.elapsed();
        } else {
            spent += start.elapsed();
            drain();
        }
    }
    spent
}

fn send(c: &mut Criterion) {
    pin::to_core(0);
    for n in [1, 8, 64, 1000] {
        for (question, counts_draining) in [("send and drain", true), ("send alone", false)] {
            let bare = channels(n);

            let fed = channels(n);
            let feed = Feed::new();
            let _subscriptions: Vec<_> = fed
                .iter()
                .map(|(sender, _)| feed.subscribe(sender.clone()))
                .collect();

            let swapped = channels(n);
            let senders = swapped
                .iter()
                .map(|(sender, _)| sender.clone())
                .collect::<Vec<_>>();
            let snapshot = ArcSwap::from_pointee(senders);

            let contenders = vec![
                Contender::new("loop over crossbeam", |times| {
                    let send = |value| {
                        for (sender, _) in &bare {
                            sender.try_send(black_box(value)).expect("there is room");
                        }
                    };
                    bursts(times, counts_draining, send, || drain(&bare))
                }),
                Contender::new("Feed::send to crossbeam", |times| {
                    let send = |value| {
                        black_box(feed.send(black_box(value)));
                    };
                    bursts(times, counts_draining, send, || drain(&fed))
                }),
                Contender::new("loop behind an arc-swap load", |times| {
                    let send = |value| {
                        for sender in snapshot.load().iter() {
                            sender.try_send(black_box(value)).expect("there is room");
                        }
                    };
                    bursts(times, counts_draining, send, || drain(&swapped))
                }),
            ];
            compare(
                c,
                question,
                &format!("n = {n}"),
                BURST * n as u64,
                contenders,
            );
        }
    }
}

criterion_group!(benches, send);
criterion_main!(benches);
