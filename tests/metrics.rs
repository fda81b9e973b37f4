//! The feature `metrics`.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{Feed, MetricsExporter, Overflow, RingFeed, ring};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// The values by name and labels, and the units by name.
#[derive(Default)]
struct Book {
    /// Panics once, when this gauge is asked for.
    broken: Mutex<Option<&'static str>>,
    values: Mutex<HashMap<String, Arc<AtomicU64>>>,
    units: Mutex<HashMap<String, Unit>>,
}

impl Book {
    fn value(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()));
        let name = format!("{} {}", key.name(), labels.collect::<Vec<_>>().join(" "));
        Arc::clone(self.values.lock().unwrap().entry(name).or_default())
    }

    fn describe(&self, key: &KeyName, unit: Option<Unit>) {
        let name = key.as_str().to_owned();
        self.units.lock().unwrap().insert(name, unit.unwrap());
    }

    /// The value of a counter.
    fn count(&self, name: &str) -> u64 {
        let values = self.values.lock().unwrap();
        let value = values
            .get(name)
            .unwrap_or_else(|| panic!("{name} in {:?}", values.keys()));
        value.load(Ordering::Relaxed)
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.count(name))
    }
}

impl Recorder for Book {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let broken = self
            .broken
            .lock()
            .unwrap()
            .take_if(|gauge| *gauge == key.name());
        assert_eq!(broken, None, "the recorder is broken");
        Gauge::from_arc(self.value(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn the_figures_of_a_feed_are_exported_by_the_names_of_its_subscribers() {
    let book = Book::default();
    metrics::with_local_recorder(&book, || {
        let feed = Feed::new();
        let mut exporter = MetricsExporter::new("prices");
        assert_eq!(book.units.lock().unwrap().len(), 8);
        let named = |name| feed.subscriber().name(name).capacity(4);
        let audit = named("audit").channel().unwrap();
        let latest = named("latest").capacity(1).overflow(Overflow::DropOldest);
        let _latest = latest.channel().unwrap();
        let _closures = [feed.subscribe_fn(|_| {}), feed.subscribe_fn(|_| {})];
        for value in 0..3 {
            feed.send(value);
        }
        exporter.export_feed(&feed);
        let of =
            |metric: &str, name: &str| format!("fanfeed_{metric} feed=prices subscriber={name}");
        assert_eq!(book.gauge("fanfeed_subscribers feed=prices"), 4.0);
        assert_eq!(book.count(&of("delivered_total", "audit")), 3);
        // Two of one name, or without one, are added up.
        assert_eq!(book.count(&of("delivered_total", "unnamed")), 6);
        assert_eq!(book.count(&of("dropped_total", "latest")), 2);
        assert_eq!(book.gauge(&of("depth", "audit")), 3.0);
        assert_eq!(book.gauge(&of("capacity", "audit")), 4.0);
        let closures_have = |name: &str| {
            book.values
                .lock()
                .unwrap()
                .contains_key(&of(name, "unnamed"))
        };
        assert!(!closures_have("depth") && !closures_have("capacity"));

        // What was exported is not exported again. A second one of the name continues the counter.
        exporter.export_feed(&feed);
        assert_eq!(book.count(&of("delivered_total", "audit")), 3);
        drop(audit);
        let audit = named("audit").channel().unwrap();
        feed.send(3);
        exporter.export_feed(&feed);
        assert_eq!(book.count(&of("delivered_total", "audit")), 4);

        // The gauges of a name that is gone are 0.
        drop(audit);
        exporter.export_feed(&feed);
        assert_eq!(book.gauge(&of("depth", "audit")), 0.0);
        assert_eq!(book.gauge(&of("capacity", "audit")), 0.0);
        assert_eq!(book.gauge("fanfeed_subscribers feed=prices"), 3.0);
    });
}

/// Calls a function when it is dropped.
struct Probe(Box<dyn Fn() + Send + Sync>);

impl Drop for Probe {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_value_is_exported_once_although_figures_fall_while_it_is_pushed_out() {
    let book = Book::default();
    metrics::with_local_recorder(&book, || {
        let feed = Feed::new();
        let builder = feed.subscriber().name("latest").capacity(1);
        let latest = builder.overflow(Overflow::DropOldest).channel().unwrap();
        let exporter = Arc::new(Mutex::new(MetricsExporter::new("prices")));
        let weak = feed.downgrade();
        for _ in 0..10 {
            let (weak, inner) = (weak.clone(), Arc::clone(&exporter));
            // The next send pushes it out.
            feed.send(Arc::new(Probe(Box::new(move || {
                if let Some(feed) = weak.upgrade() {
                    inner.lock().unwrap().export_feed(&feed);
                }
            }))));
            exporter.lock().unwrap().export_feed(&feed);
        }
        let of = |metric: &str| format!("fanfeed_{metric} feed=prices subscriber=latest");
        assert_eq!(latest.stats().delivered, 1);
        assert_eq!(book.count(&of("delivered_total")), 1);
        assert_eq!(book.count(&of("dropped_total")), 9);
    });
}

#[test]
fn a_gauge_is_zero_once_its_figure_is_no_longer_known() {
    let book = Book::default();
    metrics::with_local_recorder(&book, || {
        let feed = Feed::new();
        let mut exporter = MetricsExporter::new("prices");
        let channel = feed.subscriber().name("audit").capacity(4).channel();
        let closure = feed.subscriber().name("log").subscribe_fn(|_| {});
        feed.send(1);
        exporter.export_feed(&feed);
        drop((channel, closure));
        let _closure = feed.subscriber().name("audit").subscribe_fn(|_| {});
        exporter.export_feed(&feed);
        let of =
            |metric: &str, name: &str| format!("fanfeed_{metric} feed=prices subscriber={name}");
        assert_eq!(book.gauge(&of("depth", "audit")), 0.0);
        assert_eq!(book.gauge(&of("capacity", "audit")), 0.0);
        // It never had a depth.
        assert!(
            !book
                .values
                .lock()
                .unwrap()
                .contains_key(&of("depth", "log"))
        );
    });
}

#[test]
fn a_send_that_is_blocked_is_exported_while_it_lasts() {
    let book = Book::default();
    metrics::with_local_recorder(&book, || {
        let ring = RingFeed::new(2).unwrap();
        let handle = ring.handle();
        let builder = handle.subscriber().name("slow");
        let mut slow = builder.overflow(ring::Overflow::Block).subscribe();
        let mut exporter = MetricsExporter::new("quotes");
        ring.send_batch([1, 2]);
        exporter.export_ring(&handle);
        let of = |metric: &str| format!("fanfeed_{metric} feed=quotes subscriber=slow");
        assert_eq!(book.gauge(&of("depth")), 2.0);
        assert_eq!(book.gauge(&of("capacity")), 2.0);
        assert_eq!(book.gauge(&of("blocked_now_seconds")), 0.0);
        let sender = thread::spawn(move || ring.send(3));
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut last = 0;
        loop {
            exporter.export_ring(&handle);
            let total = book.count(&of("blocked_milliseconds_total"));
            assert!(total >= last);
            last = total;
            if total >= 5 && book.gauge(&of("blocked_now_seconds")) >= 0.005 {
                break;
            }
            assert!(Instant::now() < deadline, "{total}");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(book.count(&of("blocked_sends_total")), 1);
        slow.recv().unwrap();
        sender.join().unwrap();
        drop(slow);
        exporter.export_ring(&handle);
        assert_eq!(book.gauge(&of("blocked_now_seconds")), 0.0);
        assert_eq!(book.gauge("fanfeed_subscribers feed=quotes"), 0.0);
    });
}

/// Guards against values that are exported twice because the recorder panicked after it had taken
/// them.
#[test]
fn a_recorder_that_panics_gets_no_value_twice() {
    let book = Book::default();
    metrics::with_local_recorder(&book, || {
        let feed = Feed::new();
        let _kept = feed.subscriber().name("kept").channel().unwrap();
        feed.send(1);
        let mut exporter = MetricsExporter::new("quotes");
        *book.broken.lock().unwrap() = Some("fanfeed_depth");
        let broken = catch_unwind(AssertUnwindSafe(|| exporter.export_feed(&feed)));
        assert!(broken.is_err());
        feed.send(2);
        exporter.export_feed(&feed);
    });
    assert_eq!(
        book.count("fanfeed_delivered_total feed=quotes subscriber=kept"),
        2
    );
}
