//! Handlers that fail, panic, block or overrun.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::unbounded;
use fanfeed_broker::{
    Broker, Context, Event, HandlerError, MemoryBroker, Message, Publisher, Subscribe,
    SubscribeOptions, Subscriber, SubscriberExt,
};

use crate::SOON;
use crate::common::{Gate, eventually, payload};
use crate::destructors::on_drop;

/// An error that panics when it is made a text, and when it is dropped.
#[derive(Debug)]
struct Hostile;

impl std::fmt::Display for Hostile {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("in `Display`")
    }
}

impl std::error::Error for Hostile {}

impl Drop for Hostile {
    fn drop(&mut self) {
        panic!("in `drop`")
    }
}

#[test]
fn an_error_that_panics_costs_its_message_and_no_other() {
    let broker = MemoryBroker::new();
    let mut events = broker.events();
    let options = SubscribeOptions::new().attempts(1);
    let handler = move |message: &Message, _: &_| match &message.payload()[..] {
        b"3" => Err(HandlerError::failed(Hostile)),
        _ => Ok(()),
    };
    let subscription = broker
        .subscribe_with(Subscribe::new("k", handler).options(options))
        .unwrap();
    for n in 0..10 {
        broker.publish(payload("k", n)).unwrap();
    }
    eventually("the other nine are handled", || {
        subscription.stats().delivered == 9
    });
    broker.close(SOON).unwrap();
    let failures: Vec<_> = events
        .try_iter()
        .filter(|event| matches!(event, Event::HandlerFailed { .. } | Event::GaveUp { .. }))
        .collect();
    assert_eq!(failures.len(), 2, "{failures:?}");
}

fn panics_when_dropped() -> Message {
    on_drop("k", || panic!("in a payload's `drop`"))
}

/// The last reference to the message of a group is dropped by its job, after the handler.
#[test]
fn a_payload_that_panics_when_it_is_dropped_costs_no_other_message() {
    for rejects in [false, true] {
        let broker = MemoryBroker::new();
        let (tx, rx) = unbounded();
        let handler = move |message: &Message, _: &Context| {
            tx.send(message.payload().to_vec())?;
            match rejects {
                true => Err(HandlerError::Reject),
                false => Ok(()),
            }
        };
        let _member = broker.subscribe_group("k", "g", handler).unwrap();
        for n in 1..4 {
            broker.publish(panics_when_dropped()).unwrap();
            assert_eq!(rx.recv_timeout(SOON).unwrap(), b"0");
            broker.publish(payload("k", n)).unwrap();
            let text = n.to_string();
            assert_eq!(rx.recv_timeout(SOON).unwrap(), text.as_bytes());
        }
        broker.close(SOON).unwrap();
    }
}

#[test]
fn payloads_that_panic_when_they_are_dropped_do_not_keep_a_subscription_from_its_end() {
    let broker = MemoryBroker::new();
    let gate = Gate::new();
    let own = gate.clone();
    let handler = move |_: &Message, context: &Context| {
        own.pass_unless(|| context.is_cancelled());
        Ok(())
    };
    let member = broker.subscribe_group("k", "g", handler).unwrap();
    for _ in 0..4 {
        broker.publish(panics_when_dropped()).unwrap();
    }
    gate.wait_for_visitor();
    member.unsubscribe();
    assert_eq!(broker.key_count(), 0);
    broker.close(SOON).unwrap();
}

/// Two panics at once would end the process.
#[test]
fn several_payloads_that_panic_are_dropped_by_one_log() {
    let broker = MemoryBroker::new();
    let both = [(); 2].map(|()| broker.subscribe("k", |_, _| Ok(())).unwrap());
    for n in 1..=20 {
        broker.publish(panics_when_dropped()).unwrap();
        if n % 10 == 0 {
            eventually("all are handled", || {
                both.iter().all(|one| one.stats().delivered == n)
            });
        }
    }
    broker.close(SOON).unwrap();
}

/// Joins a thread when it is dropped.
struct Joins(Option<std::thread::JoinHandle<()>>);

impl Drop for Joins {
    fn drop(&mut self) {
        self.0.take().unwrap().join().unwrap();
    }
}

/// The handler owns a worker, which its destructor joins. The worker ends the subscription too.
#[test]
fn nobody_waits_for_a_destructor_that_another_thread_runs() {
    let broker = MemoryBroker::new();
    let (give, given) = unbounded::<Arc<fanfeed_broker::BrokerSubscription>>();
    let (begin, begun) = unbounded::<()>();
    let worker = std::thread::spawn(move || {
        let subscription = given.recv().unwrap();
        begun.recv().unwrap();
        subscription.unsubscribe();
    });
    let joins = Joins(Some(worker));
    let handler = move |_: &Message, _: &_| {
        let _ = &joins;
        Ok(())
    };
    let subscription = Arc::new(broker.subscribe("k", handler).unwrap());
    give.send(Arc::clone(&subscription)).unwrap();
    let (say, said) = unbounded();
    std::thread::spawn(move || {
        begin.send(()).unwrap();
        subscription.unsubscribe();
        say.send(()).unwrap();
    });
    said.recv_timeout(SOON).expect("both return");
}

#[test]
fn an_overrun_cancels_the_token_and_is_reported() {
    let broker = MemoryBroker::new();
    let mut events = broker.events();
    let (tx, rx) = unbounded();
    let request = Subscribe::new("k", move |_: &Message, context: &Context| {
        let cancelled = context.token().wait_timeout(SOON);
        Ok(tx.send(cancelled && context.is_cancelled())?)
    });
    let options = SubscribeOptions::new().timeout(Duration::from_millis(20));
    let _subscription = broker.subscribe_with(request.options(options)).unwrap();
    for n in 0..3 {
        broker.publish(payload("k", n)).unwrap();
        assert_eq!(rx.recv_timeout(SOON), Ok(true));
        let event = events.recv_timeout(SOON).unwrap();
        assert!(matches!(event, Event::HandlerOverran { .. }), "{event:?}");
    }
}

/// With several handlers at a time, a message that begins while the overruns are looked at does not
/// put off the next look.
#[test]
fn each_overrun_is_reported_when_it_is_due() {
    const TIMEOUT: Duration = Duration::from_millis(100);
    let broker = MemoryBroker::new();
    let (tx, rx) = unbounded();
    let handler = move |_: &Message, context: &Context| {
        let began = std::time::Instant::now();
        assert!(context.token().wait_timeout(SOON));
        Ok(tx.send(began.elapsed())?)
    };
    let options = SubscribeOptions::new()
        .timeout(TIMEOUT)
        .concurrency(64)
        .attempts(1);
    let _subscription = broker
        .subscribe_with(Subscribe::new("k", handler).options(options))
        .unwrap();
    for n in 0..300 {
        broker.publish(payload("k", n)).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut times: Vec<Duration> = (0..300).map(|_| rx.recv_timeout(SOON).unwrap()).collect();
    times.sort();
    // On a loaded machine any of them may be late, but not half of them by a whole timeout.
    assert!(times[150] < TIMEOUT * 19 / 10, "{:?}", times[150]);
}
