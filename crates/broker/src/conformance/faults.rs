//! Cases about servers that are killed and start again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::tools::{Env, number, numbered, roomy, until_one_arrives};
use crate::context::Context;
use crate::error::ReadyError;
use crate::message::Message;
use crate::subscriber::Subscribe;

pub(crate) fn publishers_and_groups_survive_restarts(env: &Env<'_>) {
    const PUBLISHERS: usize = 100;
    let (key, group) = (env.key("faults"), env.key("group"));
    let seen = Arc::new(parking_lot::Mutex::new(std::collections::HashSet::new()));
    let brokers = [env.server.connect(), env.server.connect()];
    let members: Vec<_> = brokers
        .iter()
        .map(|broker| {
            let seen = Arc::clone(&seen);
            let handler = move |message: &Message, _: &Context| {
                seen.lock().insert(number(message));
                Ok(())
            };
            let request = Subscribe::new(&*key, handler)
                .group(&*group)
                .options(roomy());
            let member = broker.subscribe_with(request).expect("the member joins");
            member.ready(env.patience()).expect("the member is live");
            member
        })
        .collect();
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let confirmed = parking_lot::Mutex::new(Vec::new());
    let restarted = std::thread::scope(|scope| {
        for _ in 0..PUBLISHERS {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    let published = env
                        .broker
                        .publish_confirmed(numbered(&key, n), env.patience());
                    if published.is_ok() {
                        confirmed.lock().push(n);
                    }
                }
            });
        }
        let mut restarted = true;
        for _ in 0..2 {
            let before = confirmed.lock().len();
            env.eventually("messages are confirmed", || {
                confirmed.lock().len() > before + 200
            });
            restarted &= env.server.restart();
        }
        let before = confirmed.lock().len();
        env.eventually("messages are confirmed after the restarts", || {
            confirmed.lock().len() > before + 200
        });
        stop.store(true, Ordering::SeqCst);
        restarted
    });
    if restarted {
        let confirmed = confirmed.lock();
        env.eventually("everything confirmed is handled", || {
            let seen = seen.lock();
            confirmed.iter().all(|n| seen.contains(n))
        });
    }
    drop(members);
}

pub(crate) fn a_plain_subscription_goes_on_after_a_restart(env: &Env<'_>) {
    let key = env.key("faults");
    let collector = env.collect(&*env.broker, &key, None);
    env.publish(numbered(&key, 0));
    assert_eq!(collector.numbers(1), [0]);
    if !env.server.restart() {
        return;
    }
    let mut n = 0;
    until_one_arrives(env, &collector, || {
        n += 1;
        let _ = env.broker.try_publish(numbered(&key, n));
    });
    assert!(!collector.subscription.is_closed());
}

pub(crate) fn a_subscription_to_a_server_that_is_away_is_pending(env: &Env<'_>) {
    let key = env.key("away");
    if !env.server.kill() {
        return;
    }
    // A receiving side without subscriptions may see the loss later, when it opens this one.
    env.eventually("the loss is seen", || !env.broker.health().is_up());
    let (sender, receiver) = crossbeam_channel::unbounded();
    let handler = move |message: &Message, _: &Context| Ok(sender.send(number(message))?);
    let subscription = env
        .broker
        .subscribe_with(Subscribe::new(&*key, handler))
        .expect("a pending subscription is returned");
    assert_eq!(
        subscription.ready(Duration::from_millis(50)),
        Err(ReadyError::Timeout)
    );
    env.server.start();
    subscription
        .ready(env.patience())
        .expect("it is live once the server is back");
    let mut n = 0;
    env.eventually("messages arrive", || {
        n += 1;
        let _ = env.broker.try_publish(numbered(&key, n));
        std::thread::sleep(Duration::from_millis(20));
        receiver.try_recv().is_ok()
    });
}

pub(crate) fn messages_wait_for_a_server_that_is_away(env: &Env<'_>) {
    const COUNT: usize = 100;
    let key = env.key("waiting");
    let collector = env.collect(&*env.broker, &key, None);
    env.publish(numbered(&key, 0));
    collector.numbers(1);
    if !env.server.kill() {
        return;
    }
    env.eventually("the publishing side sees the loss", || {
        env.broker.health().outbound_fault.is_some()
    });
    for n in 1..COUNT {
        env.publish(numbered(&key, n));
    }
    env.server.start();
    env.broker
        .flush(env.patience())
        .expect("the server has everything");
    let mut seen = std::collections::HashSet::from([0]);
    env.eventually("everything arrives", || {
        seen.extend(std::iter::from_fn(|| collector.try_next()));
        seen.len() == COUNT
    });
}
