//! Cases about plain delivery.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::tools::{Env, Gate, number, numbered, publish, roomy};
use crate::capabilities::{Delivery, WithoutMember};
use crate::context::Context;
use crate::message::Message;
use crate::options::{Start, SubscribeOptions};
use crate::subscriber::Subscribe;

pub(crate) fn a_message_arrives_as_it_was_published(env: &Env<'_>) {
    let other = env.server.connect();
    let key = env.key("whole");
    let collector = env.collect(&*other, &key, None);
    let sent = Message::new(&*key, "payload \u{e9}")
        .name("Named")
        .header("a", "1")
        .header("empty", "")
        .header("line", "two\nlines: \u{fc}");
    env.publish(sent.clone());
    let got = collector.next();
    assert_eq!(got.id(), sent.id());
    assert_eq!(got.key(), sent.key());
    assert_eq!(got.event_name(), Some("Named"));
    assert_eq!(got.headers(), sent.headers());
    assert_eq!(got.payload(), sent.payload());
    let apart = |a: std::time::SystemTime, b| a.duration_since(b).unwrap_or_default().as_millis();
    assert!(
        apart(got.timestamp(), sent.timestamp()) <= 1,
        "the time is kept to the millisecond"
    );
    assert!(
        apart(sent.timestamp(), got.timestamp()) <= 1,
        "the time is kept to the millisecond"
    );
}

pub(crate) fn payloads_may_be_empty_binary_and_large(env: &Env<'_>) {
    let key = env.key("payloads");
    let collector = env.collect(&*env.broker, &key, None);
    let binary: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..500_000_u32).map(|n| (n * 31 % 251) as u8).collect();
    for payload in [Vec::new(), binary, large, Vec::new()] {
        env.publish(Message::new(&*key, payload.clone()));
        assert_eq!(collector.next().payload(), &payload);
    }
}

pub(crate) fn fifty_subscribers_get_every_message(env: &Env<'_>) {
    let key = env.key("fifty");
    let collectors: Vec<_> = (0..50)
        .map(|_| env.collect(&*env.broker, &key, None))
        .collect();
    for n in 0..100 {
        env.publish(numbered(&key, n));
    }
    for collector in &collectors {
        assert_eq!(collector.numbers(100), Vec::from_iter(0..100));
    }
}

pub(crate) fn twenty_keys_get_their_hundred_messages(env: &Env<'_>) {
    let keys: Vec<_> = (0..20).map(|n| env.key(&format!("key{n}"))).collect();
    let collectors: Vec<_> = keys
        .iter()
        .map(|key| env.collect(&*env.broker, key, None))
        .collect();
    for n in 0..100 {
        for key in &keys {
            env.publish(numbered(key, n));
        }
    }
    for collector in &collectors {
        assert_eq!(collector.numbers(100), Vec::from_iter(0..100));
    }
}

pub(crate) fn the_order_of_a_publisher_is_kept(env: &Env<'_>) {
    const EACH: usize = 500;
    let key = env.key("order");
    let collector = env.collect(&*env.broker, &key, None);
    let brokers = [env.server.connect(), env.server.connect()];
    std::thread::scope(|scope| {
        for (at, broker) in brokers.iter().enumerate() {
            let (key, patience) = (&key, env.patience());
            scope.spawn(move || {
                for n in 0..EACH {
                    publish(&**broker, numbered(key, n * 2 + at), patience);
                }
            });
        }
    });
    let got = collector.numbers(2 * EACH);
    for publisher in 0..2 {
        let own: Vec<_> = got
            .iter()
            .filter(|n| *n % 2 == publisher)
            .copied()
            .collect();
        assert_eq!(own, Vec::from_iter((0..EACH).map(|n| n * 2 + publisher)));
    }
}

pub(crate) fn a_subscription_is_live_when_it_is_returned(env: &Env<'_>) {
    let other = env.server.connect();
    // More than a hundred where that takes no time. A server that is slow with many keys gets few
    // groups.
    let started = Instant::now();
    let groups = if env.server.many_keys() < 1_000 {
        50
    } else {
        2
    };
    let group = env.key("group");
    let has_groups = env.capabilities.group != Delivery::Unsupported;
    for round in 0..1_000 {
        if round >= 100 && started.elapsed() >= Duration::from_millis(500) {
            break;
        }
        let key = env.key(&format!("live{round}"));
        let group = (has_groups && round % groups == 1).then_some(&*group);
        let collector = env.collect(&*other, &key, group);
        env.publish(numbered(&key, round));
        assert_eq!(collector.numbers(1), [round]);
    }
}

pub(crate) fn nothing_more_is_delivered_until_the_handler_returns(env: &Env<'_>) {
    let key = env.key("one");
    let gate = Gate::new(env.patience());
    let other = env.collect(&*env.broker, &key, None);
    let subscription = {
        let gate = gate.clone();
        env.subscribe(&key, move |_, _| {
            gate.pass();
            Ok(())
        })
    };
    for n in 0..10 {
        env.publish(numbered(&key, n));
    }
    gate.wait_for_visitor();
    // The other messages would also have been delivered by now.
    other.numbers(10);
    assert_eq!(gate.visitors(), 1);
    gate.open();
    env.eventually("all are handled", || subscription.stats().delivered == 10);
}

