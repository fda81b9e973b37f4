//! What the feature `metrics` adds, to a server and to a client.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::support::{PATIENCE, echoing, until};
use ::metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use fanfeed_sockets::{
    Client, ClientHealth, ClientPublisher, JoinOptions, Limits, Message, Request, Server,
    SlowMembers,
};

type Ask = Arc<dyn Fn(&str) + Send + Sync>;

/// What a recorder was told. Each value also calls `ask` with its name, which is code of the
/// application.
#[derive(Default)]
struct Book {
    values: Mutex<HashMap<String, Arc<AtomicU64>>>,
    described: Mutex<Vec<String>>,
    ask: Arc<OnceLock<Ask>>,
}

struct Value64 {
    name: String,
    value: Arc<AtomicU64>,
    ask: Arc<OnceLock<Ask>>,
}

impl Value64 {
    fn add(&self, by: u64) {
        self.value.fetch_add(by, Ordering::Relaxed);
        if let Some(ask) = self.ask.get() {
            ask(&self.name);
        }
    }
}

impl CounterFn for Value64 {
    fn increment(&self, by: u64) {
        self.add(by);
    }

    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Value64 {
    fn increment(&self, by: f64) {
        self.add(by as u64);
    }

    fn decrement(&self, by: f64) {
        self.add((by as u64).wrapping_neg());
    }

    fn set(&self, _: f64) {}
}

/// Counts how often it was given a value.
impl HistogramFn for Value64 {
    fn record(&self, seconds: f64) {
        assert!(seconds >= 0.0);
        self.add(1);
    }
}

impl Book {
    fn of(&self, key: &Key) -> Arc<Value64> {
        let mut values = self.values.lock().unwrap();
        let value = Arc::clone(values.entry(key.name().to_owned()).or_default());
        Arc::new(Value64 {
            name: key.name().to_owned(),
            value,
            ask: Arc::clone(&self.ask),
        })
    }

    fn get(&self, name: &str) -> u64 {
        self.values.lock().unwrap()[&format!("fanfeed_sockets_{name}")].load(Ordering::Relaxed)
    }

    fn describe(&self, name: &KeyName) {
        self.described
            .lock()
            .unwrap()
            .push(name.as_str().to_owned());
    }
}

impl Recorder for Book {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.of(key))
    }
}

/// A server that listens, whose recorder is the book.
async fn recorded(book: &Book, builder: fanfeed_sockets::ServerBuilder) -> (Server, String) {
    let server = ::metrics::with_local_recorder(book, || builder.build().unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("ws://{}", listener.local_addr().unwrap());
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener).await });
    (server, host)
}

#[tokio::test]
async fn a_recorder_learns_of_a_server_and_a_client() {
    let book = Book::default();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let pass = Arc::clone(&gate);
    let builder = echoing()
        .direct_handler("fail", |_: Request| async { Err("no".into()) })
        .direct_handler("wait", move |_: Request| {
            let pass = Arc::clone(&pass);
            async move {
                pass.acquire().await?.forget();
                Ok(None)
            }
        });
    let (server, host) = recorded(&book, builder).await;
    let client = ::metrics::with_local_recorder(&book, || {
        let listener = |request: Request| async move {
            request.bind::<u32>().map(|_| None).map_err(Into::into)
        };
        Client::builder()
            .listen("chatted", listener)
            .build()
            .unwrap()
    });
    assert_eq!(client.health(), ClientHealth::Connected);
    let room = client
        .join(&host, "room", JoinOptions::new())
        .await
        .unwrap();
    room.joined().await.unwrap();
    let message = |key: &str| Message::new(key, "", "room");
    let echo = message("echo").with_body(&1).unwrap();
    room.request(echo, PATIENCE).await.unwrap();
    for body in [1, 2] {
        room.publish(message("chat").with_body(&body).unwrap())
            .await
            .unwrap();
    }
    room.publish(message("chat").with_body(&"no number").unwrap())
        .await
        .unwrap();
    room.publish(message("fail")).await.unwrap();
    room.publish(message("nobody")).await.unwrap();
    until("all was answered", || client.stats().server_errors == 2).await;
    for _ in 0..3 {
        room.publish(message("wait")).await.unwrap();
    }
    until("two wait", || book.get("pending") == 2).await;
    assert_eq!((book.get("connections"), book.get("channels")), (1, 1));
    assert_eq!(book.get("client_connected"), 1);
    gate.add_permits(3);
    until("all is handled", || book.get("handler_seconds") == 8).await;
    let stats = client.stats();
    assert_eq!((stats.memberships, stats.connected), (1, 1));
    for (name, value, stat) in [
        ("joined_total", 1, server.stats().joined),
        ("received_total", 9, server.stats().received),
        ("published_total", 3, server.stats().published),
        ("failed_total", 1, server.stats().failed),
        ("unknown_total", 1, server.stats().unknown),
        ("client_connections_total", 1, stats.connections),
        ("client_published_total", 9, stats.published),
        ("client_received_total", 7, stats.received),
        ("client_answered_total", 1, stats.answered),
        // `join.success` has a listener of the client's own.
        ("client_delivered_total", 3, stats.delivered),
        ("client_failed_total", 1, stats.failed),
        ("client_server_errors_total", 2, stats.server_errors),
        ("client_listener_seconds", 4, 4),
    ] {
        assert_eq!((book.get(name), stat), (value, value), "{name}");
    }
    client.close().await;
    assert_eq!(client.health(), ClientHealth::Closed);
    server.shutdown(PATIENCE).await;
    until("nothing is open", || book.get("connections") == 0).await;
    for name in ["channels", "pending", "client_connected", "client_pending"] {
        assert_eq!(book.get(name), 0, "{name}");
    }
    assert_eq!(book.get("left_total"), 1);
    assert_eq!(book.get("client_disconnections_total"), 1);
    let described = book.described.lock().unwrap();
    assert_eq!(described.len(), 17 + 4 + 13 + 3, "{described:?}");
}

