//! The driver beside `redis-benchmark` and beside a bare client, over one server of this machine.
//!
//! `cargo bench -p fanfeed-redis` prints messages a second and microseconds. Every candidate sends
//! the same commands: an XADD with the fields that the driver writes, a payload of 16 bytes, and up
//! to 512 commands in a pipeline.
//!
//! - `redis-benchmark`: one connection, which only publishes.
//! - `published`: `publish` to the end of `flush`, nobody subscribed.
//! - `delivered`: the same, until the handlers of another broker have counted every message.
//! - wake: one message at a time, from `publish` to its handler; `bare`, a bare client's XADD to
//!   the return of another one's XREAD BLOCK.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fanfeed_broker::driver::{Engine, EngineOptions};
use fanfeed_broker::{
    Broker, BrokerSubscription, Context, Message, Publisher, Subscribe, SubscribeOptions,
    Subscriber,
};
use fanfeed_redis::{Config, Mode};
use fanfeed_testkit::{RedisServer, Release};

const LONG: Duration = Duration::from_secs(60);
const BATCH: usize = 512;
/// How many entries a stream keeps.
const KEPT: u64 = 1_000_000;
const PAYLOAD: &str = "0123456789abcdef";

struct Sizes {
    /// Messages of a round.
    messages: usize,
    /// Rounds, of which the median is shown.
    rounds: usize,
    keys: usize,
    /// Messages of which the latency is measured.
    wakes: usize,
}

fn main() {
    // `cargo test` runs it, too, and gives no `--bench`.
    let smoke = !std::env::args().any(|argument| argument == "--bench");
    let sizes = match smoke {
        true => Sizes {
            messages: 2_000,
            rounds: 1,
            keys: 200,
            wakes: 50,
        },
        false => Sizes {
            messages: 200_000,
            rounds: 3,
            keys: 10_000,
            wakes: 2_000,
        },
    };
    let only = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| name.contains(only));
    println!("{:<28} {:>12} {:>8}", "", "messages/s", "ratio");
    if wanted("stream") {
        rates(&sizes, "stream, one key", Mode::Streams, 1);
    }
    if wanted("keys") {
        rates(&sizes, "stream, many keys", Mode::Streams, sizes.keys);
    }
    if wanted("pubsub") {
        rates(&sizes, "pubsub, one key", Mode::PubSub, 1);
    }
    if wanted("wake") {
        println!("{:<28} {:>12} {:>8}", "", "p50 us", "p99 us");
        wakes(&sizes);
    }
}

fn config(server: &RedisServer, mode: Mode) -> Config {
    let config: Config = server.url().parse().unwrap();
    // More than a round has: a reader that is slower than the writer is not to be overtaken by the
    // trimming.
    config.mode(mode).max_entries(Some(KEPT))
}

fn connect(config: Config) -> Engine {
    let options = EngineOptions::new().queue(4 * BATCH).batch(BATCH);
    fanfeed_redis::connect(config, options).unwrap()
}

