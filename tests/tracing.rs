//! The feature `tracing`.
//!
//! One test, in its own program. `tracing` caches for each place in the code whether a subscriber
//! listens, and a test without a listener that runs at the same moment could make it cache that
//! none does.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

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

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits until this was logged.
    fn tells(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.text().contains(what) {
            assert!(
                Instant::now() < deadline,
                "no {what:?} in:\n{}",
                self.text()
            );
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Sends on a thread of its own that logs there, too.
fn logging<R: Send + 'static>(send: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    thread::spawn(move || tracing::dispatcher::with_default(&dispatch, send))
}

/// A send that is polled once, and dropped after the threshold.
#[cfg(feature = "async")]
fn a_task_reports_when_it_gives_up(feed: &Feed<i32>, threshold: Duration) {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    let builder = feed.subscriber().name("idle").capacity(1);
    let idle = builder.warn_after(threshold).channel().unwrap();
    feed.send(0);
    let mut context = Context::from_waker(Waker::noop());
    let mut send = pin!(feed.send_async(1));
    assert!(send.as_mut().poll(&mut context).is_pending());
    while idle.stats().blocked_now < Some(threshold) {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_happens_off_the_fast_path_is_traced_with_the_name_of_the_subscriber() {
    let start = Instant::now();
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
        let threshold = Duration::from_millis(20);
        let builder = feed.subscriber().name("slow").capacity(1);
        let mut slow = builder.warn_after(threshold).channel().unwrap();
        feed.send(3);
        let sender = logging({
            let feed = feed.clone();
            move || feed.send(5)
        });
        log.tells("a send is blocked by a full subscriber");
        // Others that wait for the same subscriber say no more of it; those that end are counted.
        for _ in 0..3 {
            assert!(feed.send_timeout(6, 2 * threshold).is_err());
        }
        assert_eq!(slow.recv(), Ok(3));
        assert_eq!(sender.join().unwrap(), 1);
        drop(slow);
        #[cfg(feature = "async")]
        a_task_reports_when_it_gives_up(&feed, threshold);
        let _last = feed.channel(1).unwrap();
        feed.close();

        let ring = RingFeed::builder(1).warn_after(threshold).build().unwrap();
        let builder = ring.subscriber().name("laggard");
        let _laggard = builder.overflow(ring::Overflow::Disconnect).subscribe();
        for value in 0..4 {
            ring.send(value);
        }
        let mut strict = ring.subscriber().name("holder").subscribe();
        ring.send(4);
        let sender = logging({
            let ring = ring.clone();
            move || ring.send(5)
        });
        log.tells("a send is blocked by a reader of a full ring");
        assert!(ring.send_timeout(6, 2 * threshold).is_err());
        assert_eq!(strict.recv(), Ok(4));
        assert_eq!(sender.join().unwrap(), 5);
        ring.close();
    });
    let text = log.text();
    // Each once, at its level and with what it tells.
    for (level, what, figure) in [
        ("WARN", "a subscription failed", "strict"),
        ("DEBUG", "feed closed", "subscriptions=1"),
        ("WARN", "its reader fell behind", "laggard"),
        ("DEBUG", "ring closed", "position=6"),
    ] {
        let mut lines = text.lines().filter(|line| line.contains(what));
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("no {what:?} in:\n{text}"));
        assert!(line.contains(level) && line.contains(figure), "{line}");
        assert_eq!(lines.next(), None, "told twice");
    }
    // Once, and once more at the end; more often only if the test takes seconds.
    for (what, figure) in [
        ("blocked by a full subscriber", "slow"),
        ("blocked by a reader of a full ring", "holder"),
    ] {
        let is_told = |line: &&str| line.contains(what) && line.contains(figure);
        let lines: Vec<_> = text.lines().filter(is_told).collect();
        assert!(lines.iter().all(|line| line.contains("WARN")), "{text}");
        assert!(lines[0].contains("a send is blocked") && lines[0].contains("suppressed=0"));
        assert!(lines.iter().any(|line| line.contains("a send was blocked")));
        assert!(
            lines.len() as u64 <= 2 + 2 * start.elapsed().as_secs(),
            "{text}"
        );
    }
    if cfg!(feature = "async") {
        let is_told = |line: &&str| line.contains("a send was blocked") && line.contains("idle");
        let lines: Vec<_> = text.lines().filter(is_told).collect();
        assert!(
            lines.len() == 1 && lines[0].contains("served=false"),
            "{text}"
        );
    }
}
