//! The memory driver beside a plain feed and beside tokio's broadcast channel, in one run.
//!
//! `cargo bench -p fanfeed-broker --features tokio` prints nanoseconds per delivery, the median of the rounds, with the
//! rounds of all candidates interleaved. All carry the same messages; each subscriber counts what it gets.
//!
//! - `feed`: a `Feed` with k channels that hold 1,024, drained by as many threads as the pool has.
//! - `broker`: k subscriptions with buffers of 1,024 that block.
//! - `broadcast`: a channel that holds 1,024 and a task for each receiver; the sender waits while the slowest is 1,000 behind,
//!   because it would lose values.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fanfeed::Feed;
use fanfeed_broker::{
    Context, MemoryOptions, Message, Overflow, PoolOptions, Publisher, Subscribe, SubscribeOptions,
    Subscriber,
};

const THREADS: usize = 2;
const CAPACITY: usize = 1024;

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (rounds, deliveries) = if is_test { (1, 2000) } else { (7, 2_000_000) };
    // For a profiler: the broker alone, with so many subscriptions.
    let mut arguments = std::env::args().skip_while(|argument| argument != "--profile");
    if let Some(k) = arguments.nth(1).and_then(|k| k.parse().ok()) {
        for _ in 0..rounds {
            let values = deliveries / k;
            let each = broker(k, values).as_nanos() as f64 / (k * values) as f64;
            println!("{each:.1}");
        }
        return;
    }
    println!(
        "{:>6} {:>10} {:>10} {:>10} {:>8}",
        "k", "feed", "broker", "broadcast", "ratio"
    );
    for k in [1, 8, 64, 1000] {
        let values = (deliveries / k).max(2);
        let mut feeds = Vec::new();
        let mut brokers = Vec::new();
        let mut broadcasts = Vec::new();
        for _ in 0..rounds {
            feeds.push(feed(k, values));
            brokers.push(broker(k, values));
            broadcasts.push(broadcast(k, values));
        }
        let each = |times: Vec<Duration>| median(times).as_nanos() as f64 / (k * values) as f64;
        let (feed, broker, broadcast) = (each(feeds), each(brokers), each(broadcasts));
        let ratio = broker / feed;
        println!("{k:>6} {feed:>10.1} {broker:>10.1} {broadcast:>10.1} {ratio:>8.2}");
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn message() -> Message {
    Message::new("bench", "0123456789abcdef")
}

fn feed(k: usize, values: usize) -> Duration {
    let feed = Feed::new();
    let mut receivers: Vec<_> = (0..k).map(|_| feed.channel(CAPACITY).unwrap()).collect();
    let each = k.div_ceil(THREADS);
    let message = message();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for own in receivers.chunks_mut(each) {
            scope.spawn(move || {
                let mut missing = own.len() * values;
                while missing > 0 {
                    let before = missing;
                    for receiver in own.iter_mut() {
                        missing -= receiver.try_iter().count();
                    }
                    if missing == before {
                        std::thread::yield_now();
                    }
                }
            });
        }
        for _ in 0..values {
            feed.send(message.clone());
        }
    });
    started.elapsed()
}

fn broker(k: usize, values: usize) -> Duration {
    let pool = PoolOptions::new().threads(THREADS);
    let broker = MemoryOptions::new().pool(pool).build();
    let counts: Vec<_> = (0..k).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let subscriptions: Vec<_> = counts
        .iter()
        .map(|count| {
            let count = Arc::clone(count);
            let handler = move |_: &Message, _: &Context| {
                // One handler at a time is all that counts here.
                count.store(count.load(Ordering::Relaxed) + 1, Ordering::Release);
                Ok(())
            };
            let options = SubscribeOptions::new()
                .buffer(CAPACITY)
                .overflow(Overflow::Block);
            broker
                .subscribe_with(Subscribe::new("bench", handler).options(options))
                .unwrap()
        })
        .collect();
    let message = message();
    let started = Instant::now();
    for _ in 0..values {
        broker.publish(message.clone()).unwrap();
    }
    while counts
        .iter()
        .any(|count| count.load(Ordering::Acquire) < values)
    {
        std::thread::yield_now();
    }
    let took = started.elapsed();
    drop(subscriptions);
    took
}

fn broadcast(k: usize, values: usize) -> Duration {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .build()
        .unwrap();
    let (sender, _) = tokio::sync::broadcast::channel(CAPACITY);
    let done = Arc::new(AtomicUsize::new(0));
    let counts: Vec<_> = (0..k).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    for count in &counts {
        let (count, done) = (Arc::clone(count), Arc::clone(&done));
        let mut receiver = sender.subscribe();
        runtime.spawn(async move {
            for n in 1..=values {
                let message: Message = receiver.recv().await.expect("nothing is lost");
                std::hint::black_box(&message);
                count.store(n, Ordering::Release);
            }
            done.fetch_add(1, Ordering::Release);
        });
    }
    let message = message();
    let started = Instant::now();
    let mut room = CAPACITY - 24;
    let mut sent = 0;
    while sent < values {
        if room == 0 {
            let slowest = counts
                .iter()
                .map(|count| count.load(Ordering::Acquire))
                .min();
            room = (CAPACITY - 24).saturating_sub(sent - slowest.unwrap_or(0));
            if room == 0 {
                std::thread::yield_now();
            }
            continue;
        }
        let _ = sender.send(message.clone());
        room -= 1;
        sent += 1;
    }
    while done.load(Ordering::Acquire) < k {
        std::thread::yield_now();
    }
    started.elapsed()
}