fn rates(sizes: &Sizes, name: &str, mode: Mode, keys: usize) {
    let keys: Vec<String> = (0..keys).map(|key| format!("{key:012}")).collect();
    let mut measured = [const { Vec::new() }; 3];
    for _ in 0..sizes.rounds {
        let server = RedisServer::start(Release::Old);
        measured[0].push(benchmark(&server, mode, keys.len(), sizes.messages));
        measured[1].push(published(&server, mode, &keys, sizes.messages));
        let server = RedisServer::start(Release::Old);
        measured[2].push(delivered(&server, mode, &keys, sizes.messages));
    }
    let [peer, published, delivered] = measured.map(median);
    println!("{name}: {:<11} {peer:>12.0}", "peer");
    for (what, rate) in [("published", published), ("delivered", delivered)] {
        println!("{name}: {what:<11} {rate:>12.0} {:>8.2}", rate / peer);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What `redis-benchmark` publishes a second.
fn benchmark(server: &RedisServer, mode: Mode, keys: usize, messages: usize) -> f64 {
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &server.port().to_string(), "-c", "1", "-q", "--csv"]);
    command.args(["-P", &BATCH.to_string(), "-n", &messages.to_string()]);
    command.args(["-r", &keys.to_string()]);
    let id = "0123456789abcdef0123456789abcdef";
    let frame = format!("fanfeed/1\nid={id}\ntime=1700000000000\n\n{PAYLOAD}");
    match mode {
        Mode::PubSub => command.args(["PUBLISH", "fanfeed:__rand_int__", &frame]),
        _ => command.args([
            "XADD",
            "fanfeed:s:{__rand_int__}",
            "MAXLEN",
            "~",
            &KEPT.to_string(),
            "*",
            "id",
            id,
            "time",
            "1700000000000",
            "payload",
            PAYLOAD,
        ]),
    };
    let output = command.output().expect("redis-benchmark is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    // The command, quoted, and then numbers, of which the first is the rate.
    let numbers = last.rsplit_once("PAYLOAD").map_or(last, |(_, rest)| rest);
    let rate = numbers
        .split(',')
        .map(|part| part.trim_matches('"'))
        .find_map(|part| part.parse::<f64>().ok());
    rate.unwrap_or_else(|| panic!("redis-benchmark said {text}"))
}

/// Publishes to keys that are drawn at random.
fn publish(broker: &Engine, keys: &[String], messages: usize) {
    let mut random = 88_172_645_463_325_252_u64;
    for _ in 0..messages {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let key = &keys[random as usize % keys.len()];
        broker.publish(Message::new(&key[..], PAYLOAD)).unwrap();
    }
}

fn published(server: &RedisServer, mode: Mode, keys: &[String], messages: usize) -> f64 {
    let broker = connect(config(server, mode));
    let started = Instant::now();
    publish(&broker, keys, messages);
    broker.flush(LONG).unwrap();
    messages as f64 / started.elapsed().as_secs_f64()
}

fn subscribe(broker: &Engine, key: &str, count: &Arc<AtomicUsize>) -> BrokerSubscription {
    let count = Arc::clone(count);
    let handler = move |_: &Message, _: &Context| {
        count.fetch_add(1, Ordering::Release);
        Ok(())
    };
    let options = SubscribeOptions::new().buffer(8 * BATCH);
    let request = Subscribe::new(key, handler).options(options);
    broker.subscribe_with(request).unwrap()
}

fn delivered(server: &RedisServer, mode: Mode, keys: &[String], messages: usize) -> f64 {
    let (writer, reader) = (connect(config(server, mode)), connect(config(server, mode)));
    let count = Arc::new(AtomicUsize::new(0));
    let subscriptions: Vec<_> = keys
        .iter()
        .map(|key| subscribe(&reader, key, &count))
        .collect();
    let started = Instant::now();
    publish(&writer, keys, messages);
    // The mode of pub/sub may drop some.
    let dropped = || usize::try_from(reader.stats().dropped).unwrap_or(usize::MAX);
    let handled = || count.load(Ordering::Acquire) + dropped();
    while handled() < messages {
        assert!(started.elapsed() < LONG, "{} of {messages} came", handled());
        std::thread::sleep(Duration::from_micros(200));
    }
    let rate = messages as f64 / started.elapsed().as_secs_f64();
    if dropped() > 0 {
        println!("{} of {messages} were dropped", dropped());
    }
    drop(subscriptions);
    rate
}

fn wakes(sizes: &Sizes) {
    let server = RedisServer::start(Release::Old);
    show("bare client", bare(&server, sizes.wakes));
    for (name, mode, others) in [
        ("stream, one key", Mode::Streams, 0),
        ("stream, one of many keys", Mode::Streams, sizes.keys),
        ("pubsub, one key", Mode::PubSub, 0),
        ("pubsub, one of many keys", Mode::PubSub, sizes.keys),
    ] {
        let server = RedisServer::start(Release::Old);
        let (writer, reader) = (
            connect(config(&server, mode)),
            connect(config(&server, mode)),
        );
        let count = Arc::new(AtomicUsize::new(0));
        let _others: Vec<_> = (0..others)
            .map(|key| subscribe(&reader, &format!("other.{key}"), &count))
            .collect();
        let (tx, rx) = crossbeam_channel::unbounded();
        let handler = move |_: &Message, _: &Context| Ok(tx.send(Instant::now())?);
        let _hot = reader
            .subscribe_with(Subscribe::new("hot", handler))
            .unwrap();
        let mut times = Vec::with_capacity(sizes.wakes);
        for _ in 0..sizes.wakes {
            let started = Instant::now();
            writer.publish(Message::new("hot", PAYLOAD)).unwrap();
            times.push(rx.recv_timeout(LONG).unwrap() - started);
        }
        show(name, times);
    }
}

/// XADD on one connection, XREAD BLOCK on another.
fn bare(server: &RedisServer, wakes: usize) -> Vec<Duration> {
    let client = redis::Client::open(server.url()).unwrap();
    let (tx, rx) = crossbeam_channel::unbounded();
    let mut reader = client.get_connection().unwrap();
    let thread = std::thread::spawn(move || {
        let mut last = "0-0".to_owned();
        for _ in 0..wakes {
            let answer: redis::Value = redis::cmd("XREAD")
                .arg("BLOCK")
                .arg(60_000)
                .arg("STREAMS")
                .arg("bare")
                .arg(&last)
                .query(&mut reader)
                .unwrap();
            let now = Instant::now();
            let redis::Value::Array(streams) = answer else {
                panic!("no streams")
            };
            let [redis::Value::Array(stream)] = &streams[..] else {
                panic!("no stream")
            };
            let redis::Value::Array(entries) = &stream[1] else {
                panic!("no entries")
            };
            let redis::Value::Array(entry) = &entries[0] else {
                panic!("no entry")
            };
            let redis::Value::BulkString(position) = &entry[0] else {
                panic!("no position")
            };
            last = String::from_utf8_lossy(position).into_owned();
            tx.send(now).unwrap();
        }
    });
    let mut writer = client.get_connection().unwrap();
    let mut times = Vec::with_capacity(wakes);
    for _ in 0..wakes {
        let started = Instant::now();
        redis::cmd("XADD")
            .arg("bare")
            .arg("*")
            .arg("payload")
            .arg(PAYLOAD)
            .exec(&mut writer)
            .unwrap();
        times.push(rx.recv_timeout(LONG).unwrap() - started);
    }
    thread.join().unwrap();
    times
}

fn show(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e6;
    println!("{name:<28} {:>12.1} {:>8.1}", at(50), at(99));
}
