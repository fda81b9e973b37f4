//! What the feature `tracing` adds.
//!
//! One test, in a program of its own: `tracing` remembers for each place in the code whether anybody listens, and what a
//! test without a listener does at the same moment could make it remember that nobody does.

use std::io;
use std::sync::{Arc, Mutex};

use fanfeed::{Feed, Overflow};

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
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line_with = |what: &str, name: &str| {
        assert!(
            text.lines()
                .any(|line| line.contains(what) && line.contains(name)),
            "no line with {what:?} and {name:?} in:\n{text}"
        );
    };
    line_with("subscription failed", "strict");
    line_with("a send was blocked", "slow");
    line_with("feed closed", "subscriptions=1");
}
