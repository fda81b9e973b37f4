//! Subscribing and unsubscribing with 10,000 live subscribers, alone and while another thread
//! sends; and the effect on that thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use crossbeam_channel::{Receiver, Sender, bounded};
use fanfeed::{Feed, Subscription};
use fanfeed_benches::stats::Spread;
use fanfeed_benches::{is_smoke, pin};
use hdrhistogram::Histogram;

const LIVE: usize = 10_000;
/// How long the two threads go on in each round.
const ROUND: Duration = Duration::from_millis(400);
const ROUNDS: usize = 7;

struct Crowd {
    feed: Feed<u64>,
    subscriptions: Vec<Subscription>,
    receivers: Vec<Receiver<u64>>,
}

impl Crowd {
    fn new() -> Self {
        let feed = Feed::new();
        let (subscriptions, receivers) = (0..LIVE)
            .map(|_| {
                let (sender, receiver) = bounded(2);
                (feed.subscribe(sender), receiver)
            })
            .unzip();
        Self {
            feed,
            subscriptions,
            receivers,
        }
    }

    /// Subscribes and unsubscribes once; the channel is there already.
    fn pair(&self, sender: &Sender<u64>) {
        let sender = sender.clone();
        self.feed.subscribe(sender).unsubscribe();
    }

    /// Sends and drains until told to stop, and returns the time of one delivery.
    fn send_until(&self, done: &AtomicBool) -> f64 {
        let (mut sends, mut spent) = (0u64, Duration::ZERO);
        while !done.load(Ordering::Relaxed) {
            let start = Instant::now();
            self.feed.send(sends);
            spent += start.elapsed();
            for receiver in &self.receivers {
                assert_eq!(receiver.try_recv(), Ok(sends));
                assert!(receiver.is_empty());
            }
            sends += 1;
        }
        spent.as_nanos() as f64 / (sends.max(1) * LIVE as u64) as f64
    }

    /// Sends and drains on a core of its own while this thread does `other`, and returns the time
    /// of one delivery.
    fn send_meanwhile(&self, mut other: impl FnMut()) -> f64 {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                pin::to_core(1);
                self.send_until(&done)
            });
            let start = Instant::now();
            while start.elapsed() < ROUND {
                other();
            }
            done.store(true, Ordering::Relaxed);
            sender.join().expect("the sender does not panic")
        })
    }
}

fn subscribe(c: &mut Criterion) {
    pin::to_core(0);
    let crowd = Crowd::new();
    let (sender, _receiver) = bounded(1 << 16);
    c.bench_function("subscribe and unsubscribe, 10,000 live, quiet", |b| {
        b.iter(|| crowd.pair(&sender))
    });
    assert_eq!(crowd.subscriptions.len(), crowd.feed.subscriber_count());
    if is_smoke() {
        return;
    }

    let mut pairs =
        Histogram::<u64>::new_with_max(60_000_000_000, 3).expect("three digits can be had");
    let (mut quiet, mut churned) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // The other thread does as much, but leaves the feed alone.
        quiet.push(crowd.send_meanwhile(|| std::thread::sleep(Duration::from_micros(100))));
        churned.push(crowd.send_meanwhile(|| {
            let (sender, _receiver) = bounded(2);
            let start = Instant::now();
            crowd.pair(&sender);
            pairs.saturating_record(start.elapsed().as_nanos() as u64);
        }));
    }
    println!("\nsubscribe and unsubscribe, 10,000 live, while another thread sends: ns a pair");
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        println!("  {name:<6} {:>9}", pairs.value_at_quantile(quantile));
    }
    println!("  pairs  {:>9}", pairs.len());
    let ratios = churned
        .iter()
        .zip(&quiet)
        .map(|(churned, quiet)| churned / quiet)
        .collect();
    println!(
        "the other thread's time of a delivery, ns: median (fastest to slowest of {ROUNDS} rounds)"
    );
    println!("  quiet   {}", Spread::of(quiet));
    println!(
        "  churned {}   x {:.3}\n",
        Spread::of(churned),
        Spread::of(ratios).median
    );
}

criterion_group!(benches, subscribe);
criterion_main!(benches);
