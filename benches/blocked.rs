//! A send that finds 1,000 full subscribers and finishes when they drain: its delay after the last
//! one had room.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use fanfeed::{Feed, Receiver};
use fanfeed_benches::{is_smoke, pin};
use hdrhistogram::Histogram;

const SUBSCRIBERS: usize = 1000;
const SENDS: usize = 400;

/// Something that can be emptied of the one value it holds.
trait Drain: Send {
    fn drain_one(&mut self) -> u64;
}

impl Drain for Receiver<u64> {
    fn drain_one(&mut self) -> u64 {
        self.recv().expect("the feed is open")
    }
}

impl Drain for crossbeam_channel::Receiver<u64> {
    fn drain_one(&mut self) -> u64 {
        self.recv().expect("the feed is open")
    }
}

/// Sends to full subscribers, which another thread drains once the send is blocked. Returns, for
/// each send, how long after the last subscriber had room it finished.
fn blocked_sends<R: Drain>(
    feed: &Feed<u64>,
    receivers: &mut [R],
    is_blocked: impl Fn(u64) -> bool + Sync,
    sends: usize,
) -> Histogram<u64> {
    let mut late = Histogram::new_with_max(60_000_000_000, 3).expect("three digits can be had");
    let turn = Barrier::new(2);
    feed.send(0);
    std::thread::scope(|scope| {
        let drainer = scope.spawn(|| {
            pin::to_core(1);
            let mut ready = Vec::with_capacity(sends);
            for send in 0..sends {
                turn.wait();
                while !is_blocked(send as u64) {
                    std::thread::yield_now();
                }
                // The sender is on its way into its wait: let it arrive there.
                std::thread::sleep(Duration::from_millis(1));
                // Each holds what was sent before.
                let before = (send as u64).saturating_sub(1);
                let mut wrong = 0;
                for receiver in &mut *receivers {
                    wrong |= receiver.drain_one() ^ before;
                }
                assert_eq!(wrong, 0, "a value was lost, doubled or out of order");
                ready.push(Instant::now());
            }
            ready
        });
        let mut done = Vec::with_capacity(sends);
        for send in 0..sends {
            turn.wait();
            let reached = feed.send(send as u64);
            done.push(Instant::now());
            assert_eq!(reached, SUBSCRIBERS);
        }
        let ready = drainer.join().expect("the drainer does not panic");
        for (done, ready) in done.iter().zip(ready) {
            late.saturating_record(done.saturating_duration_since(ready).as_nanos() as u64);
        }
    });
    late
}

fn report(name: &str, late: &Histogram<u64>) {
    println!(
        "  {name:<28} {:>9} {:>9} {:>9}",
        late.value_at_quantile(0.5),
        late.value_at_quantile(0.99),
        late.max()
    );
}

fn blocked(_: &mut Criterion) {
    pin::to_core(0);
    let sends = if is_smoke() { 3 } else { SENDS };
    println!(
        "\na blocked send, {SUBSCRIBERS} full subscribers: ns from the last one's readiness to the end of the send"
    );
    println!("  {:<28} {:>9} {:>9} {:>9}", "", "p50", "p99", "most");

    let feed = Feed::new();
    let mut receivers: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| feed.channel(1).expect("a fair capacity"))
        .collect();
    let (last, watched) = receivers.pop().expect("there are some").split();
    receivers.push(last);
    let own = blocked_sends(
        &feed,
        &mut receivers,
        |sends| watched.stats().blocked > sends,
        sends,
    );
    report("own channels of 1", &own);

    let feed = Feed::new();
    let (mut receivers, subscriptions): (Vec<_>, Vec<_>) = (0..SUBSCRIBERS)
        .map(|_| {
            let (sender, receiver) = crossbeam_channel::bounded(1);
            (receiver, feed.subscribe(sender))
        })
        .unzip();
    let watched = &subscriptions[SUBSCRIBERS - 1];
    let crossbeam = blocked_sends(
        &feed,
        &mut receivers,
        |sends| watched.stats().blocked > sends,
        sends,
    );
    report("crossbeam channels of 1", &crossbeam);
}

criterion_group!(benches, blocked);
criterion_main!(benches);
