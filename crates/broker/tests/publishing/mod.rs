//! What a flush, the counters and the callers of `publish_confirmed` are told about messages that
//! fail.

use std::time::{Duration, Instant};

use fanfeed::Receiver;
use fanfeed_broker::conformance::Line;
use fanfeed_broker::driver::Engine;
use fanfeed_broker::{Broker, Event, FlushError, Message, PublishError, Publisher};

use crate::common::eventually;
use crate::fake::{Fake, REFUSED};
use crate::{SOON, options, server};

/// A broker whose driver does not publish a lost batch again, and its events.
fn at_most_once() -> (Fake, Engine, Receiver<Event>) {
    let mut fake = server();
    fake.again = false;
    let broker = Engine::start(fake.clone(), options()).unwrap();
    let events = broker.events();
    (fake, broker, events)
}

fn wait_for_failure(events: &mut Receiver<Event>) {
    eventually("the failure is reported", || {
        events
            .try_iter()
            .any(|event| matches!(event, Event::PublishFailed { .. }))
    });
}

fn assert_all_settled(broker: &Engine, published: u64, failed: u64) {
    let stats = broker.stats();
    let counted = (stats.published, stats.confirmed, stats.publish_failed);
    assert_eq!(counted, (published, published - failed, failed));
}

#[test]
fn a_flush_tells_what_failed_before_it_and_each_failure_once() {
    let (fake, broker, mut events) = at_most_once();
    let refuse = |events: &mut _| {
        broker.publish(Message::new(REFUSED, "x")).unwrap();
        wait_for_failure(events);
    };
    let lose = |events: &mut _| {
        fake.server.panic_once();
        broker.publish(Message::new("k", "x")).unwrap();
        wait_for_failure(events);
    };
    refuse(&mut events);
    assert_eq!(broker.flush(SOON), Err(FlushError::Failed(1)));
    assert_eq!(broker.flush(SOON), Ok(()));

    lose(&mut events);
    assert_eq!(broker.flush(SOON), Err(FlushError::Uncertain(1)));
    assert_eq!(broker.flush(SOON), Ok(()));

    refuse(&mut events);
    lose(&mut events);
    refuse(&mut events);
    assert_eq!(broker.flush(SOON), Err(FlushError::Uncertain(1)));
    assert_eq!(broker.flush(SOON), Err(FlushError::Failed(2)));
    assert_eq!(broker.flush(SOON), Ok(()));
    assert_all_settled(&broker, 5, 5);
}

#[test]
fn a_failure_of_publish_confirmed_is_told_to_its_caller_alone() {
    let (_fake, broker, mut events) = at_most_once();
    let refused = broker.publish_confirmed(Message::new(REFUSED, "x"), SOON);
    assert!(matches!(refused, Err(PublishError::Refused(_))));
    assert_eq!(broker.flush(SOON), Ok(()));
    wait_for_failure(&mut events);
    assert_all_settled(&broker, 1, 1);
}

#[test]
fn what_fails_after_publish_confirmed_timed_out_is_told_by_a_flush() {
    let (fake, broker, mut events) = at_most_once();
    let moment = Duration::from_millis(5);
    let mut withdrawn = 0;
    for key in ["k", REFUSED] {
        eventually("the driver has it when the time is over", || {
            fake.line.stall(true);
            let late = broker.publish_confirmed(Message::new(key, "x"), moment);
            assert!(late.unwrap_err().is_timeout());
            let is_sent = broker.health().outbound == 1;
            if !is_sent {
                withdrawn += 1;
                fake.line.stall(false);
            }
            is_sent
        });
        assert_eq!(broker.flush(moment), Err(FlushError::Timeout(1)));
        fake.line.stall(false);
        match key {
            REFUSED => assert_eq!(broker.flush(SOON), Err(FlushError::Failed(1))),
            _ => assert_eq!(broker.flush(SOON), Ok(())),
        }
    }
    wait_for_failure(&mut events);
    assert_all_settled(&broker, 2 + withdrawn, 1 + withdrawn);
}

/// Guards against attempts that fill the queue while the server is away.
#[test]
fn what_was_not_sent_when_publish_confirmed_timed_out_is_sent_no_more() {
    let fake = server();
    let broker = Engine::start(fake.clone(), options().queue(2)).unwrap();
    let mut events = broker.events();
    fake.server.stop();
    eventually("the publishing side sees the loss", || {
        broker.health().outbound_fault.is_some()
    });
    broker.publish(Message::new("k", "kept")).unwrap();
    let moment = Duration::from_millis(5);
    const TIMES: u64 = 20;
    for _ in 0..TIMES {
        let late = broker.publish_confirmed(Message::new("k", "late"), moment);
        assert!(late.unwrap_err().is_timeout());
        wait_for_failure(&mut events);
        assert_eq!(broker.health().outbound, 1);
    }
    // A publisher that waits for room gets that of a message whose time is over.
    std::thread::scope(|scope| {
        let late = scope.spawn(|| {
            let moment = Duration::from_millis(100);
            broker.publish_confirmed(Message::new("k", "late"), moment)
        });
        eventually("the queue is full", || {
            late.is_finished() || broker.health().outbound == 2
        });
        broker.publish(Message::new("k", "kept")).unwrap();
        assert!(late.join().unwrap().unwrap_err().is_timeout());
    });
    fake.server.start();
    assert_eq!(broker.flush(SOON), Ok(()), "the callers know the failures");
    let log = fake.server.log("k");
    assert_eq!(log.len(), 2);
    assert!(log.iter().all(|message| message.payload() == "kept"));
    assert_all_settled(&broker, 2 + TIMES + 1, TIMES + 1);
}

#[test]
fn a_flush_under_way_is_told_what_close_gives_up() {
    let started = Instant::now();
    loop {
        let fake = server();
        let broker = Engine::start(fake.clone(), options().batch(1)).unwrap();
        fake.line.stall(true);
        for _ in 0..2 {
            broker.publish(Message::new("k", "x")).unwrap();
        }
        let late = broker.flush(Duration::from_millis(1));
        assert_eq!(late, Err(FlushError::Timeout(2)));
        let told = std::thread::scope(|scope| {
            scope.spawn(|| {
                broker.close(Duration::from_millis(100)).unwrap_err();
                fake.line.stall(false);
            });
            broker.flush(SOON)
        });
        match told {
            // It began after `close`.
            Err(FlushError::Closed) => assert!(started.elapsed() < SOON, "none is under way"),
            told => return assert_eq!(told, Err(FlushError::Failed(1)), "the second message"),
        }
    }
}
