//! Closing: what is drained, and what is left over.

use std::time::Duration;

use crossbeam_channel::unbounded;
use fanfeed_broker::{
    Broker, CloseError, Context, MemoryBroker, Message, Publisher, Subscribe, SubscribeError,
    Subscriber, SubscriberExt,
};

use crate::SOON;
use crate::common::{Gate, eventually, payload};

#[test]
fn close_says_what_it_could_not_deliver() {
    let broker = MemoryBroker::new();
    let gate = Gate::new();
    let subscription = {
        let gate = gate.clone();
        broker
            .subscribe("k", move |_, _| {
                gate.pass();
                Ok(())
            })
            .unwrap()
    };
    for n in 0..4 {
        broker.publish(payload("k", n)).unwrap();
    }
    gate.wait_for_visitor();
    let error = broker.close(Duration::from_millis(20)).unwrap_err();
    let CloseError::Undelivered {
        outbound,
        inbound,
        running,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((outbound, inbound, running), (0, 3, 1));
    gate.open();
    subscription.closed().wait();
    assert_eq!(broker.close(SOON), Ok(()));
    assert!(broker.publish(payload("k", 0)).unwrap_err().is_closed());
    assert!(matches!(
        broker.subscribe("k", |_, _| Ok(())),
        Err(SubscribeError::Closed)
    ));
}

/// A handler that turns one message into another finishes its work while the broker is closed; nobody else publishes.
#[test]
fn a_handler_may_publish_while_close_drains() {
    let broker = MemoryBroker::new();
    let gate = Gate::new();
    let (tx, rx) = unbounded();
    let _last = broker
        .subscribe("three", move |message, _| Ok(tx.send(message.clone())?))
        .unwrap();
    // Two steps, so that the queue which is looked at first is filled again by the one that is looked at last.
    for (from, to) in [("two", "three"), ("one", "two")] {
        let (own, gate) = (broker.clone(), gate.clone());
        let handler = move |message: &Message, _: &Context| {
            gate.pass();
            Ok(own.publish(Message::new(to, message.payload().clone()))?)
        };
        broker
            .subscribe_with(Subscribe::new(from, handler))
            .unwrap()
            .detach();
    }
    for n in 0..100 {
        broker.publish(payload("one", n)).unwrap();
    }
    gate.wait_for_visitor();
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| broker.close(SOON));
        eventually("it is closing", || broker.is_closed());
        let refused = broker.publish(payload("one", 0));
        assert!(refused.unwrap_err().is_closed());
        gate.open();
        assert_eq!(closing.join().unwrap(), Ok(()));
    });
    assert_eq!(rx.try_iter().count(), 100);
}
