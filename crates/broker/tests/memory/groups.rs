//! Groups: members that leave, and messages that are queued again.

use std::time::Duration;

use crossbeam_channel::unbounded;
use fanfeed_broker::{
    Broker, Context, Event, HandlerError, MemoryBroker, Message, Overflow, Publisher, Redelivery,
    Subscribe, SubscribeOptions, Subscriber, SubscriberExt,
};

use crate::SOON;
use crate::common::{Gate, eventually, payload};

#[test]
fn a_group_without_members_drops_and_counts_what_was_queued() {
    let broker = MemoryBroker::new();
    let mut events = broker.events();
    let gate = Gate::new();
    let member = {
        let gate = gate.clone();
        broker
            .subscribe_group("k", "g", move |_, context| {
                gate.pass_unless(|| context.is_cancelled());
                Ok(())
            })
            .unwrap()
    };
    for n in 0..10 {
        broker.publish(payload("k", n)).unwrap();
    }
    gate.wait_for_visitor();
    member.cancel();
    assert_eq!(broker.stats().dropped, 9);
    let reported = events.try_iter().find_map(|event| match event {
        Event::Dropped { total, .. } => Some(total),
        _ => None,
    });
    assert_eq!(reported, Some(9), "the total has passed 8, and not met it");
    broker.publish(payload("k", 10)).unwrap();
    assert_eq!(broker.stats().unrouted, 1);
}

#[test]
fn a_leaving_member_hands_on_what_it_had_not_started() {
    let broker = MemoryBroker::new();
    let options = SubscribeOptions::new().attempts(0);
    let stuck = Subscribe::new("jobs", |_: &Message, _: &_| {
        Err(HandlerError::Retry(Duration::from_secs(3600)))
    });
    let leaver = broker
        .subscribe_with(stuck.group("workers").options(options))
        .unwrap();
    for n in 0..50 {
        broker.publish(payload("jobs", n)).unwrap();
    }
    eventually("the first waits for its retry", || {
        broker.health().pending == 49
    });
    let (tx, rx) = unbounded();
    let gate = Gate::new();
    let _stayer = {
        let gate = gate.clone();
        broker
            .subscribe_group("jobs", "workers", move |message, context| {
                gate.pass();
                Ok(tx.send((message.clone(), context.attempt()))?)
            })
            .unwrap()
    };
    gate.wait_for_visitor();
    leaver.unsubscribe();
    // Its job, which waited for the retry, does so soon on a thread of the pool.
    eventually("the first is handed on", || broker.health().pending == 49);
    gate.open();
    let got: Vec<_> = (0..50).map(|_| rx.recv_timeout(SOON).unwrap()).collect();
    // The second was taken before the first was handed on, and it goes before the others.
    let order: Vec<_> = [1, 0].into_iter().chain(2..50).collect();
    for ((message, attempt), n) in got.iter().zip(order) {
        assert_eq!(message.payload(), payload("jobs", n).payload());
        assert_eq!(*attempt, if n == 0 { 2 } else { 1 });
    }
    assert_eq!(broker.stats().dropped, 0);
}

#[test]
fn a_requeued_message_goes_behind_the_others() {
    let broker = MemoryBroker::new();
    let (tx, rx) = unbounded();
    let request = Subscribe::new("jobs", move |message: &Message, context: &Context| {
        tx.send((message.payload().clone(), context.attempt()))?;
        match (&message.payload()[..], context.attempt()) {
            (b"0", 1) => Err(HandlerError::Retry(Duration::from_millis(1))),
            _ => Ok(()),
        }
    });
    let options = SubscribeOptions::new().redelivery(Redelivery::Requeue);
    let _member = broker
        .subscribe_with(request.group("g").options(options))
        .unwrap();
    broker.publish(payload("jobs", 0)).unwrap();
    broker.publish(payload("jobs", 1)).unwrap();
    let got: Vec<_> = (0..3).map(|_| rx.recv_timeout(SOON).unwrap()).collect();
    let mut first_attempts: Vec<_> = got.iter().filter(|(_, attempt)| *attempt == 1).collect();
    first_attempts.sort();
    assert_eq!(first_attempts.len(), 2);
    assert!(got.contains(&("0".into(), 2)));
}

/// Messages that wait for their next attempt fill the buffer, as others do.
#[test]
fn requeued_messages_count_against_the_buffer() {
    let broker = MemoryBroker::new();
    let (tx, rx) = unbounded();
    let later = move |_: &Message, _: &Context| {
        tx.send(())?;
        Err(HandlerError::Retry(Duration::from_secs(3600)))
    };
    let options = SubscribeOptions::new()
        .redelivery(Redelivery::Requeue)
        .buffer(4);
    let member = Subscribe::new("k", later).group("g").options(options);
    let _member = broker.subscribe_with(member).unwrap();
    for n in 0..4 {
        broker.publish(payload("k", n)).unwrap();
        rx.recv_timeout(SOON).unwrap();
    }
    eventually("all wait for their timers", || broker.health().pending == 4);
    for n in 4..100 {
        broker.publish(payload("k", n)).unwrap();
    }
    assert_eq!(broker.stats().dropped, 96);
}

/// Publishers that wait for room get it while some messages wait for a long time.
#[test]
fn a_blocking_buffer_goes_on_beside_requeued_messages() {
    let broker = MemoryBroker::new();
    let (tx, rx) = unbounded();
    let handler = move |message: &Message, _: &Context| match &message.payload()[..] {
        b"0" | b"1" | b"2" => Err(HandlerError::Retry(Duration::from_secs(3600))),
        _ => Ok(tx.send(message.payload().clone())?),
    };
    let options = SubscribeOptions::new()
        .redelivery(Redelivery::Requeue)
        .overflow(Overflow::Block)
        .buffer(4);
    let member = Subscribe::new("k", handler).group("g").options(options);
    let _member = broker.subscribe_with(member).unwrap();
    for n in 0..200 {
        broker.publish_timeout(payload("k", n), SOON).unwrap();
    }
    for n in 3..200 {
        assert_eq!(rx.recv_timeout(SOON).unwrap(), n.to_string());
    }
    assert_eq!(broker.stats().dropped, 0);
}

#[test]
fn a_message_that_is_handed_back_counts_as_no_attempt_and_no_failure() {
    let broker = MemoryBroker::new();
    let (tx, rx) = unbounded();
    let handler = move |_: &Message, context: &Context| {
        tx.send(context.attempt())?;
        match tx.len() < 3 {
            true => Err(HandlerError::HandBack),
            false => Ok(()),
        }
    };
    let options = SubscribeOptions::new()
        .attempts(1)
        .backoff(Duration::from_millis(1));
    let member = Subscribe::new("k", handler).group("g").options(options);
    let member = broker.subscribe_with(member).unwrap();
    broker.publish(payload("k", 0)).unwrap();
    eventually("it is handled", || member.stats().delivered == 1);
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 1, 1]);
    let stats = broker.stats();
    assert_eq!((stats.failed, stats.given_up), (0, 0));
}
