//! Subscriptions that are opened while others are at work, or while the server is away, slow or
//! refuses them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::unbounded;
use fanfeed_broker::conformance::Line;
use fanfeed_broker::driver::Engine;
use fanfeed_broker::{
    Broker, Event, Message, Publisher, ReadyError, SubscribeError, SubscriberExt,
};

use super::common::eventually;
use super::fake::{self, Fake, FakeServer};
use super::{SOON, options, server};

#[test]
fn a_subscription_is_closed_though_another_one_could_not_be_opened() {
    let fake = server();
    let broker = Engine::start(fake.clone(), options()).unwrap();
    let leaving = broker.subscribe("a", |_, _| Ok(())).unwrap();
    let line = &*fake.line;
    // Both are to be there when the thread looks.
    line.stall(true);
    eventually("it stalls", || line.stalls_inbound.load(Ordering::SeqCst));
    fake.server.lose_open_once();
    leaving.cancel();
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| broker.subscribe("b", |_, _| Ok(())).unwrap());
        eventually("both are asked for", || broker.health().subscriptions == 1);
        line.stall(false);
        let opened = opening.join().unwrap();
        assert_eq!(opened.ready(SOON), Ok(()));
        eventually("it is closed", || fake.server.closed() == 1);
    });
}

#[test]
fn a_subscription_made_during_a_reconnect_becomes_live() {
    let fake = server();
    let options = options().reconnect(Duration::from_millis(5));
    let broker = Engine::start(fake.clone(), options).unwrap();
    for _ in 0..8 {
        fake.server.stop();
        eventually("the receiving side sees the loss", || {
            broker.health().inbound_fault.is_some()
        });
        let is_up = AtomicBool::new(false);
        let subscribe = || {
            let mut all = Vec::new();
            while !is_up.load(Ordering::Relaxed) && all.len() < 2000 {
                all.push(broker.subscribe("k", |_, _| Ok(())).unwrap());
            }
            for one in &all {
                assert_eq!(one.ready(SOON), Ok(()));
            }
        };
        let mut events = broker.events();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(subscribe);
            }
            fake.server.start();
            while !matches!(events.recv_timeout(SOON).unwrap(), Event::Connected) {}
            is_up.store(true, Ordering::Relaxed);
        });
    }
}

/// Guards against one slow subscription that holds up the deliveries of the others.
#[test]
fn a_subscription_that_opens_slowly_delays_no_other() {
    let fake = server();
    let broker = Arc::new(Engine::start(fake.clone(), options()).unwrap());
    let (tx, rx) = unbounded();
    let _other = broker
        .subscribe("other", move |message, _| Ok(tx.send(message.clone())?))
        .unwrap();
    let begin = |key: String| {
        eventually("the one before has ended", || {
            broker.health().subscriptions == 1
        });
        let caller = Arc::clone(&broker);
        let caller = std::thread::spawn(move || caller.subscribe(key, |_, _| Ok(())));
        eventually("it has begun", || broker.health().subscriptions == 2);
        caller
    };
    let goes_on = || {
        broker.publish(Message::new("other", "x")).unwrap();
        rx.recv_timeout(SOON).unwrap();
    };
    for key in ["live", fake::REFUSED] {
        fake.server.delay_open(true);
        let late = begin(format!("{}{key}", fake::LATE));
        goes_on();
        assert!(!late.is_finished());
        fake.server.delay_open(false);
        match late.join().unwrap() {
            Ok(late) => assert_eq!((late.ready(SOON), key), (Ok(()), "live")),
            Err(error) => assert!(matches!(error, SubscribeError::Refused(_)), "{error}"),
        }
    }

    // The connection is lost in the meantime.
    fake.server.delay_open(true);
    let late = begin(format!("{}pending", fake::LATE));
    goes_on();
    fake.server.stop();
    let late = late.join().unwrap().unwrap();
    assert_eq!(
        late.ready(Duration::from_millis(10)),
        Err(ReadyError::Timeout)
    );
    fake.server.start();
    goes_on();
    assert_eq!(
        late.ready(Duration::from_millis(10)),
        Err(ReadyError::Timeout)
    );
    fake.server.delay_open(false);
    assert_eq!(late.ready(SOON), Ok(()));
    drop(late);

    // The broker is closed in the meantime.
    fake.server.delay_open(true);
    let late = begin(format!("{}closed", fake::LATE));
    broker.close(SOON).unwrap();
    assert!(matches!(
        late.join().unwrap(),
        Err(SubscribeError::Closed) | Ok(_)
    ));
}

#[test]
fn a_subscription_that_is_refused_is_an_event_only_if_subscribe_has_returned() {
    let fake = server();
    fake.server.stop();
    let broker = Engine::start(fake.clone(), options().lazy(true)).unwrap();
    let mut events = broker.events();
    let late = broker.subscribe(fake::REFUSED, |_, _| Ok(())).unwrap();
    fake.server.start();
    let failed = loop {
        if let Event::SubscriptionFailed { key, group, error } = events.recv_timeout(SOON).unwrap()
        {
            break (key.to_string(), group, error);
        }
    };
    assert_eq!((&*failed.0, failed.1), (fake::REFUSED, None));
    assert!(failed.2.contains("nobody may read"), "{}", failed.2);
    assert!(late.is_closed());

    eventually("it is up", || broker.health().is_up());
    let refused = broker.subscribe(fake::REFUSED, |_, _| Ok(())).unwrap_err();
    assert!(matches!(refused, SubscribeError::Refused(_)), "{refused}");
    broker.close(SOON).unwrap();
    let mut rest = events.try_iter();
    assert!(!rest.any(|event| matches!(event, Event::SubscriptionFailed { .. })));
}

/// Guards against a deadlock of a caller that subscribes under a lock which the handler needs.
#[test]
fn a_subscription_that_is_answered_too_late_ends_without_waiting_for_its_handler() {
    let fake = server();
    let options = options().subscribe_timeout(Duration::from_millis(500));
    let broker = Engine::start(fake.clone(), options).unwrap();
    fake.server.hold_open(true);
    let (begun, began) = unbounded();
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let (tx, rx) = unbounded();
    let subscribing = broker.clone();
    std::thread::spawn(move || {
        let subscribed = subscribing.subscribe("k", move |_, _| {
            begun.send(())?;
            let _ = gate.recv();
            Ok(())
        });
        let _ = tx.send(subscribed.map(drop));
    });
    began.recv_timeout(SOON).unwrap();
    let subscribed = rx.recv_timeout(SOON).expect("it waits for the handler");
    assert!(matches!(subscribed, Err(SubscribeError::Timeout(_))));
    drop(go);
    fake.server.hold_open(false);
}

#[test]
fn subscriptions_that_end_while_the_server_is_away_leave_nothing_behind() {
    let fake = Fake::new(&FakeServer::started());
    let broker = Engine::start(fake.clone(), options()).unwrap();
    let known = broker.subscribe("known", |_, _| Ok(())).unwrap();
    fake.server.stop();
    eventually("the receiving side sees the loss", || {
        broker.health().inbound_fault.is_some()
    });
    for _ in 0..100 {
        drop(broker.subscribe("unknown", |_, _| Ok(())).unwrap());
    }
    drop(known);
    assert_eq!(broker.health().subscriptions, 0);
    fake.server.start();
    eventually("the one that was open is closed", || {
        fake.server.closed() > 0
    });
    let last = broker.subscribe("last", |_, _| Ok(())).unwrap();
    last.ready(SOON).unwrap();
    assert_eq!(fake.server.closed(), 1);
}
