//! The memory driver beside a plain feed and beside tokio's broadcast channel, in one run.
//!
//! `cargo bench -p fanfeed-broker --features tokio` prints nanoseconds per delivery, the median of
//! the rounds, with the rounds of all candidates interleaved. All carry the same messages; each
//! subscriber counts what it gets.
//!
//! `-- --minutes 10` has a slow subscriber instead, and `-- --profile 64` the broker alone, for a
//! profiler.
//!
//! - `feed`: a `Feed` with k channels that hold 1,024, drained by as many threads as the pool has.
//! - `broker`: k subscriptions with buffers of 1,024 that block.
//! - `broadcast`: a channel that holds 1,024 and a task for each receiver; the sender waits while
//!   the slowest is 1,000 behind, because it would lose values.

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
    if let Some(k) = argument::<usize>("--profile") {
        for _ in 0..rounds {
            let values = deliveries / k;
            let each = broker(k, values).as_nanos() as f64 / (k * values) as f64;
            println!("{each:.1}");
        }
        return;
    }
    if let Some(minutes) = argument("--minutes") {
        return slow(minutes);
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
    others(rounds, deliveries.max(20_000));
    if is_test {
        slow(0.01);
    }
}

/// What follows this argument on the command line.
fn argument<T: std::str::FromStr>(name: &str) -> Option<T> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).and_then(|value| value.parse().ok())
}

/// One key with a group of four, and 10,000 keys with a subscription each: nanoseconds per message.
fn others(rounds: usize, values: usize) {
    let mut groups = Vec::new();
    let mut keys = Vec::new();
    for _ in 0..rounds {
        groups.push(many(values, 1, 4));
        keys.push(many(values, 10_000, 0));
    }
    let each = |times: Vec<Duration>| median(times).as_nanos() as f64 / values as f64;
    println!("a group of 4: {:.1} ns a message", each(groups));
    println!("10,000 keys: {:.1} ns a message", each(keys));
}

/// Publishes to so many keys in turn, each with a subscription, or with a group of so many members.
fn many(values: usize, keys: usize, members: usize) -> Duration {
    let pool = PoolOptions::new().threads(THREADS);
    let broker = MemoryOptions::new().pool(pool).build();
    let handled = Arc::new(AtomicUsize::new(0));
    let messages: Vec<_> = (0..keys)
        .map(|n| Message::new(format!("bench.{n}"), "0123456789abcdef"))
        .collect();
    let subscribe = |message: &Message| {
        let handled = Arc::clone(&handled);
        let handler = move |_: &Message, _: &Context| {
            handled.fetch_add(1, Ordering::Release);
            Ok(())
        };
        let options = SubscribeOptions::new()
            .buffer(CAPACITY)
            .overflow(Overflow::Block);
        let mut request = Subscribe::new(message.key(), handler).options(options);
        if members > 0 {
            request = request.group("group");
        }
        broker.subscribe_with(request).unwrap()
    };
    let subscriptions: Vec<_> = messages
        .iter()
        .flat_map(|message| std::iter::repeat_n(message, members.max(1)))
        .map(subscribe)
        .collect();
    let started = Instant::now();
    for message in messages.iter().cycle().take(values) {
        broker.publish(message.clone()).unwrap();
    }
    while handled.load(Ordering::Acquire) < values {
        std::thread::yield_now();
    }
    let took = started.elapsed();
    drop(subscriptions);
    took
}

/// Eight subscriptions of a key to which 10,000 messages a second are published: first alone, and
/// then beside one whose handler takes 10 ms, so that it loses most of them. Prints how late the
/// eight were, and the memory.
fn slow(minutes: f64) {
    for (name, slow) in [("alone", false), ("beside a slow one", true)] {
        let broker = MemoryOptions::new().build();
        let latencies = Arc::new(std::sync::Mutex::new(Vec::<u32>::new()));
        let epoch = Instant::now();
        let mut subscriptions = Vec::new();
        for _ in 0..8 {
            let latencies = Arc::clone(&latencies);
            let handler = move |message: &Message, _: &Context| {
                let sent: u128 = std::str::from_utf8(message.payload())?.parse()?;
                let late = epoch.elapsed().as_nanos() - sent;
                latencies.lock().unwrap().push((late / 1000) as u32);
                Ok(())
            };
            subscriptions.push(broker.subscribe_with(Subscribe::new("k", handler)).unwrap());
        }
        let sleeper = |_: &Message, _: &Context| {
            std::thread::sleep(Duration::from_millis(10));
            Ok(())
        };
        let slow = slow.then(|| broker.subscribe_with(Subscribe::new("k", sleeper)).unwrap());
        let before = resident();
        let mut published = 0_u64;
        let until = Duration::from_secs_f64(minutes * 30.0);
        let mut sums = [0_u64; 4];
        while epoch.elapsed() < until {
            for _ in 0..10 {
                let now = epoch.elapsed().as_nanos().to_string();
                broker.publish(Message::new("k", now)).unwrap();
                published += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
            if latencies.lock().unwrap().len() > 1_000_000 {
                summarize(&latencies, &mut sums);
            }
        }
        summarize(&latencies, &mut sums);
        let [windows, p50, p99, max] = sums;
        println!(
            "{name}: {published} published, p50 {} us, p99 {} us, longest {max} us, dropped by the slow one {}, memory \
             {before} -> {} KiB",
            p50 / windows.max(1),
            p99 / windows.max(1),
            slow.as_ref().map_or(0, |slow| slow.dropped()),
            resident(),
        );
    }
}

/// Takes the latencies measured since the last call, and adds them to `sums`: one window, its p50,
/// its p99, and the longest latency so far.
fn summarize(latencies: &std::sync::Mutex<Vec<u32>>, sums: &mut [u64; 4]) {
    let mut latencies = std::mem::take(&mut *latencies.lock().unwrap());
    latencies.sort_unstable();
    let (Some(longest), count) = (latencies.last(), latencies.len()) else {
        return;
    };
    sums[0] += 1;
    sums[1] += u64::from(latencies[count / 2]);
    sums[2] += u64::from(latencies[count * 99 / 100]);
    sums[3] = sums[3].max(u64::from(*longest));
}

/// The memory of this process in KiB, where the system says it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
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
