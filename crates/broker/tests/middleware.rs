//! Handlers around handlers.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{eventually, payload};
use crossbeam_channel::unbounded;
use fanfeed_broker::middleware::{DeadLetter, Deduplicate};
use fanfeed_broker::{
    Broker, Context, Event, HandlerError, MemoryBroker, MemoryOptions, Message, Publisher,
    Subscribe, Subscriber, SubscriberExt,
};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_message_is_buried_after_its_attempts_and_a_rejected_or_panicking_one_too() {
    let broker = MemoryBroker::new();
    let (tx, rx) = unbounded();
    let _dead = broker
        .subscribe("dead", move |message, _| Ok(tx.send(message.clone())?))
        .unwrap();
    let handler = |message: &Message, context: &Context| match &message.payload()[..] {
        b"0" => Err(HandlerError::Reject),
        b"1" if context.attempt() < 3 => Err(HandlerError::Retry(Duration::ZERO)),
        b"1" => panic!("a panic that the test wants"),
        _ => Ok(()),
    };
    let handler = DeadLetter::new(Arc::new(broker.clone()), "dead", 3, handler);
    let request = Subscribe::new("jobs", handler).group("workers");
    let member = broker.subscribe_with(request).unwrap();
    for n in 0..3 {
        broker
            .publish(payload("jobs", n).header("kept", "yes"))
            .unwrap();
    }
    for (n, attempts) in [("0", "1"), ("1", "3")] {
        let dead = rx.recv_timeout(SOON).unwrap();
        assert_eq!(dead.payload(), n);
        assert_eq!(dead.headers().get("fanfeed-dead-attempts"), Some(attempts));
        assert_eq!(dead.headers().get("fanfeed-dead-key"), Some("jobs"));
        assert_eq!(dead.headers().get("fanfeed-dead-group"), Some("workers"));
        assert_eq!(dead.headers().get("kept"), Some("yes"));
    }
    eventually("all count as handled", || member.stats().delivered == 3);
}

#[test]
fn a_copy_that_would_be_too_large_is_cut_or_given_up() {
    const LIMIT: usize = 8 << 10;
    let broker = MemoryOptions::new().largest_message(LIMIT).build();
    let mut events = broker.events();
    let (tx, rx) = unbounded();
    let _dead = broker
        .subscribe("dead", move |message, _| Ok(tx.send(message.clone())?))
        .unwrap();
    let text = "\u{e9}".repeat(LIMIT);
    let handler = move |_: &Message, _: &Context| Err(HandlerError::failed(text.clone()));
    let handler = DeadLetter::new(Arc::new(broker.clone()), "dead", 1, handler);
    let request = Subscribe::new("jobs", handler);
    let _jobs = broker.subscribe_with(request).unwrap();
    // The text of the error is cut.
    let small = Message::new("jobs", "x").header("kept", "yes");
    broker.publish(small).unwrap();
    let dead = rx.recv_timeout(SOON).unwrap();
    let error = dead.headers().get("fanfeed-dead-error").unwrap();
    assert!(error.len() <= 1024 && error.starts_with('\u{e9}'));
    assert_eq!(dead.headers().get("kept"), Some("yes"));
    // The headers of the message are left out.
    let half = Message::new("jobs", "y").header("long", "h".repeat(LIMIT - 20));
    broker.publish(half).unwrap();
    let dead = rx.recv_timeout(SOON).unwrap();
    assert_eq!(dead.payload(), "y");
    assert_eq!(dead.headers().get("long"), None);
    // Nothing can be left out: it is given up at once, and not tried ten times.
    let large = Message::new("jobs", vec![0; LIMIT - 10]);
    let id = large.id().clone();
    broker.publish(large).unwrap();
    eventually("it is given up", || {
        let mut given_up = events.try_iter();
        given_up.any(|event| matches!(event, Event::GaveUp { id: of, attempts: 1, .. } if of == id))
    });
}

#[test]
fn a_message_that_was_handled_is_passed_over_and_one_that_failed_is_not() {
    let broker = MemoryBroker::new();
    let count = Arc::new(AtomicUsize::new(0));
    let handler = {
        let count = Arc::clone(&count);
        move |_: &Message, _: &Context| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Err(HandlerError::Retry(Duration::ZERO)),
            _ => Ok(()),
        }
    };
    // Two identities are remembered.
    let handler = Deduplicate::new(2, SOON, handler);
    let subscription = broker.subscribe_with(Subscribe::new("k", handler)).unwrap();
    for id in ["a", "a", "b", "a", "c", "a"] {
        broker.publish(payload("k", 0).with_id(id)).unwrap();
    }
    eventually("all are delivered", || subscription.stats().delivered == 6);
    // a twice because it failed, b, c, and a again, which two others have pushed out.
    assert_eq!(count.load(Ordering::SeqCst), 5);
}
