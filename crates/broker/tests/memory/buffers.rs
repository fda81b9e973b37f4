//! Buffers: what a full one drops, and whom it makes wait.

use std::time::Duration;

use crossbeam_channel::unbounded;
use fanfeed_broker::{
    Broker, Event, MemoryBroker, MemoryOptions, Message, Overflow, PublishError, Publisher,
    Subscribe, SubscribeOptions, Subscriber, SubscriberExt,
};

use crate::SOON;
use crate::common::{Gate, eventually, payload};

#[test]
fn a_full_buffer_drops_counts_and_reports() {
    let broker = MemoryBroker::new();
    let mut events = broker.events();
    let gate = Gate::new();
    let subscription = {
        let gate = gate.clone();
        broker
            .subscribe("chat", move |_, _| {
                gate.pass();
                Ok(())
            })
            .unwrap()
    };
    broker.publish(Message::new("chat", "first")).unwrap();
    gate.wait_for_visitor();
    for n in 0..256 + 5 {
        broker.publish(payload("chat", n)).unwrap();
    }
    assert_eq!(subscription.dropped(), 5);
    assert_eq!(subscription.stats().dropped, 5);
    assert_eq!(subscription.stats().depth, Some(256));
    assert_eq!(broker.stats().dropped, 5);
    gate.open();
    eventually("everything in the buffer is handled", || {
        subscription.stats().delivered == 257
    });
    let reported: Vec<u64> = events
        .try_iter()
        .filter_map(|event| match event {
            Event::Dropped { total, .. } => Some(total),
            _ => None,
        })
        .collect();
    assert_eq!(reported, [1, 2, 4]);
}

#[test]
fn a_blocking_subscription_holds_the_publisher_and_nobody_else() {
    let broker = MemoryBroker::new();
    let gate = Gate::new();
    let options = SubscribeOptions::new().buffer(1).overflow(Overflow::Block);
    let slow = {
        let gate = gate.clone();
        Subscribe::new("k", move |_: &Message, _: &_| {
            gate.pass();
            Ok(())
        })
    };
    let slow = broker.subscribe_with(slow.options(options)).unwrap();
    let (tx, rx) = unbounded();
    let _fast = broker
        .subscribe("k", move |message, _| Ok(tx.send(message.clone())?))
        .unwrap();
    broker.publish(payload("k", 0)).unwrap();
    gate.wait_for_visitor();
    broker.publish(payload("k", 1)).unwrap();
    assert!(broker.try_publish(payload("k", 2)).unwrap_err().is_full());
    let late = broker.publish_timeout(payload("k", 3), Duration::from_millis(20));
    assert!(late.unwrap_err().is_timeout());
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| broker.publish(payload("k", 4)));
        for n in 0..5 {
            assert_eq!(
                rx.recv_timeout(SOON).unwrap().payload(),
                payload("k", n).payload()
            );
        }
        assert!(!publisher.is_finished());
        gate.open();
        publisher.join().unwrap().unwrap();
    });
    eventually("three were handled", || slow.stats().delivered == 3);
    assert_eq!(slow.dropped(), 0);
}

/// Two that hold the publisher, both full: the second gets what it has room for while the first
/// one's handler still runs.
#[test]
fn a_full_subscription_does_not_hold_another_one_that_has_room() {
    let broker = MemoryBroker::new();
    let gates = [Gate::new(), Gate::new()];
    let [slow, fast] = gates.clone().map(|gate| {
        let options = SubscribeOptions::new().buffer(1).overflow(Overflow::Block);
        let handler = move |_: &Message, _: &_| {
            gate.pass();
            Ok(())
        };
        broker
            .subscribe_with(Subscribe::new("k", handler).options(options))
            .unwrap()
    });
    broker.publish(payload("k", 0)).unwrap();
    gates.iter().for_each(Gate::wait_for_visitor);
    broker.publish(payload("k", 1)).unwrap();
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| broker.publish(payload("k", 2)));
        gates[1].open();
        eventually("the fast one gets all three", || {
            fast.stats().delivered == 3
        });
        assert!(!publisher.is_finished() && slow.stats().delivered == 0);
        gates[0].open();
        publisher.join().unwrap().unwrap();
    });
    eventually("and so does the slow one", || slow.stats().delivered == 3);
}

#[test]
fn a_handler_does_not_wait_for_room_in_its_own_buffer() {
    let broker = MemoryBroker::new();
    let options = SubscribeOptions::new().buffer(2).overflow(Overflow::Block);
    let (tx, rx) = unbounded();
    let inner = broker.clone();
    let handler = move |message: &Message, _: &_| {
        if &message.payload()[..] == b"0" {
            for n in 1..=3 {
                tx.send(inner.publish(payload("k", n))).unwrap();
            }
        }
        Ok(())
    };
    let subscription = broker
        .subscribe_with(Subscribe::new("k", handler).options(options))
        .unwrap();
    broker.publish(payload("k", 0)).unwrap();
    let results: Vec<_> = (0..3).map(|_| rx.recv_timeout(SOON).unwrap()).collect();
    assert!(results[0].is_ok() && results[1].is_ok());
    assert!(results[2].as_ref().is_err_and(PublishError::is_full));
    eventually("what had room is handled", || {
        subscription.stats().delivered == 3
    });
}

#[test]
fn unsubscribing_and_closing_release_a_blocked_publisher() {
    for close in [false, true] {
        let broker = MemoryBroker::new();
        let gate = Gate::new();
        let options = SubscribeOptions::new().buffer(1).overflow(Overflow::Block);
        let request = {
            let gate = gate.clone();
            Subscribe::new("k", move |_: &Message, _: &_| {
                gate.pass();
                Ok(())
            })
        };
        let subscription = broker.subscribe_with(request.options(options)).unwrap();
        broker.publish(payload("k", 0)).unwrap();
        gate.wait_for_visitor();
        broker.publish(payload("k", 1)).unwrap();
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| broker.publish(payload("k", 2)));
            let ender = scope.spawn(|| match close {
                true => broker.close(Duration::ZERO).map_err(|_| ()).err(),
                false => {
                    subscription.unsubscribe();
                    None
                }
            });
            match (publisher.join().unwrap(), close) {
                (Ok(()), false) => {}
                // The publish may come after the close.
                (Err(PublishError::Closed(_)), true) => {}
                (other, _) => panic!("{other:?}"),
            }
            gate.open();
            ender.join().unwrap();
        });
    }
}

#[test]
fn a_message_that_is_too_large_is_refused() {
    let broker = MemoryOptions::new().largest_message(10).build();
    broker.publish(Message::new("k", "123456789")).unwrap();
    let error = broker.publish(Message::new("k", "1234567890")).unwrap_err();
    assert!(matches!(
        error,
        PublishError::TooLarge {
            size: 11,
            limit: 10
        }
    ));
}
