//! Keys and subscriptions that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfeed_broker::{Broker, MemoryBroker, Publisher, SubscriberExt};

use crate::common::{eventually, payload};

#[test]
fn keys_without_subscriptions_leave_nothing_behind() {
    let broker = MemoryBroker::new();
    for n in 0..1000 {
        broker.publish(payload(&format!("key.{n}"), n)).unwrap();
    }
    assert_eq!(broker.key_count(), 0);
    assert_eq!(broker.stats().unrouted, 1000);
    let subscriptions: Vec<_> = (0..1000)
        .map(|n| {
            broker
                .subscribe_group(format!("key.{n}"), "g", |_, _| Ok(()))
                .unwrap()
        })
        .collect();
    assert_eq!(broker.key_count(), 1000);
    drop(subscriptions);
    assert_eq!(broker.key_count(), 0);
    assert_eq!(broker.health().subscriptions, 0);
}

#[test]
fn thousands_of_subscriptions_on_one_key_come_and_go() {
    let broker = MemoryBroker::new();
    let count = Arc::new(AtomicUsize::new(0));
    let subscribe = || {
        let count = Arc::clone(&count);
        broker
            .subscribe("k", move |_, _| {
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .unwrap()
    };
    let mut subscriptions: Vec<_> = (0..1000).map(|_| subscribe()).collect();
    // Holes in all chunks, which are filled again.
    for n in (0..1000).rev().step_by(3) {
        drop(subscriptions.swap_remove(n));
    }
    subscriptions.extend((0..500).map(|_| subscribe()));
    assert_eq!(broker.health().subscriptions, subscriptions.len());
    broker.publish(payload("k", 0)).unwrap();
    eventually("each was called once", || {
        count.load(Ordering::Relaxed) == subscriptions.len()
    });
    drop(subscriptions);
    assert_eq!(broker.key_count(), 0);
}