/// A recorder is the application's code: it may use the server wherever it is called, so no lock
/// may be held there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_may_use_the_server() {
    let policies = [
        SlowMembers::Close,
        SlowMembers::DropNewest,
        SlowMembers::DropOldest,
    ];
    for (policy, has_history) in policies
        .iter()
        .flat_map(|&policy| [(policy, false), (policy, true)])
    {
        let book = Book::default();
        let limits = Limits::default().queue_frames(2).slow_members(policy);
        let builder = echoing()
            .limits(limits)
            .channel_lifetime(Duration::from_secs(600));
        let builder = match has_history {
            true => builder.history(1),
            false => builder,
        };
        let (server, host) = recorded(&book, builder).await;
        let handle = server.clone();
        let ask = move |name: &str| {
            handle.stats();
            handle.members("room");
            handle.has_channel("room");
            handle.broadcast_direct("nobody", Message::default());
            // Into the queue that has just dropped something.
            if name.contains("slow") || name.contains("dropped") {
                handle.broadcast("room", Message::new("more", "", ""));
            }
        };
        let depth = Arc::new(AtomicU64::new(0));
        let once = Arc::clone(&depth);
        let asking: Ask = Arc::new(move |name: &str| {
            // What it asks for is counted, too.
            if once.fetch_add(1, Ordering::Relaxed) == 0 {
                ask(name);
            }
            once.fetch_sub(1, Ordering::Relaxed);
        });
        assert!(book.ask.set(asking).is_ok());
        let client = Client::builder().no_reconnect().build().unwrap();
        let worked = async {
            let room = client
                .join(&host, "room", JoinOptions::new())
                .await
                .unwrap();
            room.joined().await.unwrap();
            for _ in 0..200 {
                server.broadcast("room", Message::new("tick", "", ""));
            }
            let _ = room.publish(Message::new("chat", "", "")).await;
            room.leave().await;
            server.shutdown(PATIENCE).await;
        };
        let worked = tokio::time::timeout(PATIENCE, worked).await;
        worked.unwrap_or_else(|_| panic!("{policy:?}, history {has_history}: it hangs"));
    }
}

/// A recorder whose metrics panic.
struct Hostile;

impl CounterFn for Hostile {
    fn increment(&self, _: u64) {
        panic!("in a counter")
    }

    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Hostile {
    fn increment(&self, _: f64) {
        panic!("in a gauge")
    }

    fn decrement(&self, _: f64) {
        panic!("in a gauge")
    }

    fn set(&self, _: f64) {}
}

impl HistogramFn for Hostile {
    fn record(&self, _: f64) {
        panic!("in a histogram")
    }
}

impl Recorder for Hostile {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Self))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Self))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Self))
    }
}

#[tokio::test]
async fn a_recorder_that_panics_costs_no_message() {
    let server = ::metrics::with_local_recorder(&Hostile, || echoing().build().unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("ws://{}", listener.local_addr().unwrap());
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener).await });
    let client = ::metrics::with_local_recorder(&Hostile, || Client::builder().build().unwrap());
    let room = client
        .join(&host, "room", JoinOptions::new())
        .await
        .unwrap();
    for n in 0..3 {
        let message = Message::new("echo", "", "").with_body(&n).unwrap();
        let answer = room.request(message, PATIENCE).await.unwrap();
        assert_eq!(answer.bind::<u32>().unwrap(), n);
    }
    client.close().await;
    assert_eq!(server.shutdown(PATIENCE).await.cut, 0);
}
