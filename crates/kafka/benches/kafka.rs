//! The broker over Kafka beside a bare loop of `rdkafka`, on librdkafka's mock cluster in this
//! process.
//!
//! `cargo bench -p fanfeed-kafka` measures; with `-- --test` each runs once over, small.
//!
//! - *published*: messages of 100 bytes on one key until the cluster has confirmed all, an
//!   idempotent producer, acks from all;
//! - *delivered*: the same messages read from the beginning to a counting handler;
//! - *latency*: one message after another, from before it is published until it is received.
//!
//! The loop does what a careful program does: it sends headers with an identity and a time, waits
//! for the delivery reports, and reads payload and headers. The mock cluster takes the same
//! processors as the clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use fanfeed_broker::driver::EngineOptions;
use fanfeed_broker::{
    Broker, Message, MessageId, Publisher, Start, Subscribe, SubscribeOptions, Subscriber,
    SubscriberExt,
};
use fanfeed_kafka::Config;
use rdkafka::Message as _;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const LONG: Duration = Duration::from_secs(60);

/// Counts messages, and wakes the measuring thread at the last one: it takes no processor time from
/// the clients meanwhile.
struct Seen {
    count: AtomicUsize,
    enough: AtomicUsize,
    waiter: Thread,
}

impl Seen {
    /// To be waited for by this thread.
    fn new() -> Arc<Self> {
        Arc::new(Seen {
            count: AtomicUsize::new(0),
            enough: AtomicUsize::new(0),
            waiter: thread::current(),
        })
    }

    fn add(&self) {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if count == self.enough.load(Ordering::SeqCst) {
            self.waiter.unpark();
        }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn wait(&self, enough: usize) {
        self.enough.store(enough, Ordering::SeqCst);
        while self.count() < enough {
            thread::park();
        }
    }
}

#[derive(Clone)]
struct Confirmed(Arc<Seen>);

impl ClientContext for Confirmed {}

impl ProducerContext for Confirmed {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        result.as_ref().expect("it is delivered");
        self.0.add();
    }
}

struct Bare {
    servers: String,
    producer: ThreadedProducer<Confirmed>,
    confirmed: Confirmed,
}

impl Bare {
    fn new(servers: &str) -> Self {
        let confirmed = Confirmed(Seen::new());
        let producer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .create_with_context(confirmed.clone())
            .expect("a producer");
        Bare {
            servers: servers.to_owned(),
            producer,
            confirmed,
        }
    }

    fn send(&self, topic: &str, payload: &[u8]) {
        let id = MessageId::unique().to_string();
        let time = "1700000000000";
        let headers = OwnedHeaders::new_with_capacity(2)
            .insert(Header {
                key: "ff-id",
                value: Some(&id),
            })
            .insert(Header {
                key: "ff-time",
                value: Some(time),
            });
        let mut record = BaseRecord::to(topic)
            .key(topic)
            .payload(payload)
            .headers(headers);
        while let Err((error, back)) = self.producer.send(record) {
            assert_eq!(
                error.rdkafka_error_code(),
                Some(RDKafkaErrorCode::QueueFull)
            );
            record = back;
            thread::yield_now();
        }
    }

    fn wait(&self, count: usize) {
        self.confirmed.0.wait(count);
    }

    fn consumer(&self, topic: &str, offset: Offset) -> BaseConsumer {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.servers)
            .set("group.id", "bare")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "5")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, offset)
            .expect("an offset");
        consumer.assign(&list).expect("it is assigned");
        consumer
    }
}

/// Reads one message as a program would, and returns the length of its payload.
fn read(consumer: &BaseConsumer) -> Option<usize> {
    let message = consumer
        .poll(Duration::from_millis(100))?
        .expect("a record");
    let headers: usize = message.headers().map_or(0, |headers| {
        headers
            .iter()
            .map(|header| header.value.unwrap_or_default().to_vec().len())
            .sum()
    });
    Some(message.payload().unwrap_or_default().to_vec().len() + headers)
}

