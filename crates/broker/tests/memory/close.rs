//! Closing: what is drained, and what is left over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, unbounded};
use fanfeed_broker::{
    Broker, CloseError, Context, MemoryBroker, MemoryOptions, Message, PoolOptions, Publisher,
    Subscribe, SubscribeError, Subscriber, SubscriberExt,
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

/// A handler that turns one message into another finishes its work while the broker is closed;
/// nobody else publishes.
#[test]
fn a_handler_may_publish_while_close_drains() {
    let broker = MemoryBroker::new();
    let gate = Gate::new();
    let (tx, rx) = unbounded();
    let _last = broker
        .subscribe("three", move |message, _| Ok(tx.send(message.clone())?))
        .unwrap();
    // Two steps, so that the queue which is looked at first is filled again by the one that is
    // looked at last.
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

/// What a handler captured. Dropping it does something.
struct Captured<F: Fn()>(F);

impl<F: Fn()> Drop for Captured<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn holding<T: Send + Sync + 'static>(
    captured: T,
) -> impl Fn(&Message, &Context) -> fanfeed_broker::Outcome {
    move |_, _| {
        let _ = &captured;
        Ok(())
    }
}

#[test]
fn close_returns_when_the_subscriptions_have_ended_and_their_handlers_are_dropped() {
    for _ in 0..100 {
        let broker = MemoryBroker::new();
        let captured = Arc::new(());
        let subscriptions: Vec<_> = [("a", None), ("a", Some("g")), ("b", Some("g"))]
            .into_iter()
            .map(|(key, group)| {
                let request = Subscribe::new(key, holding(Arc::clone(&captured)));
                let request = match group {
                    Some(group) => request.group(group),
                    None => request,
                };
                broker.subscribe_with(request).unwrap()
            })
            .collect();
        broker
            .subscribe("c", holding(Arc::clone(&captured)))
            .unwrap()
            .detach();
        broker.publish(payload("a", 0)).unwrap();
        broker.close(SOON).unwrap();
        assert!(subscriptions.iter().all(|each| each.is_closed()));
        assert_eq!(Arc::strong_count(&captured), 1);
    }
}

#[test]
fn a_destructor_that_takes_too_long_does_not_hold_close_beyond_its_deadline() {
    let broker = MemoryBroker::new();
    let (release, released) = bounded::<()>(0);
    let captured = Captured(move || assert!(released.recv().is_err()));
    let subscription = broker.subscribe("k", holding(captured)).unwrap();
    let began = Instant::now();
    assert_eq!(broker.close(Duration::from_millis(50)), Ok(()));
    assert!(began.elapsed() >= Duration::from_millis(50));
    let mut closed = subscription.closed();
    assert!(closed.wait_timeout(SOON), "only its destructor is late");
    drop(release);
}

/// Neither waits for itself, although the pool has no other thread.
#[test]
fn a_handler_and_a_destructor_may_close_the_broker() {
    let began = Instant::now();
    let pool = PoolOptions::new().limit(1);
    let broker = MemoryOptions::new().pool(pool).build();
    let (tx, rx) = unbounded();
    let (own, other) = (broker.clone(), broker.clone());
    let captured = Captured(move || other.close(SOON).unwrap());
    let subscription = broker
        .subscribe("k", move |_, _| {
            let _ = &captured;
            let closed = own.close(SOON);
            Ok(tx.send(closed)?)
        })
        .unwrap();
    let idle = broker.subscribe("idle", |_, _| Ok(())).unwrap();
    broker.publish(payload("k", 0)).unwrap();
    let told = rx.recv_timeout(SOON).unwrap();
    let CloseError::Undelivered { running, .. } = told.unwrap_err() else {
        panic!("it runs itself");
    };
    assert_eq!(running, 1);
    eventually("both end", || subscription.is_closed() && idle.is_closed());
    assert!(began.elapsed() < SOON / 2, "it waited for itself");
}

#[test]
fn a_start_after_a_position_is_refused() {
    let broker = MemoryBroker::new();
    let start = fanfeed_broker::Start::After("garbage".into());
    let options = fanfeed_broker::SubscribeOptions::new().start(start);
    for group in [None, Some("g")] {
        let mut request = Subscribe::new("k", holding(())).options(options.clone());
        if let Some(group) = group {
            request = request.group(group);
        }
        let error = broker.subscribe_with(request).unwrap_err();
        assert!(error.is_unsupported());
        assert!(error.to_string().contains("start with `New`"), "{error}");
    }
    assert_eq!(broker.key_count(), 0);
}
