//! A `tracing` subscriber that uses a feed.
//!
//! It is its own program, for the reason that `tracing.rs` gives.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfeed::Feed;

/// Sends on a feed whose subscriber is full, and so blocks, for each thing that is logged; and
/// counts them.
#[derive(Clone)]
struct Sends(Feed<u64>, Arc<AtomicUsize>);

impl io::Write for Sends {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let _ = self.0.send_timeout(1, Duration::from_micros(10));
        // One whose carrier is dead, which fails and is closed.
        let dead = Feed::new();
        let _failing = dead.subscribe_fn(|_: &u8| panic!("it fails"));
        dead.send(1);
        dead.close();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        panic!("nobody is to flush it");
    }
}

/// Guards against an event of the crate's own that enters the subscriber again and again.
#[test]
fn no_event_is_reported_inside_one() {
    let feed = Feed::new();
    let builder = feed.subscriber().capacity(1).warn_after(Duration::ZERO);
    let _full = builder.channel().unwrap();
    feed.send(0);
    let logged = Arc::new(AtomicUsize::new(0));
    let sends = Mutex::new(Sends(feed.clone(), Arc::clone(&logged)));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_writer(move || sends.lock().unwrap().clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        // One event while it is blocked, and one after that: unless the first came at the end.
        assert!(feed.send_timeout(1, Duration::from_millis(10)).is_err());
        let blocked = logged.load(Ordering::Relaxed);
        assert!((1..=2).contains(&blocked), "{blocked}");
        feed.close();
        assert_eq!(logged.load(Ordering::Relaxed), blocked + 1);
    });
}
