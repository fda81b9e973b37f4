//! Payloads whose destructors run user code, wherever a subscription or a log drops them.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, unbounded};
use fanfeed_broker::{
    Broker, BrokerSubscription, HandlerError, MemoryBroker, Message, Overflow, Publisher,
    Subscribe, SubscribeOptions, Subscriber, SubscriberExt,
};

use crate::SOON;
use crate::common::{Gate, LIMIT, eventually, payload};
use crate::followers::{listen, number};

/// A payload that does something when it is dropped.
struct OnDrop(Option<Box<dyn FnOnce() + Send>>);

impl AsRef<[u8]> for OnDrop {
    fn as_ref(&self) -> &[u8] {
        b"0"
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}

/// A message whose payload does that when it is dropped.
pub(crate) fn on_drop(key: &str, act: impl FnOnce() + Send + 'static) -> Message {
    Message::new(key, Bytes::from_owner(OnDrop(Some(Box::new(act)))))
}

/// A message that publishes another one when it is dropped.
fn echo(broker: &MemoryBroker) -> Message {
    let own = broker.clone();
    on_drop("k", move || {
        own.publish(Message::new("k", "echoed")).unwrap()
    })
}

#[test]
fn a_payloads_destructor_may_publish_wherever_it_is_dropped() {
    let (done, over) = unbounded();
    std::thread::spawn(move || {
        let broker = MemoryBroker::new();
        let gate = Gate::new();
        // A follower that handles, and a group whose buffer is full.
        let (follower, got) = listen(&broker, 256, Overflow::Drop);
        let own = gate.clone();
        let handler = move |_: &Message, _: &_| {
            own.pass();
            Ok(())
        };
        let options = SubscribeOptions::new().buffer(1);
        let request = Subscribe::new("k", handler).group("g").options(options);
        let member = broker.subscribe_with(request).unwrap();
        let echo = || echo(&broker);
        broker.publish(payload("k", 0)).unwrap();
        gate.wait_for_visitor();
        broker.publish(payload("k", 1)).unwrap();
        broker.publish(echo()).unwrap();
        for _ in 0..4 {
            // The handler's clone is dropped here, or the log drops the message.
            drop(got.recv_timeout(SOON).unwrap());
        }
        follower.unsubscribe();
        // The group is alone, and drops what it is given.
        broker.publish(echo()).unwrap();
        eventually("the echo is dropped too", || member.dropped() == 4);
        gate.open();
        done.send(()).unwrap();
    });
    over.recv_timeout(SOON).expect("no lock is held");
}

/// The only follower has handled the first message of the log's segment, and went apart in the
/// middle of it. Another one comes, and the log goes on to its next segment.
#[test]
fn a_message_that_only_the_log_holds_is_dropped_without_a_lock() {
    let (done, over) = unbounded();
    std::thread::spawn(move || {
        let broker = MemoryBroker::new();
        let gates: [Gate; 3] = Default::default();
        let [first, second, third] = gates.clone();
        let slow = move |message: &Message, _: &_| {
            match &message.payload()[..] {
                b"0" => first.pass(),
                b"2" => second.pass(),
                _ => {}
            }
            Ok(())
        };
        let options = SubscribeOptions::new().buffer(4);
        let request = Subscribe::new("k", slow).options(options);
        let slow = broker.subscribe_with(request).unwrap();
        broker.publish(payload("k", 0)).unwrap();
        gates[0].wait_for_visitor();
        broker.publish(echo(&broker)).unwrap();
        for n in 2..6 {
            broker.publish(payload("k", n)).unwrap();
        }
        assert_eq!(slow.dropped(), 1, "the last one sends it apart");
        gates[0].open();
        gates[1].wait_for_visitor();
        let handler = move |_: &Message, _: &_| {
            third.pass();
            Ok(())
        };
        let other = broker.subscribe("k", handler).unwrap();
        broker.publish(payload("k", 6)).unwrap();
        gates[2].wait_for_visitor();
        broker.publish(payload("k", 7)).unwrap();
        gates.iter().for_each(Gate::open);
        eventually("the other one goes on", || other.stats().delivered == 2);
        broker.close(SOON).unwrap();
        done.send(()).unwrap();
    });
    over.recv_timeout(SOON).expect("no lock is held");
}

/// A subscription to `k` with a buffer of 4, whose job comes to hold the last reference to the
/// first message: it handles that one and the next in one run, has no more room, and asks for a
/// retry when `wait` opens. Returns what it was called with, by number.
fn hold_the_first(broker: &MemoryBroker, first: Message, wait: &Gate) -> HoldsFirst {
    let (tx, rx) = unbounded();
    let gates = [Gate::new(), wait.clone()];
    let own = gates.clone();
    let handler = move |message: &Message, context: &fanfeed_broker::Context| {
        let n = number(message);
        tx.send(n)?;
        if let Some(gate) = own.get(n) {
            gate.pass();
        }
        match (n, context.attempt()) {
            (1, 1) => Err(HandlerError::Retry(std::time::Duration::from_millis(1))),
            _ => Ok(()),
        }
    };
    let options = SubscribeOptions::new().buffer(4);
    let request = Subscribe::new("k", handler).options(options);
    let slow = broker.subscribe_with(request).unwrap();
    let other = broker.subscribe("k", |_, _| Ok(())).unwrap();
    broker.publish(first).unwrap();
    gates[0].wait_for_visitor();
    broker.publish(payload("k", 1)).unwrap();
    gates[0].open();
    gates[1].wait_for_visitor();
    for n in 2..=6 {
        broker.publish(payload("k", n)).unwrap();
    }
    assert_eq!(slow.dropped(), 1, "the last one sends it apart");
    eventually("the other one has passed the first segment", || {
        other.stats().delivered == 7
    });
    HoldsFirst { slow, other, rx }
}

struct HoldsFirst {
    slow: BrokerSubscription,
    other: BrokerSubscription,
    rx: Receiver<usize>,
}

#[test]
fn a_payloads_destructor_may_end_the_subscription_whose_job_drops_it() {
    let broker = MemoryBroker::new();
    let slot = Arc::new(std::sync::Mutex::new(None::<BrokerSubscription>));
    let (done, over) = unbounded();
    let own = Arc::clone(&slot);
    let first = on_drop("k", move || {
        own.lock().unwrap().take().unwrap().unsubscribe();
        done.send(()).unwrap();
    });
    let gate = Gate::new();
    let HoldsFirst { slow, other, .. } = hold_the_first(&broker, first, &gate);
    *slot.lock().unwrap() = Some(slow);
    assert!(over.is_empty(), "the job holds the message");
    gate.open();
    over.recv_timeout(SOON).expect("it waits for itself");
    eventually("it has left", || broker.health().subscriptions == 1);
    other.unsubscribe();
    broker.close(SOON).unwrap();
}

#[test]
fn a_payloads_destructor_that_panics_does_not_end_a_job_that_waits() {
    let broker = MemoryBroker::new();
    let gate = Gate::new();
    let first = on_drop("k", || panic!("a destructor"));
    let holds = hold_the_first(&broker, first, &gate);
    gate.open();
    for n in [0, 1, 1, 2, 3, 4, 5] {
        assert_eq!(holds.rx.recv_timeout(SOON), Ok(n));
    }
    broker.close(SOON).unwrap();
}

#[test]
fn a_payloads_destructor_may_wait_for_a_publisher_that_its_subscription_blocked() {
    let broker = MemoryBroker::new();
    let gate = Gate::new();
    let own = gate.clone();
    let handler = move |_: &Message, _: &_| {
        own.pass();
        Ok(())
    };
    let options = SubscribeOptions::new().buffer(1).overflow(Overflow::Block);
    let request = Subscribe::new("k", handler).options(options);
    let subscription = broker.subscribe_with(request).unwrap();
    broker.publish(payload("k", 0)).unwrap();
    gate.wait_for_visitor();
    let (returned, returns) = unbounded();
    let (told, hears) = unbounded();
    let own = gate.clone();
    let waits = move || {
        told.send(returns.recv_timeout(SOON).is_ok()).unwrap();
        own.open();
    };
    broker.publish(on_drop("k", waits)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            broker.publish(payload("k", 2)).unwrap();
            returned.send(()).unwrap();
        });
        eventually("the publisher waits", || {
            subscription.stats().depth == Some(2)
        });
        subscription.unsubscribe();
        assert_eq!(hears.recv_timeout(LIMIT), Ok(true));
    });
}
