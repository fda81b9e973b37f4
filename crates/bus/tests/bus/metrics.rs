//! What the feature `metrics` adds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ::metrics::{
    Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use fanfeed_bus::{Context, EventBus, Register};

use crate::support::{Paid, Placed};

/// Counters, and how often each histogram was given a value.
#[derive(Default)]
struct Book {
    counts: Mutex<HashMap<String, Arc<AtomicU64>>>,
    described: AtomicU64,
}

struct Times(Arc<AtomicU64>);

impl HistogramFn for Times {
    fn record(&self, seconds: f64) {
        assert!(seconds >= 0.0);
        self.0.fetch_add(1, Ordering::Relaxed);
        // A recorder that panics loses its value.
        panic!("recorded");
    }
}

struct Number(Arc<AtomicU64>);

impl GaugeFn for Number {
    fn increment(&self, by: f64) {
        self.0.fetch_add(by as u64, Ordering::Relaxed);
    }

    fn decrement(&self, by: f64) {
        self.0.fetch_sub(by as u64, Ordering::Relaxed);
    }

    fn set(&self, _: f64) {}
}

impl Book {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let mut counts = self.counts.lock().unwrap();
        Arc::clone(counts.entry(key.name().to_owned()).or_default())
    }

    fn get(&self, name: &str) -> u64 {
        self.counts.lock().unwrap()[name].load(Ordering::Relaxed)
    }

    fn describe(&self) {
        self.described.fetch_add(1, Ordering::Relaxed);
    }
}

impl Recorder for Book {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe();
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe();
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe();
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Number(self.of(key))))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Times(self.of(key))))
    }
}

#[test]
fn dispatches_calls_and_errors_are_counted() {
    let book = Book::default();
    let bus = ::metrics::with_local_recorder(&book, EventBus::new);
    let subscriptions = [
        Register::event(|_: &Placed, _: &Context| Ok(())),
        Register::event(|event: &Placed, _: &Context| match event.0 {
            0 => Err("no".into()),
            _ => Ok(()),
        })
        .asynchronous(),
    ]
    .map(|register| bus.register_with(register).unwrap());
    for n in 0..3 {
        bus.dispatch(Placed(n)).wait().unwrap();
    }
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let blocked = Register::event(move |_: &Paid, _: &Context| {
        let _ = gate.recv();
        Ok(())
    });
    bus.register_with(blocked.asynchronous()).unwrap().detach();
    let blocked = bus.dispatch(Paid(1));
    assert_eq!(book.get("fanfeed_bus_pending"), 1);
    drop(go);
    blocked.wait().unwrap();
    bus.close().unwrap();
    assert_eq!(book.get("fanfeed_bus_dispatched_total"), 4);
    assert_eq!(book.get("fanfeed_bus_listener_seconds"), 7);
    assert_eq!(book.get("fanfeed_bus_errors_total"), 1);
    assert_eq!(book.get("fanfeed_bus_pending"), 0);
    assert_eq!(book.described.load(Ordering::Relaxed), 4);
    drop(subscriptions);
}
