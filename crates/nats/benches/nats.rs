//! The driver beside the bare client library, in one run: messages a second published and
//! delivered, and the time from publishing to the handler.
//!
//! `cargo bench -p fanfeed-nats` starts a server on a free port, and prints the medians of
//! interleaved rounds. `-- --test` is a short run that shows that it works, and so is `cargo test`.
//! `-- --old` takes Debian's server instead of the one from PyPI.
//!
//! Both sides carry the same payload of 64 bytes on one subject. The bare client has a runtime of
//! two threads, sends without headers, and flushes at the end; `+headers` is the bare client with
//! an identity and a time in headers, and `lean` is the driver without them. With JetStream the
//! bare client sends all messages of a window before it waits for their acknowledgements, as the
//! driver does with its batches. Further arguments choose rows by a part of their names.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, Message as NatsMessage, Subscriber};
use bytes::Bytes;
use fanfeed_broker::driver::Engine;
use fanfeed_broker::driver::EngineOptions;
use fanfeed_broker::{Broker, Message, Publisher, Subscribe, SubscribeOptions, Subscriber as _};
use fanfeed_nats::{Config, Mode};
use fanfeed_testkit::{NatsServer, Release};
use futures_core::Stream;
use tokio::runtime::Runtime;

const PAYLOAD: Bytes = Bytes::from_static(&[b'x'; 64]);
const WINDOW: usize = fanfeed_nats::BATCH;
const LONG: Duration = Duration::from_secs(60);

fn main() {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let release = match has("--old") {
        true => Release::Old,
        false => Release::New,
    };
    let (rounds, messages, pings) = match has("--bench") && !has("--test") {
        false => (1, 2_000, 100),
        true => (5, 50_000, 2_000),
    };
    let bench = Bench {
        server: NatsServer::builder(release).jetstream().start(),
        runtime: tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap(),
        keys: AtomicUsize::new(0),
        lean: AtomicBool::new(false),
    };
    println!(
        "{release:?} server, {messages} messages of 64 bytes, median of {rounds}, messages a second"
    );
    println!(
        "{:>22} {:>10} {:>10} {:>10} {:>8} {:>10} {:>10} {:>8}",
        "", "bare", "+headers", "driver", "/ bare", "/ +headers", "lean", "/ bare"
    );
    for (name, bare, driver) in [
        (
            "core publish",
            Bench::bare_publish as Bare,
            Bench::publish as Driver,
        ),
        ("core deliver", Bench::bare_deliver, Bench::deliver),
        (
            "jetstream publish",
            Bench::bare_stream_publish,
            Bench::stream_publish,
        ),
        (
            "jetstream deliver",
            Bench::bare_stream_deliver,
            Bench::stream_deliver,
        ),
    ] {
        if !is_wanted(name) {
            continue;
        }
        let mut times = [const { Vec::new() }; 4];
        for _ in 0..rounds {
            times[0].push(bare(&bench, messages, false));
            times[1].push(bare(&bench, messages, true));
            bench.lean.store(false, Ordering::Relaxed);
            times[2].push(driver(&bench, messages));
            bench.lean.store(true, Ordering::Relaxed);
            times[3].push(driver(&bench, messages));
        }
        let rates = times.map(|times| messages as f64 / median(times).as_secs_f64());
        println!(
            "{name:>22} {:>10.0} {:>10.0} {:>10.0} {:>8.2} {:>10.2} {:>10.0} {:>8.2}",
            rates[0],
            rates[1],
            rates[2],
            rates[2] / rates[0],
            rates[2] / rates[1],
            rates[3],
            rates[3] / rates[0]
        );
    }
    if !is_wanted("latency") {
        return;
    }
    bench.lean.store(false, Ordering::Relaxed);
    println!(
        "\n{:>22} {:>12} {:>12}   µs from publishing to the handler",
        "", "p50", "p99"
    );
    for (name, times) in [
        ("core bare", bench.bare_latency(pings)),
        ("core driver", bench.latency(Mode::Core, pings)),
        ("jetstream driver", bench.latency(Mode::JetStream, pings)),
    ] {
        let [half, most] = [50, 99].map(|percent| times[times.len() * percent / 100]);
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        println!("{name:>22} {:>12.0} {:>12.0}", micros(half), micros(most));
    }
}

/// Whether the arguments choose it: a part of its name does, and without any all are chosen.
fn is_wanted(name: &str) -> bool {
    let mut wanted = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .peekable();
    wanted.peek().is_none() || wanted.any(|part| name.contains(&part))
}

type Bare = fn(&Bench, usize, bool) -> Duration;
type Driver = fn(&Bench, usize) -> Duration;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

struct Bench {
    server: NatsServer,
    runtime: Runtime,
    keys: AtomicUsize,
    /// Whether the driver leaves out what nobody chose.
    lean: AtomicBool,
}

