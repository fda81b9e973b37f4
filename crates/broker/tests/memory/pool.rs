//! The pool of threads, when handlers block.

use crossbeam_channel::unbounded;
use fanfeed_broker::{Broker, Event, MemoryOptions, PoolOptions, Publisher, SubscriberExt};

use crate::SOON;
use crate::common::{Gate, eventually, payload};

#[test]
fn a_pools_worth_of_blocked_handlers_delays_nobody() {
    let broker = MemoryOptions::new()
        .pool(PoolOptions::new().threads(2).limit(64))
        .build();
    let gate = Gate::new();
    let blocked: Vec<_> = (0..40)
        .map(|n| {
            let gate = gate.clone();
            broker
                .subscribe(format!("blocked.{n}"), move |_, _| {
                    gate.pass();
                    Ok(())
                })
                .unwrap()
        })
        .collect();
    for n in 0..40 {
        broker.publish(payload(&format!("blocked.{n}"), n)).unwrap();
    }
    let (tx, rx) = unbounded();
    let _free = broker
        .subscribe("free", move |message, _| Ok(tx.send(message.clone())?))
        .unwrap();
    broker.publish(payload("free", 0)).unwrap();
    rx.recv_timeout(SOON).unwrap();
    assert!(broker.health().threads <= 64);
    gate.open();
    eventually("the blocked ones go on", || {
        blocked.iter().all(|one| one.stats().delivered == 1)
    });
}

#[test]
fn a_pool_at_its_limit_says_so() {
    let broker = MemoryOptions::new()
        .pool(PoolOptions::new().threads(1).limit(2))
        .build();
    let mut events = broker.events();
    let gate = Gate::new();
    let subscriptions: Vec<_> = (0..3)
        .map(|_| {
            let gate = gate.clone();
            broker
                .subscribe("k", move |_, _| {
                    gate.pass();
                    Ok(())
                })
                .unwrap()
        })
        .collect();
    broker.publish(payload("k", 0)).unwrap();
    let exhausted = std::iter::from_fn(|| events.recv_timeout(SOON).ok())
        .find(|event| matches!(event, Event::PoolExhausted { limit: 2 }));
    assert!(exhausted.is_some());
    gate.open();
    eventually("all go on", || {
        subscriptions.iter().all(|one| one.stats().delivered == 1)
    });
}
