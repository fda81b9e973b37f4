//! Cases about connections that are cut, delayed, stalled and half-closed, and about members that
//! are killed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::tools::{Env, Gate, number, numbered, publish, roomy, until_one_arrives};
use super::{Line, Way};
use crate::broker::Broker;
use crate::capabilities::Delivery;
use crate::context::Context;
use crate::error::FlushError;
use crate::event::Event;
use crate::message::Message;
use crate::subscriber::Subscribe;
use crate::subscription::BrokerSubscription;

type Numbers = Arc<Mutex<HashSet<usize>>>;

/// Subscribes a handler that records what it gets.
fn note(
    env: &Env<'_>,
    broker: &dyn Broker,
    key: &str,
    group: Option<&str>,
) -> (BrokerSubscription, Numbers) {
    let seen = Numbers::default();
    let noted = Arc::clone(&seen);
    let handler = move |message: &Message, _: &Context| {
        noted.lock().insert(number(message));
        Ok(())
    };
    let mut request = Subscribe::new(key, handler).options(roomy());
    if let Some(group) = group {
        request = request.group(group);
    }
    let subscription = broker
        .subscribe_with(request)
        .expect("the subscription is made");
    subscription
        .ready(env.patience())
        .expect("the subscription is live");
    (subscription, seen)
}

/// The faults that the lines have, in turn.
fn disturb(round: usize, line: &dyn Line) {
    match round {
        0 => line.cut(),
        1 => {
            line.delay(Duration::from_millis(5));
            line.half_close(Way::ToServer);
        }
        2 => line.half_close(Way::ToBroker),
        _ => {
            line.delay(Duration::ZERO);
            line.cut();
        }
    }
}

const ROUNDS: usize = 4;

pub(crate) fn nothing_is_lost_over_bad_lines(env: &Env<'_>) {
    const EACH: usize = 250;
    let (key, group) = (env.key("lines"), env.key("group"));
    let Some((writer, out)) = env.server.connect_over() else {
        return;
    };
    let (reader, back) = env.server.connect_over().expect("there are more lines");
    let promised = |delivery| delivery == Delivery::AtLeastOnce;
    let plain = promised(env.capabilities.plain).then(|| note(env, &*reader, &key, None));
    let member = promised(env.capabilities.group).then(|| note(env, &*reader, &key, Some(&group)));
    for round in 0..ROUNDS {
        for n in 0..EACH {
            publish(&*writer, numbered(&key, round * EACH + n), env.patience());
            if n == EACH / 3 {
                disturb(round, &*out);
            }
            if n == EACH / 2 {
                disturb(round, &*back);
            }
        }
    }
    for (_, seen) in plain.iter().chain(&member) {
        env.eventually("everything arrives", || seen.lock().len() == ROUNDS * EACH);
    }
}

pub(crate) fn a_subscription_goes_on_over_a_bad_line(env: &Env<'_>) {
    let key = env.key("line");
    let Some((reader, line)) = env.server.connect_over() else {
        return;
    };
    let collector = env.collect(&*reader, &key, None);
    let mut n = 0;
    for round in 0..ROUNDS {
        disturb(round, &*line);
        until_one_arrives(env, &collector, || {
            n += 1;
            env.publish(numbered(&key, n));
        });
    }
    assert!(!collector.subscription.is_closed());
}

pub(crate) fn publishing_goes_on_over_a_bad_line(env: &Env<'_>) {
    let key = env.key("line");
    let Some((writer, line)) = env.server.connect_over() else {
        return;
    };
    let mut events = writer.events();
    let mut published = HashSet::new();
    for round in 0..ROUNDS {
        for n in 0..10 {
            let message = numbered(&key, n);
            published.insert(message.id().clone());
            publish(&*writer, message, env.patience());
        }
        disturb(round, &*line);
        env.eventually("a message is confirmed again", || {
            writer
                .publish_confirmed(numbered(&key, round), env.patience())
                .is_ok()
        });
    }
    // Each failure was returned to a caller of `publish_confirmed`, or is reported now, once.
    let mut told = 0;
    env.eventually("a flush has nothing more to tell", || {
        match writer.flush(env.patience()) {
            Ok(()) => true,
            Err(FlushError::Failed(n) | FlushError::Uncertain(n)) => {
                told += n;
                false
            }
            Err(other) => panic!("{other}"),
        }
    });
    let mut failed = 0;
    env.eventually("the flushes have told what the events tell", || {
        let ids = events.try_iter().filter_map(|event| match event {
            Event::PublishFailed { id, .. } => Some(id),
            _ => None,
        });
        failed += ids.filter(|id| published.contains(id)).count();
        failed == told
    });
    let stats = writer.stats();
    assert_eq!(stats.published, stats.confirmed + stats.publish_failed);
}

pub(crate) fn a_stalled_line_times_out(env: &Env<'_>) {
    let key = env.key("line");
    let Some((writer, line)) = env.server.connect_over() else {
        return;
    };
    line.stall(true);
    let began = Instant::now();
    let timeout = Duration::from_millis(200);
    let stalled = writer.publish_confirmed(numbered(&key, 0), timeout);
    assert!(stalled.is_err(), "nobody can have confirmed it");
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "it took {took:?} to time out"
    );
    line.stall(false);
    env.eventually("a message is confirmed again", || {
        writer
            .publish_confirmed(numbered(&key, 1), env.patience())
            .is_ok()
    });
}

pub(crate) fn a_killed_member_holds_nobody(env: &Env<'_>) {
    const COUNT: usize = 100;
    let (key, group) = (env.key("killed"), env.key("group"));
    let Some((doomed, line)) = env.server.connect_over() else {
        return;
    };
    let gate = Gate::new(env.patience());
    let stuck = {
        let gate = gate.clone();
        move |_: &Message, _: &Context| {
            gate.pass();
            Ok(())
        }
    };
    let request = Subscribe::new(&*key, stuck).group(&*group).options(roomy());
    let member = doomed.subscribe_with(request).expect("the member joins");
    member.ready(env.patience()).expect("the member is live");
    env.publish(numbered(&key, 0));
    gate.wait_for_visitor();
    let (_survivor, seen) = note(env, &*env.broker, &key, Some(&group));
    for n in 1..COUNT {
        env.publish(numbered(&key, n));
    }
    // To the server, this is a process that was killed while it handled messages.
    line.refuse(true);
    line.cut();
    if env.capabilities.group == Delivery::AtLeastOnce {
        env.eventually("another member handles everything", || {
            seen.lock().len() == COUNT
        });
    } else {
        let mut n = COUNT;
        env.eventually("another member gets what comes next", || {
            env.publish(numbered(&key, n));
            n += 1;
            std::thread::sleep(Duration::from_millis(20));
            seen.lock().iter().any(|n| *n >= COUNT)
        });
    }
    gate.open();
}
