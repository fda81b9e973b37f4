//! What the features `serde` and `tracing` add.

use std::io;
use std::sync::{Arc, Mutex};

use fanfeed::{CarrierOverflow, Feed, Overflow, Stats, SubscriptionId};

#[test]
fn stats_and_options_survive_a_round_trip_through_json() {
    let feed = Feed::new();
    let receiver = feed
        .subscriber()
        .capacity(1)
        .overflow(Overflow::DropOldest)
        .channel()
        .unwrap();
    feed.send(1);
    feed.send(2);
    let stats = receiver.stats();
    let json = serde_json::to_string(&stats).unwrap();
    assert!(
        json.contains(r#""delivered":1,"dropped":1,"depth":1"#),
        "{json}"
    );
    assert_eq!(serde_json::from_str::<Stats>(&json).unwrap(), stats);

    let id = receiver.subscription().id();
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(serde_json::from_str::<SubscriptionId>(&json).unwrap(), id);

    assert_eq!(
        serde_json::to_string(&Overflow::DropOldest).unwrap(),
        r#""DropOldest""#
    );
    assert_eq!(
        serde_json::from_str::<CarrierOverflow>(r#""Disconnect""#).unwrap(),
        CarrierOverflow::Disconnect
    );
}

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
