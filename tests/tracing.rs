//! The feature `tracing`.
//!
//! One test, in its own program. `tracing` caches for each place in the code whether a subscriber
//! listens, and a test without a listener that runs at the same moment could make it cache that
//! none does.

use std::io;
use std::sync::{Arc, Mutex};

use fanfeed::{Feed, Overflow, RingFeed, ring};

/// What was logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_happens_off_the_fast_path_is_traced_with_the_name_of_the_subscriber() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let feed = Feed::new();
        let builder = feed.subscriber().name("strict").capacity(1);
        let _strict = builder.overflow(Overflow::Disconnect).channel().unwrap();
        feed.send(1);
        feed.send(2);
        let _slow = feed
            .subscriber()
            .name("slow")
            .capacity(1)
            .channel()
            .unwrap();
        feed.send(3);
        let timeout = std::time::Duration::from_millis(1);
        assert!(feed.send_timeout(4, timeout).is_err());
        feed.close();

        let ring = RingFeed::new(1).unwrap();
        let builder = ring.subscriber().name("laggard");
        let _laggard = builder.overflow(ring::Overflow::Disconnect).subscribe();
        for value in 0..4 {
            ring.send(value);
        }
        let _strict = ring.subscribe();
        ring.send(4);
        assert!(ring.send_timeout(5, timeout).is_err());
        ring.close();
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    // Each once, at its level and with what it tells.
    for (level, what, figure) in [
        ("WARN", "a subscription failed", "strict"),
        ("DEBUG", "a send was blocked", "slow"),
        ("DEBUG", "feed closed", "subscriptions=1"),
        ("WARN", "its reader fell behind", "laggard"),
        ("DEBUG", "ring sender waits for a reader", "seat="),
        ("DEBUG", "ring closed", "position=5"),
    ] {
        let mut lines = text.lines().filter(|line| line.contains(what));
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("no {what:?} in:\n{text}"));
        assert!(line.contains(level) && line.contains(figure), "{line}");
        assert_eq!(lines.next(), None, "told twice");
    }
}