fn broker(servers: &str) -> impl Broker {
    let config = Config::new(servers.split(',')).property("fetch.wait.max.ms", "5");
    // As the driver has it when it is chosen by URL.
    let options = EngineOptions::new().batch(fanfeed_kafka::BATCH);
    fanfeed_kafka::connect(config, options).expect("it connects")
}

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Messages a second: published and delivered, of the loop and of the broker.
fn throughput(cluster: &BaseProducer, servers: &str, round: usize, count: usize) -> [f64; 4] {
    let payload = [7_u8; 100];
    let mock = cluster.client().mock_cluster().expect("the mock cluster");
    let (bare_topic, topic) = (format!("bare{round}"), format!("broker{round}"));
    for topic in [&bare_topic, &topic] {
        mock.create_topic(topic, 1, 1).expect("a topic");
    }

    let bare = Bare::new(servers);
    bare.send(&bare_topic, &payload);
    bare.wait(1);
    let started = Instant::now();
    for _ in 0..count {
        bare.send(&bare_topic, &payload);
    }
    bare.wait(count + 1);
    let bare_published = rate(count, started.elapsed());

    let broker = broker(servers);
    broker
        .publish_confirmed(Message::new(&*topic, payload.to_vec()), LONG)
        .expect("it is confirmed");
    let started = Instant::now();
    for _ in 0..count {
        broker
            .publish(Message::new(&*topic, payload.to_vec()))
            .expect("it is published");
    }
    broker.flush(LONG).expect("all are confirmed");
    let published = rate(count, started.elapsed());

    let consumer = bare.consumer(&bare_topic, Offset::Beginning);
    while read(&consumer).is_none() {}
    let (started, mut read_count) = (Instant::now(), 0);
    while read_count < count {
        read_count += usize::from(read(&consumer).is_some());
    }
    let bare_delivered = rate(count, started.elapsed());
    drop(consumer);

    let seen = Seen::new();
    let counting = Arc::clone(&seen);
    let handler = move |message: &Message, _: &fanfeed_broker::Context| {
        assert!(!message.payload().is_empty());
        counting.add();
        Ok(())
    };
    let options = SubscribeOptions::new().buffer(8192).start(Start::Earliest);
    let _subscription = broker
        .subscribe_with(Subscribe::new(&*topic, handler).options(options))
        .expect("it is live");
    seen.wait(1);
    let (started, first) = (Instant::now(), seen.count());
    seen.wait(count + 1);
    let delivered = rate(count + 1 - first, started.elapsed());
    [bare_published, published, bare_delivered, delivered]
}

/// The times of single messages, in µs, of the loop and of the broker.
fn latency(cluster: &BaseProducer, servers: &str, count: usize) -> [Vec<u128>; 2] {
    let mock = cluster.client().mock_cluster().expect("the mock cluster");
    for topic in ["latency-bare", "latency-broker"] {
        mock.create_topic(topic, 1, 1).expect("a topic");
    }
    let bare = Bare::new(servers);
    let consumer = bare.consumer("latency-bare", Offset::Beginning);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..count {
        let started = Instant::now();
        bare.send("latency-bare", b"x");
        while read(&consumer).is_none() {}
        times[0].push(started.elapsed().as_micros());
    }
    drop(consumer);
    let broker = broker(servers);
    let (sender, receiver) = crossbeam_channel::unbounded();
    let _subscription = broker
        .subscribe("latency-broker", move |_, _| Ok(sender.send(())?))
        .expect("it is live");
    for _ in 0..count {
        let started = Instant::now();
        broker
            .publish(Message::new("latency-broker", "x"))
            .expect("it is published");
        receiver.recv_timeout(LONG).expect("it arrives");
        times[1].push(started.elapsed().as_micros());
    }
    times.iter_mut().for_each(|times| times.sort_unstable());
    times
}

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--test");
    // The mock cluster keeps 5 MiB of a partition, which these fit.
    let (rounds, count, singles) = if smoke {
        (1, 1_000, 20)
    } else {
        (15, 20_000, 500)
    };
    let cluster: BaseProducer = ClientConfig::new()
        .set("test.mock.num.brokers", "1")
        .create()
        .expect("the mock cluster");
    let servers = cluster
        .client()
        .mock_cluster()
        .expect("the mock cluster")
        .bootstrap_servers();
    let all: Vec<[f64; 4]> = (0..rounds)
        .map(|round| throughput(&cluster, &servers, round, count))
        .collect();
    // The ratio is that of each round, because the two are measured right after each other.
    for (what, bare, broker) in [("published", 0, 1), ("delivered", 2, 3)] {
        let sorted = |value: &dyn Fn(&[f64; 4]) -> f64| {
            let mut values: Vec<f64> = all.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let median = |at: usize| sorted(&|round| round[at])[rounds / 2];
        let ratios = sorted(&|round| round[broker] / round[bare]);
        println!(
            "{what:<10} rdkafka {:>9.0}/s, broker {:>9.0}/s, ratio {:.2} ({:.2} to {:.2})",
            median(bare),
            median(broker),
            ratios[rounds / 2],
            ratios[0],
            ratios[rounds - 1],
        );
    }
    let times = latency(&cluster, &servers, singles);
    for (name, times) in ["rdkafka", "broker"].iter().zip(&times) {
        let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
        println!("latency    {name:<8} p50 {} µs, p99 {} µs", at(50), at(99));
    }
}
