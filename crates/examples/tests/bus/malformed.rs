//! What other programs write where a bus reads, with a client of Redis and nothing else.

use fanfeed_bus::{BusError, Event, EventBus, GoEvent, Undelivered, Wire};
use fanfeed_testkit::{RedisServer, Release};

use crate::servers::{LONG, Ordered, config, error, ordered, orders, redis_cli};

#[test]
fn what_others_publish_is_delivered_or_reported() {
    let server = RedisServer::start(Release::Old);
    let bus = config(&server)
        .wire(Wire::GoEvent(GoEvent::new()))
        .max_event(500);
    let bus = EventBus::from_config(bus).unwrap();
    let heard = orders(&bus);
    let mut events = bus.events();
    let publish = |text: &str| redis_cli(&server, &["PUBLISH", "goevent:order.ordered", text]);
    publish("hello");
    let reason = error(&mut events);
    assert!(
        matches!(&reason, BusError::Undelivered { reason: Undelivered::Malformed(_), arrived }
        if arrived.beginning() == "hello" && arrived.size() == 5),
        "{reason:?}"
    );
    publish(&"x".repeat(5000));
    let reason = error(&mut events);
    assert!(
        matches!(&reason, BusError::Undelivered { reason: Undelivered::Unreadable(_), arrived }
        if arrived.beginning() == "x".repeat(256) && arrived.size() == 5000),
        "{reason:?}"
    );
    publish(
        r#"{"event_name":"other","event_type":"","event_data":{},"handle_id":"","timestamp":0}"#,
    );
    assert!(matches!(
        error(&mut events),
        BusError::Undelivered {
            reason: Undelivered::OtherName { .. },
            ..
        }
    ));
    // What goevent publishes. It limits the event alone: this envelope has more than 500 bytes.
    let go = |order: u64, note: &str| {
        let head = r#"{"event_name":"order.ordered","event_type":"order.ordered","event_data":"#;
        let tail = r#","handle_id":"8f3a61c09d2be774","timestamp":1700000000}"#;
        format!(r#"{head}{{"order":{order},"note":"{note}"}}{tail}"#)
    };
    publish(&go(7, &"x".repeat(450)));
    assert_eq!(heard.recv_timeout(LONG), Ok(7));
    publish(&go(8, &"x".repeat(500)));
    assert!(matches!(
        error(&mut events),
        BusError::Undelivered {
            reason: Undelivered::TooLarge { limit: 500 },
            ..
        }
    ));
    bus.close().unwrap();
}

/// Publishes each text on the channel of a bus, and finds the reason that it reports.
#[test]
fn envelopes_on_a_channel_that_are_wrong_are_reported_and_the_next_one_is_delivered() {
    let server = RedisServer::start(Release::Old);
    let bus = config(&server).wire(Wire::PubSub).max_event(500);
    let bus = EventBus::from_config(bus).unwrap();
    let heard = orders(&bus);
    let mut events = bus.events();
    let channel = format!("goevent:{}", Ordered::NAME);
    let envelope = |fields: &str| {
        format!(r#"{{"id":"1","name":"order.ordered","time":0,"origin":"them",{fields}}}"#)
    };
    let deep = format!(r#""fanfeed":1,"payload":{}"#, "[".repeat(200));
    let large = format!(
        r#""fanfeed":1,"payload":{{"order":1,"note":"{}"}}"#,
        "x".repeat(500)
    );
    type Check = fn(&Undelivered) -> bool;
    let cases: [(String, Check); 12] = [
        (String::new(), |of| matches!(of, Undelivered::Malformed(_))),
        ("\u{feff}{}".to_owned(), |of| {
            matches!(of, Undelivered::Malformed(_))
        }),
        ("null".to_owned(), |of| {
            matches!(of, Undelivered::Malformed(_))
        }),
        ("[]".to_owned(), |of| {
            matches!(of, Undelivered::Malformed(_))
        }),
        (envelope(&deep), |of| {
            matches!(of, Undelivered::Malformed(_))
        }),
        (envelope(r#""fanfeed":"1","payload":{}"#), |of| {
            matches!(of, Undelivered::Malformed(_))
        }),
        (envelope(r#""fanfeed":0,"payload":{}"#), |of| {
            matches!(of, Undelivered::Malformed(_))
        }),
        (envelope(r#""fanfeed":2,"body":{}"#), |of| {
            matches!(of, Undelivered::FutureVersion { found: 2, known: 1 })
        }),
        (
            envelope(r#""fanfeed":1,"bus":"other:","payload":{"order":1}"#),
            |of| matches!(of, Undelivered::OtherBus { .. }),
        ),
        (envelope(r#""fanfeed":1,"payload":{"order":-1}"#), |of| {
            matches!(of, Undelivered::BadPayload(_))
        }),
        (envelope(&large), |of| {
            // The driver counts the key too, and may be the one that refuses it.
            matches!(
                of,
                Undelivered::TooLarge { .. } | Undelivered::Unreadable(_)
            )
        }),
        (envelope(r#""fanfeed":1,"name":"x","payload":{}"#), |of| {
            matches!(of, Undelivered::Malformed(_))
        }),
    ];
    for (text, is_expected) in &cases {
        redis_cli(&server, &["PUBLISH", &channel, text]);
        let reported = error(&mut events);
        let BusError::Undelivered { reason, arrived } = &reported else {
            panic!("{text}: {reported}");
        };
        assert!(is_expected(reason), "{text}: {reported}");
        assert_eq!(arrived.size(), text.len(), "{reported}");
        let beginning: String = text.chars().take(256).collect();
        assert!(beginning.starts_with(arrived.beginning()));
        assert!(text.is_empty() || !arrived.beginning().is_empty());
    }
    redis_cli(
        &server,
        &[
            "PUBLISH",
            &channel,
            &envelope(r#""fanfeed":1,"payload":{"order":7}"#),
        ],
    );
    assert_eq!(heard.recv_timeout(LONG), Ok(7));
    bus.close().unwrap();
    assert!(heard.is_empty());
}

#[test]
fn entries_of_a_stream_that_are_no_events_are_reported_and_the_next_one_is_delivered() {
    let server = RedisServer::start(Release::Old);
    let bus = EventBus::from_config(config(&server).max_event(500)).unwrap();
    let heard = orders(&bus);
    let mut events = bus.events();
    // The stream is there once it has an entry.
    let sending = EventBus::from_config(config(&server)).unwrap();
    sending.register_type::<Ordered>().unwrap();
    sending.dispatch(ordered(1));
    assert_eq!(heard.recv_timeout(LONG), Ok(1));
    let keys = redis_cli(&server, &["--scan", "--pattern", "*order.ordered*"]);
    let stream = keys.lines().next().expect("there is the stream");
    let large = "x".repeat(5000);
    let no_time = ["payload", "hello", "time", "never"];
    for (entry, arrived) in [
        (&["a", "b", "c", "d"][..], "b d"),
        (&["payload", "hello"], "hello"),
        (&["", ""], ""),
        (&no_time, "hello"),
        (&["payload", &large], &large),
    ] {
        redis_cli(&server, &[&["XADD", stream, "*"], entry].concat());
        let reported = error(&mut events);
        assert!(
            matches!(&reported, BusError::Undelivered { arrived: of, .. }
                if of.size() == arrived.len() && of.beginning() == &arrived[..arrived.len().min(256)]),
            "{reported:?}"
        );
    }
    sending.dispatch(ordered(2));
    assert_eq!(heard.recv_timeout(LONG), Ok(2));
    sending.close().unwrap();
    bus.close().unwrap();
}