impl Bench {
    /// A key that nobody else uses.
    fn key(&self) -> String {
        format!("bench.{}", self.keys.fetch_add(1, Ordering::Relaxed))
    }

    fn client(&self) -> Client {
        // Its own default is 65,536 messages, beyond which it drops.
        let options = async_nats::ConnectOptions::new().subscription_capacity(1 << 20);
        self.runtime
            .block_on(options.connect(self.server.url()))
            .unwrap()
    }

    fn broker(&self, mode: Mode) -> Engine {
        let config: Config = self.server.url().parse().unwrap();
        // As the driver has it when it is chosen by URL.
        let options = EngineOptions::new().batch(fanfeed_nats::BATCH);
        let config = config.mode(mode).lean(self.lean.load(Ordering::Relaxed));
        fanfeed_nats::connect(config, options).unwrap()
    }

    fn bare_publish(&self, messages: usize, with_headers: bool) -> Duration {
        let (client, subject) = (self.client(), self.key());
        self.runtime.block_on(async {
            let started = Instant::now();
            for _ in 0..messages {
                send(&client, &subject, None, with_headers).await;
            }
            // The echo of a request, because a flush proves nothing.
            let mut echo = client.subscribe("echo").await.unwrap();
            client.publish("echo", PAYLOAD).await.unwrap();
            next(&mut echo).await;
            started.elapsed()
        })
    }

    fn publish(&self, messages: usize) -> Duration {
        self.publish_with(Mode::Core, messages)
    }

    fn publish_with(&self, mode: Mode, messages: usize) -> Duration {
        let (broker, key) = (self.broker(mode), self.key());
        let started = Instant::now();
        for _ in 0..messages {
            broker.publish(Message::new(&*key, PAYLOAD)).unwrap();
        }
        broker.flush(LONG).unwrap();
        let took = started.elapsed();
        broker.close(LONG).unwrap();
        took
    }

    fn bare_deliver(&self, messages: usize, with_headers: bool) -> Duration {
        let (writer, reader, subject) = (self.client(), self.client(), self.key());
        self.runtime.block_on(async {
            let mut subscriber = reader.subscribe(subject.clone()).await.unwrap();
            // So that the server has it.
            writer.publish(subject.clone(), PAYLOAD).await.unwrap();
            while tokio::time::timeout(Duration::from_millis(20), next(&mut subscriber))
                .await
                .is_err()
            {
                writer.publish(subject.clone(), PAYLOAD).await.unwrap();
            }
            let started = Instant::now();
            let sending = tokio::spawn(async move {
                for _ in 0..messages {
                    send(&writer, &subject, None, with_headers).await;
                }
                writer.flush().await.unwrap();
                writer
            });
            for _ in 0..messages {
                next(&mut subscriber).await;
            }
            let took = started.elapsed();
            drop(sending.await);
            took
        })
    }

    fn deliver(&self, messages: usize) -> Duration {
        self.deliver_with(Mode::Core, messages)
    }

    fn deliver_with(&self, mode: Mode, messages: usize) -> Duration {
        let (writer, reader, key) = (self.broker(mode), self.broker(mode), self.key());
        let (done, all) = crossbeam_channel::bounded(1);
        let count = AtomicUsize::new(0);
        let handler = move |_: &Message, _: &fanfeed_broker::Context| {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == messages {
                done.send(())?;
            }
            Ok(())
        };
        let options = SubscribeOptions::new().buffer(messages);
        let request = Subscribe::new(&*key, handler).options(options);
        let subscription = reader.subscribe_with(request).unwrap();
        let started = Instant::now();
        for _ in 0..messages {
            writer.publish(Message::new(&*key, PAYLOAD)).unwrap();
        }
        all.recv_timeout(LONG).unwrap();
        let took = started.elapsed();
        drop(subscription);
        writer.close(LONG).unwrap();
        reader.close(LONG).unwrap();
        took
    }

    /// Makes the stream, which is the driver's.
    fn make_stream(&self) {
        self.broker(Mode::JetStream).close(LONG).unwrap();
    }

    fn bare_stream_publish(&self, messages: usize, with_headers: bool) -> Duration {
        self.make_stream();
        let (client, subject) = (self.client(), format!("fanfeed.k.{}", self.key()));
        self.runtime.block_on(async {
            let started = Instant::now();
            stream_publish(&client, &subject, messages, with_headers).await;
            started.elapsed()
        })
    }

    fn stream_publish(&self, messages: usize) -> Duration {
        self.publish_with(Mode::JetStream, messages)
    }

