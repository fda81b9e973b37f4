//! What the feature `metrics` adds: what a recorder learns of the memory driver, and of a driver
//! over the engine.

mod common;
#[allow(dead_code, reason = "the tests of the engine use the rest")]
mod fake;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use common::eventually;
use fake::{Fake, FakeServer};
use fanfeed_broker::driver::{Engine, EngineOptions};
use fanfeed_broker::{
    Broker, Context, Event, HandlerError, MemoryBroker, Message, Publisher, Subscribe,
    SubscribeOptions, Subscriber, SubscriberExt,
};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use parking_lot::Mutex;

const SOON: Duration = Duration::from_secs(10);

/// The values by name and driver, and the descriptions by name.
#[derive(Default)]
struct Book {
    counters: Mutex<HashMap<String, Arc<AtomicU64>>>,
    gauges: Mutex<HashMap<String, Arc<AtomicU64>>>,
    histograms: Mutex<HashMap<String, Arc<Values>>>,
    described: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Values(Mutex<Vec<f64>>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.lock().push(value);
    }
}

fn name(key: &Key) -> String {
    let labels: Vec<_> = key.labels().map(|label| label.value()).collect();
    format!("{} {}", key.name(), labels.join(" "))
}

impl Recorder for Book {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().push(key.as_str().to_owned());
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().push(key.as_str().to_owned());
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().push(key.as_str().to_owned());
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.counters.lock();
        Counter::from_arc(Arc::clone(counters.entry(name(key)).or_default()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut gauges = self.gauges.lock();
        Gauge::from_arc(Arc::clone(gauges.entry(name(key)).or_default()))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut histograms = self.histograms.lock();
        Histogram::from_arc(Arc::clone(histograms.entry(name(key)).or_default()))
    }
}

impl Book {
    fn count(&self, name: &str) -> u64 {
        let name = format!("fanfeed_broker_{name}");
        self.counters.lock()[&name].load(Ordering::Relaxed)
    }

    fn gauge(&self, name: &str) -> f64 {
        let name = format!("fanfeed_broker_{name}");
        f64::from_bits(self.gauges.lock()[&name].load(Ordering::Relaxed))
    }

    fn times(&self, name: &str) -> Vec<f64> {
        let name = format!("fanfeed_broker_{name}");
        self.histograms.lock()[&name].0.lock().clone()
    }
}

#[test]
fn a_recorder_learns_of_the_memory_driver() {
    let book = Book::default();
    let broker = metrics::with_local_recorder(&book, MemoryBroker::new);
    assert_eq!(book.gauge("connected memory"), 1.0);
    let options = SubscribeOptions::new().attempts(2);
    let handler = |message: &Message, _: &Context| match &message.payload()[..] {
        b"bad" => Err(HandlerError::Retry(Duration::ZERO)),
        _ => {
            std::thread::sleep(Duration::from_millis(2));
            Ok(())
        }
    };
    let request = Subscribe::new("k", handler).options(options);
    let _subscription = broker.subscribe_with(request).unwrap();
    let gate = common::Gate::new();
    let pass = gate.clone();
    let small = SubscribeOptions::new().buffer(1);
    let slow = Subscribe::new("slow", move |_: &Message, _: &Context| {
        pass.pass();
        Ok(())
    });
    let _slow = broker.subscribe_with(slow.options(small)).unwrap();
    broker.publish(Message::new("slow", "")).unwrap();
    gate.wait_for_visitor();
    for _ in 0..3 {
        broker.publish(Message::new("slow", "")).unwrap();
    }
    assert_eq!(broker.health().pending, 1);
    assert_eq!(book.gauge("pending memory"), 1.0);
    gate.open();
    for payload in ["good", "bad", "good"] {
        broker.publish(Message::new("k", payload)).unwrap();
    }
    broker.publish(Message::new("nobody", "")).unwrap();
    broker.close(SOON).unwrap();
    for (name, value) in [
        ("published_total memory", 8),
        ("unrouted_total memory", 1),
        ("dropped_total memory", 2),
        ("delivered_total memory", 4),
        ("redelivered_total memory", 1),
        ("given_up_total memory", 1),
        ("failed_total memory", 0),
        ("dead_letters_lost_total memory", 0),
        ("publish_failed_total memory", 0),
    ] {
        assert_eq!(book.count(name), value, "{name}");
    }
    let times = book.times("handler_seconds memory");
    assert_eq!(times.len(), 6, "every call is timed: {times:?}");
    assert!(times.iter().filter(|time| **time >= 0.002).count() >= 2);
    assert_eq!(book.gauge("connected memory"), 0.0);
    assert_eq!(book.described.lock().len(), 14);
}

/// A recorder whose metrics panic.
struct Hostile;

impl CounterFn for Hostile {
    fn increment(&self, _: u64) {
        panic!("in a counter")
    }

    fn absolute(&self, _: u64) {}
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
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Self))
    }
}

