use crossbeam_channel::{bounded, unbounded};
use fanfeed_broker::{Broker, Event as Happened, Message, Publisher, SubscriberExt};
use fanfeed_bus::{AnyEvent, BusError, BusEvent, BusOptions, Context, Event, EventBus};
use fanfeed_bus::{Register, RemoteOptions, Undelivered};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Ordered, broker, bus, next, orders};
use crate::support::{LONG, until};

fn envelope(fields: &str) -> String {
    format!(r#"{{"fanfeed":1,"id":"1","name":"order.ordered","time":0,"origin":"them"{fields}}}"#)
}

const GOOD: &str = r#","bus":"events:","payload":{"order":7}"#;

type Is<'a> = &'a dyn Fn(&Undelivered) -> bool;

/// Waits for the next error of the bus.
fn undelivered(events: &mut fanfeed::Receiver<BusEvent>) -> (Undelivered, String) {
    loop {
        if let BusEvent::Error(error) = events.recv_timeout(LONG).unwrap()
            && let BusError::Undelivered { reason, arrived } = error.error()
        {
            assert_eq!(error.event(), "order.ordered");
            return (reason.clone(), arrived.beginning().to_owned());
        }
    }
}

#[test]
fn whatever_arrives_is_delivered_or_reported() {
    let broker = broker();
    let bus = RemoteOptions::new().max_event(1000).over(broker.clone());
    bus.register_type::<Ordered>().unwrap();
    let heard = orders(&bus);
    let mut events = bus.events();
    let malformed = |reason: &Undelivered| matches!(reason, Undelivered::Malformed(_));
    let payload = |reason: &Undelivered| matches!(reason, Undelivered::BadPayload(_));
    let cases: [(&str, Vec<u8>, Is<'_>); 14] = [
        ("empty", Vec::new(), &malformed),
        ("no JSON", b"hello".to_vec(), &malformed),
        (
            "not UTF-8",
            b"{\"fanfeed\":1,\"id\":\"\xff\"}".to_vec(),
            &malformed,
        ),
        (
            "half",
            envelope(GOOD).into_bytes()[..50].to_vec(),
            &malformed,
        ),
        ("no payload", envelope("").into(), &malformed),
        (
            "twice",
            envelope(r#","id":"2","payload":1"#).into(),
            &malformed,
        ),
        ("deep", "[".repeat(900).into(), &malformed),
        (
            "deep payload",
            envelope(&format!(
                r#","payload":{}{}"#,
                "[".repeat(400),
                "]".repeat(400)
            ))
            .into(),
            &payload,
        ),
        ("no version", br#"{"id":"1"}"#.to_vec(), &malformed),
        (
            "wrong type",
            envelope(r#","payload":{"order":"x"}"#).into(),
            &payload,
        ),
        (
            "field",
            envelope(r#","payload":{}"#).into(),
            &|reason| matches!(reason, Undelivered::BadPayload(text) if text.contains("`order`")),
        ),
        (
            "future",
            br#"{"fanfeed":2,"shape":[]}"#.to_vec(),
            &|reason| *reason == Undelivered::FutureVersion { found: 2, known: 1 },
        ),
        (
            "other bus",
            envelope(r#","bus":"x","payload":{"order":7}"#).into(),
            &|reason| matches!(reason, Undelivered::OtherBus { found, expected } if &**found == "x" && &**expected == "events:"),
        ),
        ("large", vec![b' '; 1001], &|reason| {
            *reason == Undelivered::TooLarge { limit: 1000 }
        }),
    ];
    for (what, bytes, is) in cases {
        broker
            .publish(Message::new("events:order.ordered", bytes.clone()))
            .unwrap();
        let (reason, arrived) = undelivered(&mut events);
        assert!(is(&reason), "{what}: {reason:?}");
        assert!(arrived.len() <= 256, "{what}");
        assert_eq!(arrived.is_empty(), bytes.is_empty(), "{what}");
        assert!(String::from_utf8_lossy(&bytes).starts_with(&arrived) || what == "not UTF-8");
    }
    let renamed = envelope(GOOD).replace("order.ordered", "order.other");
    broker
        .publish(Message::new("events:order.ordered", renamed))
        .unwrap();
    assert!(
        matches!(undelivered(&mut events).0, Undelivered::OtherName { found } if &*found == "order.other")
    );
    // Those that come after are delivered, with fields that this version does not know.
    let good = envelope(&format!(r#","later":[1]{GOOD}"#));
    broker
        .publish(Message::new("events:order.ordered", good))
        .unwrap();
    assert_eq!(next(&heard), 7);
    assert!(heard.try_recv().is_err());
    // Nothing that arrived stands in what is printed.
    assert!(!printed(&bus).contains("hello"));
}

/// All that the errors of a bus print.
fn printed(bus: &EventBus) -> String {
    let each = bus.errors().into_iter();
    each.map(|error| format!("{error} {error:?}\n")).collect()
}

/// Shows what it is read from where it should not.
#[derive(Serialize)]
struct Talkative(String);

impl<'de> Deserialize<'de> for Talkative {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        assert!(!text.starts_with("panic"), "{text}");
        match text.is_empty() {
            true => Ok(Self(text)),
            false => Err(D::Error::custom(format!("missing field {text}"))),
        }
    }
}

impl Event for Talkative {
    const NAME: &'static str = "order.ordered";
}

#[test]
fn what_arrived_stands_in_no_error_of_a_type_that_shows_it() {
    let broker = broker();
    let bus = EventBus::over(broker.clone());
    bus.register_type::<Talkative>().unwrap();
    let _listener = bus
        .register(|_: &Talkative, _: &Context<'_>| Ok(()))
        .unwrap();
    let mut events = bus.events();
    for text in ["panic s3cret", "s3cret", "`s3cret s3cret`"] {
        let envelope = envelope(&format!(r#","payload":"{text}""#));
        broker
            .publish(Message::new("events:order.ordered", envelope))
            .unwrap();
        let (reason, _) = undelivered(&mut events);
        assert!(matches!(reason, Undelivered::BadPayload(_)), "{reason:?}");
    }
    assert!(!printed(&bus).contains("s3cret"), "{}", printed(&bus));
}

#[test]
fn an_event_that_arrives_twice_is_delivered_once_within_the_window() {
    let broker = broker();
    let bus = RemoteOptions::new().window(2).over(broker.clone());
    bus.register_type::<Ordered>().unwrap();
    let heard = orders(&bus);
    for (id, order) in [(1, 1), (1, 2), (2, 3), (1, 4), (3, 5), (1, 6)] {
        let text = format!(
            r#"{{"fanfeed":1,"id":"{id}","name":"order.ordered","time":0,"origin":"them","payload":{{"order":{order}}}}}"#
        );
        broker
            .publish(Message::new("events:order.ordered", text))
            .unwrap();
    }
    assert_eq!([0; 4].map(|_| next(&heard)), [1, 3, 5, 6]);
}

#[test]
fn a_group_handles_an_event_that_arrives_twice_once() {
    let broker = broker();
    let bus = bus(&broker);
    let (tx, rx) = unbounded();
    let listener = move |event: &Ordered, _: &Context<'_>| Ok(tx.send(event.order)?);
    let _member = bus.listen_group("billing", listener).unwrap();
    for (id, order) in [(1, 1), (1, 2), (2, 3)] {
        let text = format!(
            r#"{{"fanfeed":1,"id":"{id}","name":"order.ordered","time":0,"origin":"them","payload":{{"order":{order}}}}}"#
        );
        broker
            .publish(Message::new("events:order.ordered", text))
            .unwrap();
    }
    assert_eq!([next(&rx), next(&rx)], [1, 3]);
}

/// Guards against memory that a fast sender fills.
#[test]
fn arrivals_for_asynchronous_listeners_are_bounded_and_the_rest_is_reported() {
    const ALL: u64 = 100;
    let broker = broker();
    let one_thread = BusOptions::new().threads(1).limit(1);
    let options = RemoteOptions::new().bus(one_thread).buffer(3);
    let listening = options.over(broker.clone());
    listening.register_type::<Ordered>().unwrap();
    let mut events = listening.events();
    let (tx, rx) = unbounded();
    let (go, gate) = bounded::<()>(0);
    let slow = move |event: &Ordered, _: &Context<'_>| {
        tx.send(event.order)?;
        let _ = gate.recv();
        Ok(())
    };
    let slow = Register::event(slow).asynchronous();
    listening.register_with(slow).unwrap().detach();
    let sending = bus(&broker);
    sending.dispatch(Ordered { order: 0 });
    next(&rx);
    for order in 1..ALL {
        sending.dispatch(Ordered { order });
    }
    until(|| listening.pending() == 3);
    until(|| broker.stats().dropped > 0);
    drop(go);
    until(|| rx.len() as u64 + broker.stats().dropped == ALL - 1);
    assert!(rx.len() <= 6, "{}", rx.len());
    let told = loop {
        if let BusEvent::Broker(Happened::Dropped { key, .. }) = events.recv_timeout(LONG).unwrap()
        {
            break key;
        }
    };
    assert_eq!(told.as_str(), "events:order.ordered");
    listening.close().unwrap();
}

#[test]
fn a_listener_of_an_arrival_dispatches_and_waits() {
    let broker = broker();
    let listening = bus(&broker);
    let (tx, rx) = unbounded();
    let inner = Register::named("inner", |_: &dyn AnyEvent, _: &Context<'_>| Ok(()));
    listening
        .register_with(inner.asynchronous())
        .unwrap()
        .detach();
    let listener = move |_: &Ordered, context: &Context<'_>| {
        let waited = context.bus().dispatch(Inner).wait();
        Ok(tx.send((waited, context.bus().wait()))?)
    };
    listening.register(listener).unwrap().detach();
    bus(&broker).dispatch(Ordered { order: 7 });
    let (dispatch, bus) = next(&rx);
    dispatch.unwrap();
    assert!(matches!(bus, Err(BusError::WouldDeadlock)), "{bus:?}");
}

struct Inner;

impl Event for Inner {
    const NAME: &'static str = "inner";
}

#[test]
fn a_name_without_a_type_is_reported_when_it_arrives() {
    let broker = broker();
    let listening = EventBus::over(broker.clone());
    let mut events = listening.events();
    let _named = listening
        .register_named("order.ordered", |_, _| Ok(()))
        .unwrap();
    bus(&broker).dispatch(Ordered { order: 7 });
    assert_eq!(undelivered(&mut events).0, Undelivered::NotRegistered);
}

#[test]
fn the_envelope_is_as_documented() {
    let broker = broker();
    let (tx, rx) = crossbeam_channel::unbounded();
    let _raw = broker
        .subscribe("events:order.ordered", move |message, _| {
            Ok(tx.send(message.clone())?)
        })
        .unwrap();
    bus(&broker).dispatch(Ordered { order: 7 });
    let message = next(&rx);
    let text = std::str::from_utf8(message.payload()).unwrap();
    assert!(text.starts_with(r#"{"fanfeed":1,"id":""#), "{text}");
    assert!(
        text.ends_with(r#","bus":"events:","payload":{"order":7}}"#),
        "{text}"
    );
    assert!(
        text.contains(&format!(r#""id":"{}""#, message.id())),
        "{text}"
    );
    assert_eq!(message.event_name(), Some("order.ordered"));
}
