//! What the memory driver promises beyond the suite that all drivers pass.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Gate, eventually, payload};
use crossbeam_channel::unbounded;
use fanfeed_broker::{
    Broker, CloseError, Context, Event, HandlerError, MemoryBroker, MemoryOptions, Message,
    Overflow, PoolOptions, PublishError, Publisher, Redelivery, Subscribe, SubscribeError,
    SubscribeOptions, Subscriber, SubscriberExt,
};

const SOON: Duration = Duration::from_secs(10);

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

/// Two that hold the publisher, both full: the second gets what it has room for while the first one's handler still runs.
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

/// With several handlers at a time, a message that begins while the overruns are looked at does not put off the next look.
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

/// What ends another subscription may hold locks of its own.
#[test]
fn no_logger_runs_on_the_thread_that_cancels() {
    let (tx, rx) = unbounded();
    let broker = MemoryOptions::new()
        .logger(move |_| {
            let thread = std::thread::current();
            let _ = tx.send(thread.name().unwrap_or_default().to_owned());
        })
        .build();
    let gate = Gate::new();
    let handler = {
        let gate = gate.clone();
        move |_: &Message, _: &Context| {
            gate.pass();
            Ok(())
        }
    };
    let member = broker.subscribe_group("k", "g", handler).unwrap();
    for n in 0..3 {
        broker.publish(payload("k", n)).unwrap();
    }
    gate.wait_for_visitor();
    // The queue of a group without members is dropped, which is reported.
    let short = broker.subscribe("other", |_, _| Ok(())).unwrap();
    let joined = fanfeed::Subscription::join([member.into_subscription(), short.into()]);
    std::thread::scope(|scope| {
        scope.spawn(|| joined.unsubscribe());
        eventually("the drop is counted", || broker.stats().dropped == 2);
        gate.open();
    });
    assert_eq!(rx.recv_timeout(SOON).unwrap(), "fanfeed-log");
}

#[test]
fn the_logger_hears_of_events() {
    let (tx, rx) = unbounded();
    let broker = MemoryOptions::new()
        .logger(move |event| {
            let _ = tx.send(event.to_string());
        })
        .build();
    let _subscription = broker
        .subscribe("k", |_, _| Err(HandlerError::Reject))
        .unwrap();
    broker.publish(payload("k", 0)).unwrap();
    let line = rx.recv_timeout(SOON).unwrap();
    assert!(line.starts_with("k gave up message "), "{line}");
}

#[test]
fn a_logger_that_panics_hears_of_the_next_event() {
    let (tx, rx) = unbounded();
    let broker = MemoryOptions::new()
        .logger(move |event| {
            let _ = tx.send(event.to_string());
            panic!("a logger panics");
        })
        .build();
    let _subscription = broker
        .subscribe("k", |_, _| Err(HandlerError::Reject))
        .unwrap();
    for n in 0..2 {
        broker.publish(payload("k", n)).unwrap();
        rx.recv_timeout(SOON).unwrap();
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