#[test]
fn a_recorder_that_panics_costs_no_message() {
    let broker = metrics::with_local_recorder(&Hostile, MemoryBroker::new);
    let subscription = broker.subscribe("k", |_, _| Ok(())).unwrap();
    for n in 1..4 {
        broker.publish(common::payload("k", 0)).unwrap();
        eventually("it is handled", || subscription.stats().delivered == n);
    }
    broker.close(SOON).unwrap();
}

/// A recorder that asks the broker for its health whenever something is published.
#[derive(Default)]
struct Curious(Arc<OnceLock<Weak<dyn Broker>>>);

impl CounterFn for Curious {
    fn increment(&self, _: u64) {
        let broker = self.0.get().and_then(Weak::upgrade).unwrap();
        assert!(broker.health().is_up());
    }

    fn absolute(&self, _: u64) {}
}

impl Recorder for Curious {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match key.name() {
            "fanfeed_broker_published_total" => {
                Counter::from_arc(Arc::new(Curious(Arc::clone(&self.0))))
            }
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn a_recorder_may_use_the_broker() {
    let curious = Curious::default();
    let fake = Fake::new(&FakeServer::started());
    let options = EngineOptions::new();
    let engine = metrics::with_local_recorder(&curious, || Engine::start(fake, options));
    let broker: Arc<dyn Broker> = Arc::new(engine.unwrap());
    assert!(curious.0.set(Arc::downgrade(&broker)).is_ok());
    let (done, published) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(broker.publish(common::payload("k", 0)).is_ok()));
    assert_eq!(published.recv_timeout(SOON), Ok(true));
}

#[test]
fn a_recorder_learns_of_a_driver_with_a_server() {
    let book = Book::default();
    let fake = Fake::new(&FakeServer::started());
    let options = EngineOptions::new().reconnect(Duration::from_millis(50));
    let engine = metrics::with_local_recorder(&book, || Engine::start(fake.clone(), options));
    let broker = engine.unwrap();
    let driver = broker.driver();
    let connected = format!("connected {driver}");
    assert_eq!(book.gauge(&connected), 1.0);
    let _subscription = broker.subscribe("k", |_, _| Ok(())).unwrap();
    for n in 0..5 {
        broker.publish(common::payload("k", n)).unwrap();
    }
    broker.flush(SOON).unwrap();
    eventually("all are delivered", || {
        book.count(&format!("delivered_total {driver}")) == 5
    });
    assert_eq!(book.count(&format!("published_total {driver}")), 5);
    assert_eq!(book.count(&format!("confirmed_total {driver}")), 5);
    fake.server.stop();
    eventually("the loss of the connection is seen", || {
        book.gauge(&connected) == 0.0
    });
    broker.publish(common::payload("k", 5)).unwrap();
    assert_eq!(broker.health().outbound, 1);
    assert_eq!(book.gauge(&format!("outbound {driver}")), 1.0);
    fake.server.start();
    eventually("it is back", || book.gauge(&connected) == 1.0);
    eventually("what waited is confirmed", || {
        book.count(&format!("confirmed_total {driver}")) == 6
    });
    broker.close(SOON).unwrap();
    assert_eq!(book.gauge(&connected), 0.0);
}

/// A gauge that is slow to note that the connection is up: the connection is lost meanwhile.
#[derive(Default)]
struct Slow {
    value: Mutex<Option<f64>>,
    /// The server that stops while the gauge is told of the second connection.
    server: OnceLock<Arc<FakeServer>>,
    connections: AtomicU64,
}

impl GaugeFn for Slow {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        if value == 1.0 && self.connections.fetch_add(1, Ordering::Relaxed) == 1 {
            *self.value.lock() = None;
            self.server.get().unwrap().stop();
            // Another thread must not note the loss before this note: it has some time to do so.
            let late = Instant::now() + Duration::from_millis(500);
            while self.value.lock().is_none() && Instant::now() < late {
                std::thread::yield_now();
            }
        }
        *self.value.lock() = Some(value);
    }
}

struct Lagging(Arc<Slow>);

impl Recorder for Lagging {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match key.name() {
            "fanfeed_broker_connected" => Gauge::from_arc(Arc::clone(&self.0)),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn the_last_report_of_the_connection_is_about_its_last_change() {
    let slow = Arc::new(Slow::default());
    let fake = Fake::new(&FakeServer::started());
    slow.server.get_or_init(|| Arc::clone(&fake.server));
    let options = EngineOptions::new().reconnect(Duration::from_millis(50));
    let recorder = Lagging(Arc::clone(&slow));
    let engine = metrics::with_local_recorder(&recorder, || Engine::start(fake.clone(), options));
    let broker = engine.unwrap();
    let mut events = broker.events();
    fake.server.stop();
    eventually("the loss is seen", || !broker.health().is_up());
    fake.server.start();
    let mut last = None;
    eventually("the second loss is reported last", || {
        // So that the side that publishes soon sees the loss, too. The queue may be full.
        let _ = broker.try_publish(common::payload("k", 0));
        last = events.try_iter().last().or(last.take());
        slow.connections.load(Ordering::Relaxed) == 2
            && matches!(last, Some(Event::Disconnected { .. }))
            && *slow.value.lock() == Some(0.0)
    });
    // The queue holds what the server never got.
    let _ = broker.close(Duration::ZERO);
}