pub(crate) fn concurrency_lets_handlers_run_side_by_side(env: &Env<'_>) {
    let key = env.key("four");
    let gate = Gate::new(env.patience());
    let handler = {
        let gate = gate.clone();
        move |_: &Message, _: &Context| {
            gate.pass();
            Ok(())
        }
    };
    let request = Subscribe::new(&*key, handler).options(roomy().concurrency(4));
    let subscription = env
        .broker
        .subscribe_with(request)
        .expect("the subscription is made");
    subscription
        .ready(env.patience())
        .expect("the subscription is live");
    for n in 0..20 {
        env.publish(numbered(&key, n));
    }
    env.eventually("four run", || gate.visitors() == 4);
    gate.open();
    env.eventually("all are handled", || subscription.stats().delivered == 20);
}

pub(crate) fn a_slow_subscriber_holds_nobody(env: &Env<'_>) {
    let key = env.key("slow");
    let gate = Gate::new(env.patience());
    let slow: Vec<_> = (0..10)
        .map(|_| {
            let gate = gate.clone();
            env.subscribe(&key, move |_, _| {
                gate.pass();
                Ok(())
            })
        })
        .collect();
    let fast = env.collect(&*env.broker, &key, None);
    for n in 0..200 {
        env.publish(numbered(&key, n));
    }
    assert_eq!(fast.numbers(200), Vec::from_iter(0..200));
    gate.open();
    drop(slow);
}

pub(crate) fn a_new_subscriber_gets_old_messages(env: &Env<'_>) {
    let key = env.key("old");
    // The key needs a subscription first, for servers that keep messages only of keys with one.
    let first = env.collect(&*env.broker, &key, None);
    let mut receipts = Vec::new();
    for n in 0..10 {
        let receipt = env
            .broker
            .publish_confirmed(numbered(&key, n), env.patience());
        receipts.push(receipt.expect("the server confirms"));
    }
    first.numbers(10);
    let subscribe = |start| {
        let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let seen_by_handler = Arc::clone(&seen);
        let handler = move |message: &Message, _: &Context| {
            seen_by_handler.lock().push(number(message));
            Ok(())
        };
        let request = Subscribe::new(&*key, handler).options(roomy().start(start));
        let subscription = env
            .broker
            .subscribe_with(request)
            .expect("the subscription is made");
        (subscription, seen)
    };
    let (_earliest, seen) = subscribe(Start::Earliest);
    env.eventually("all old messages came", || {
        *seen.lock() == Vec::from_iter(0..10)
    });
    if let Some(position) = receipts[6].position.clone() {
        let (_after, seen) = subscribe(Start::After(position));
        env.eventually("those after the position came", || {
            *seen.lock() == [7, 8, 9]
        });
    }
}

pub(crate) fn a_confirmed_message_has_a_receipt(env: &Env<'_>) {
    let message = numbered(&env.key("confirmed"), 0);
    let id = message.id().clone();
    let receipt = env.broker.publish_confirmed(message, env.patience());
    assert_eq!(receipt.expect("the server confirms").id, id);
    let count = AtomicUsize::new(0);
    for n in 0..100 {
        env.publish(numbered(&env.key("flushed"), n));
        count.fetch_add(1, Ordering::Relaxed);
    }
    env.broker
        .flush(env.patience())
        .expect("everything is on the server");
    assert_eq!(env.broker.health().outbound, 0);
    assert!(env.broker.health().is_up());
}

/// Checks the row of the driver in the table of the docs. Drivers outside this project have none. A
/// driver without old messages refuses to start after a position.
pub(crate) fn the_docs_say_what_it_promises(env: &Env<'_>) {
    let page = include_str!("../docs/choosing.md");
    let promises = env.capabilities;
    if !promises.replay && promises.plain != Delivery::Unsupported {
        let after = SubscribeOptions::new().start(Start::After("x".into()));
        let request = Subscribe::new(&*env.key("old"), |_: &Message, _: &Context| Ok(()));
        let refused = env.broker.subscribe_with(request.options(after));
        assert!(refused.is_err_and(|error| error.is_unsupported()));
    }
    let start = format!("| `{}` |", promises.driver);
    let Some(row) = page.lines().find(|line| line.starts_with(&start)) else {
        return;
    };
    let often = |delivery| match delivery {
        Delivery::Unsupported => "no",
        Delivery::AtMostOnce => "at most once",
        Delivery::AtLeastOnce => "at least once",
    };
    let whether = |yes| if yes { "yes" } else { "no" };
    let without_member = match promises.without_member {
        WithoutMember::Dropped => "dropped",
        WithoutMember::Kept => "kept",
    };
    let cells = [
        often(promises.plain),
        often(promises.group),
        without_member,
        whether(promises.replay),
        whether(promises.durable),
        whether(promises.remote),
        whether(promises.blocking),
    ];
    assert_eq!(row, format!("{start} {} |", cells.join(" | ")));
}
