//! Threads that are blocked in a send.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fanfeed::{Feed, RingFeed};
use fanfeed_benches::pin;

use crate::plan::Plan;
use crate::series::{Contender, Peers, Series};
use crate::stopwatch::Stopwatch;

pub(crate) const SERIES: Series = Series {
    key: "senders",
    title: "blocked senders",
    note: "u64 values. All threads send on one channel and are blocked when the receiver begins; then it receives all values, \
           one by one. The threads share a core, and the receiver has another. The system decides when each thread runs, \
           so rounds differ by several times: take several runs, and many rounds, before you trust a verdict.",
    measures: &["capacity 1: a value", "capacity 64: a value"],
    sizes: |plan| plan.threads,
    core: 1,
    contenders,
};

const CROSSBEAM: &str = "crossbeam";
const TOKIO: &str = "tokio mpsc, blocking_send";
const PEERS: Peers = Peers::of(&[CROSSBEAM, TOKIO]);
/// Over a channel of crossbeam's, a sender blocks in that channel.
const CROSSBEAM_PEERS: Peers = Peers {
    same: &[CROSSBEAM],
    other: &[TOKIO],
};

/// How many values all threads together send, or two for each thread if that is more.
const VALUES: usize = 2_000;
/// The same in a smoke test.
const FEW: usize = 20;
/// How long the threads have to block after the last of them has begun to send.
const BLOCKING: Duration = Duration::from_millis(20);
/// The stack of each thread.
const STACK: usize = 128 << 10;

fn contenders(plan: Plan) -> Vec<Contender> {
    let entry = Entry { plan };
    vec![
        entry.take("Feed, own channel", PEERS, |capacity, race| {
            let feed = Feed::new();
            let mut receiver = feed.channel(capacity).expect("a fair capacity");
            let send = |value| assert_eq!(feed.send(value), 1);
            race.run(send, || receiver.recv().expect("the feed is open"))
        }),
        entry.take("Feed over crossbeam", CROSSBEAM_PEERS, |capacity, race| {
            let feed = Feed::new();
            let (sender, receiver) = crossbeam_channel::bounded(capacity);
            let _subscription = feed.subscribe(sender);
            let send = |value| assert_eq!(feed.send(value), 1);
            race.run(send, || receiver.recv().expect("the feed is open"))
        }),
        entry.take("RingFeed", PEERS, |capacity, race| {
            let ring = RingFeed::new(capacity).expect("a fair capacity");
            let mut reader = ring.subscribe();
            let send = |value| {
                ring.send(value);
            };
            race.run(send, || reader.recv().expect("the ring is open"))
        }),
        entry.take(CROSSBEAM, Peers::NONE, |capacity, race| {
            let (sender, receiver) = crossbeam_channel::bounded(capacity);
            let send = |value| sender.send(value).expect("there is a receiver");
            race.run(send, || receiver.recv().expect("there is a sender"))
        }),
        entry.take(TOKIO, Peers::NONE, |capacity, race| {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(capacity);
            let send = |value| sender.blocking_send(value).expect("there is a receiver");
            race.run(send, || {
                receiver.blocking_recv().expect("there is a sender")
            })
        }),
    ]
}

struct Entry {
    plan: Plan,
}

impl Entry {
    fn take(
        &self,
        name: &'static str,
        peers: Peers,
        run: impl Fn(usize, Race) -> f64 + 'static,
    ) -> Contender {
        let values = if self.plan.is_smoke { FEW } else { VALUES };
        Contender::new(name, peers, move |threads| {
            let each = (values / threads).max(2);
            let race = Race { threads, each };
            [1, 64].map(|capacity| run(capacity, race)).to_vec()
        })
    }
}

/// So many threads send so many values each.
#[derive(Debug, Clone, Copy)]
struct Race {
    threads: usize,
    each: usize,
}

impl Race {
    /// Receives all values, asserts that those of each thread come whole and in order, and returns
    /// the time of one in nanoseconds.
    fn run(self, send: impl Fn(u64) + Sync, mut receive: impl FnMut() -> u64) -> f64 {
        let Self { threads, each } = self;
        let mut stopwatch = Stopwatch::default();
        let started = AtomicUsize::new(0);
        thread::scope(|scope| {
            for thread in 0..threads {
                let (send, started) = (&send, &started);
                let run = move || {
                    pin::to_core(0);
                    started.fetch_add(1, Ordering::Relaxed);
                    (0..each).for_each(|number| send(value(thread, number)));
                };
                let builder = thread::Builder::new().stack_size(STACK);
                builder
                    .spawn_scoped(scope, run)
                    .expect("a thread can be had");
            }
            while started.load(Ordering::Relaxed) < threads {
                thread::yield_now();
            }
            thread::sleep(BLOCKING);
            let mut next = vec![0; threads];
            stopwatch.time(threads * each, || {
                for _ in 0..threads * each {
                    let received = receive();
                    let thread = (received >> u32::BITS) as usize;
                    assert_eq!(received, value(thread, next[thread]));
                    next[thread] += 1;
                }
            });
            assert!(next.iter().all(|&next| next == each));
        });
        stopwatch.per_item()
    }
}

fn value(thread: usize, number: usize) -> u64 {
    (thread as u64) << u32::BITS | number as u64
}