    fn bare_stream_deliver(&self, messages: usize, with_headers: bool) -> Duration {
        self.make_stream();
        let key = self.key();
        let (writer, reader, subject) = (self.client(), self.client(), format!("fanfeed.k.{key}"));
        self.runtime.block_on(async {
            let name = key.replace('.', "-");
            let create = format!("$JS.API.CONSUMER.CREATE.fanfeed.{name}.{subject}");
            let body = format!(
                "{{\"stream_name\":\"fanfeed\",\"config\":{{\"name\":\"{name}\",\"filter_subject\":\"{subject}\",\
                 \"deliver_policy\":\"new\",\"ack_policy\":\"none\",\"mem_storage\":true,\"inactive_threshold\":60000000000}}}}"
            );
            let made = reader.request(create, body.into()).await.unwrap();
            assert!(!String::from_utf8_lossy(&made.payload).contains("error"));
            let inbox = reader.new_inbox();
            let mut subscriber = reader.subscribe(inbox.clone()).await.unwrap();
            let ask = format!("$JS.API.CONSUMER.MSG.NEXT.fanfeed.{name}");
            let request = Bytes::from(format!("{{\"batch\":{messages},\"expires\":60000000000}}"));
            reader.publish_with_reply(ask, inbox, request).await.unwrap();
            reader.flush().await.unwrap();
            let started = Instant::now();
            let sending = tokio::spawn(async move {
                stream_publish(&writer, &subject, messages, with_headers).await;
            });
            for _ in 0..messages {
                let message = next(&mut subscriber).await;
                assert!(message.status.is_none(), "{message:?}");
            }
            let took = started.elapsed();
            sending.await.unwrap();
            took
        })
    }

    fn stream_deliver(&self, messages: usize) -> Duration {
        self.deliver_with(Mode::JetStream, messages)
    }

    fn bare_latency(&self, pings: usize) -> Vec<Duration> {
        let (writer, reader, subject) = (self.client(), self.client(), self.key());
        self.runtime.block_on(async {
            let mut subscriber = reader.subscribe(subject.clone()).await.unwrap();
            reader.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut times = Vec::new();
            for _ in 0..pings {
                let started = Instant::now();
                writer.publish(subject.clone(), PAYLOAD).await.unwrap();
                next(&mut subscriber).await;
                times.push(started.elapsed());
            }
            times.sort();
            times
        })
    }

    fn latency(&self, mode: Mode, pings: usize) -> Vec<Duration> {
        let (writer, reader, key) = (self.broker(mode), self.broker(mode), self.key());
        let (came, next) = crossbeam_channel::bounded(1);
        let handler =
            move |_: &Message, _: &fanfeed_broker::Context| Ok(came.send(Instant::now())?);
        let _subscription = reader
            .subscribe_with(Subscribe::new(&*key, handler))
            .unwrap();
        let mut times = Vec::new();
        for _ in 0..pings {
            let started = Instant::now();
            writer.publish(Message::new(&*key, PAYLOAD)).unwrap();
            times.push(next.recv_timeout(LONG).unwrap() - started);
        }
        times.sort();
        times
    }
}

async fn next(subscriber: &mut Subscriber) -> NatsMessage {
    let next =
        std::future::poll_fn(|context| std::pin::Pin::new(&mut *subscriber).poll_next(context));
    next.await.unwrap()
}

/// The headers that the driver writes.
fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Fanfeed-Time", "1700000000000");
    headers.insert(
        "Nats-Msg-Id",
        fanfeed_broker::MessageId::unique().to_string() + "@fanfeed.k.bench",
    );

    headers
}

async fn send(client: &Client, subject: &str, reply: Option<String>, with_headers: bool) {
    let subject = subject.to_owned();
    let sent = match (reply, with_headers) {
        (None, false) => client.publish(subject, PAYLOAD).await,
        (None, true) => {
            client
                .publish_with_headers(subject, headers(), PAYLOAD)
                .await
        }
        (Some(reply), false) => client.publish_with_reply(subject, reply, PAYLOAD).await,
        (Some(reply), true) => {
            client
                .publish_with_reply_and_headers(subject, reply, headers(), PAYLOAD)
                .await
        }
    };
    sent.unwrap();
}

async fn stream_publish(client: &Client, subject: &str, messages: usize, with_headers: bool) {
    let inbox = client.new_inbox();
    let mut acknowledgements = client.subscribe(format!("{inbox}.*")).await.unwrap();
    let mut sent = 0;
    while sent < messages {
        let window = WINDOW.min(messages - sent);
        for number in sent..sent + window {
            send(
                client,
                subject,
                Some(format!("{inbox}.{number}")),
                with_headers,
            )
            .await;
        }
        for _ in 0..window {
            let answer = next(&mut acknowledgements).await;
            assert!(answer.payload.starts_with(b"{\"stream\""), "{answer:?}");
        }
        sent += window;
    }
}
