//! Events and the logger.

use crossbeam_channel::unbounded;
use fanfeed_broker::{
    Broker, Context, HandlerError, MemoryOptions, Message, Publisher, SubscriberExt,
};

use crate::SOON;
use crate::common::{Gate, eventually, payload};

/// What ends another subscription may hold locks of its own.
#[test]
fn no_logger_runs_on_the_thread_that_cancels() {
    let (tx, rx) = unbounded();
    let broker = MemoryOptions::new()
        .logger(move |_| {
            let thread = std::thread::current();
            let _ = tx.send(thread.name().unwrap_or_default().to_owned());
        })
        .build();
    let gate = Gate::new();
    let handler = {
        let gate = gate.clone();
        move |_: &Message, _: &Context| {
            gate.pass();
            Ok(())
        }
    };
    let member = broker.subscribe_group("k", "g", handler).unwrap();
    for n in 0..3 {
        broker.publish(payload("k", n)).unwrap();
    }
    gate.wait_for_visitor();
    // The queue of a group without members is dropped, which is reported.
    let short = broker.subscribe("other", |_, _| Ok(())).unwrap();
    let joined = fanfeed::Subscription::join([member.into_subscription(), short.into()]);
    std::thread::scope(|scope| {
        scope.spawn(|| joined.unsubscribe());
        eventually("the drop is counted", || broker.stats().dropped == 2);
        gate.open();
    });
    assert_eq!(rx.recv_timeout(SOON).unwrap(), "fanfeed-log");
}

#[test]
fn the_logger_hears_of_events() {
    let (tx, rx) = unbounded();
    let broker = MemoryOptions::new()
        .logger(move |event| {
            let _ = tx.send(event.to_string());
        })
        .build();
    let _subscription = broker
        .subscribe("k", |_, _| Err(HandlerError::Reject))
        .unwrap();
    broker.publish(payload("k", 0)).unwrap();
    let line = rx.recv_timeout(SOON).unwrap();
    assert!(line.starts_with("k gave up message "), "{line}");
}

#[test]
fn a_logger_that_panics_hears_of_the_next_event() {
    let (tx, rx) = unbounded();
    let broker = MemoryOptions::new()
        .logger(move |event| {
            let _ = tx.send(event.to_string());
            panic!("a logger panics");
        })
        .build();
    let _subscription = broker
        .subscribe("k", |_, _| Err(HandlerError::Reject))
        .unwrap();
    for n in 0..2 {
        broker.publish(payload("k", n)).unwrap();
        rx.recv_timeout(SOON).unwrap();
    }
}
