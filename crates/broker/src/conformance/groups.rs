//! Cases about groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::tools::{Env, Gate, number, numbered, roomy};
use crate::capabilities::WithoutMember;
use crate::context::Context;
use crate::handler::HandlerError;
use crate::message::Message;
use crate::options::Redelivery;
use crate::subscriber::Subscribe;

pub(crate) fn one_of_a_group_gets_each_message(env: &Env<'_>) {
    let (key, group) = (env.key("work"), env.key("group"));
    let brokers = [(); 3].map(|()| env.server.connect());
    let members = brokers
        .each_ref()
        .map(|broker| env.collect(&**broker, &key, Some(&group)));
    for n in 0..300 {
        env.publish(numbered(&key, n));
    }
    let mut got = Vec::new();
    env.eventually("all arrive", || {
        got.extend(members.iter().filter_map(|member| member.try_next()));
        let mut distinct = got.clone();
        distinct.sort_unstable();
        distinct.dedup();
        distinct.len() == 300
    });
    if !env.may_repeat(true) {
        got.extend(members.iter().filter_map(|member| member.try_next()));
        assert_eq!(got.len(), 300, "nothing comes twice");
    }
}

pub(crate) fn two_groups_get_all_messages_each(env: &Env<'_>) {
    let key = env.key("work");
    let groups = [env.key("one"), env.key("two")];
    let collectors = groups
        .each_ref()
        .map(|group| env.collect(&*env.broker, &key, Some(group)));
    for n in 0..100 {
        env.publish(numbered(&key, n));
    }
    for collector in &collectors {
        let mut got = collector.numbers(100);
        got.sort_unstable();
        assert_eq!(got, Vec::from_iter(0..100));
    }
}

pub(crate) fn a_leaving_member_loses_nothing(env: &Env<'_>) {
    let (key, group) = (env.key("work"), env.key("group"));
    let seen = Arc::new(parking_lot::Mutex::new(vec![0_usize; 400]));
    let join = || {
        let seen = Arc::clone(&seen);
        let handler = move |message: &Message, _: &Context| {
            seen.lock()[number(message)] += 1;
            Ok(())
        };
        let request = Subscribe::new(&*key, handler)
            .group(&*group)
            .options(roomy());
        let member = env
            .broker
            .subscribe_with(request)
            .expect("the member joins");
        member.ready(env.patience()).expect("the member is live");
        member
    };
    let stayer = join();
    for round in 0..4 {
        let leaver = join();
        for n in 0..100 {
            env.publish(numbered(&key, round * 100 + n));
        }
        drop(leaver);
    }
    env.eventually("all are handled", || {
        seen.lock().iter().all(|count| *count > 0)
    });
    if !env.may_repeat(true) {
        assert!(
            seen.lock().iter().all(|count| *count == 1),
            "nothing comes twice"
        );
    }
    drop(stayer);
}

pub(crate) fn a_group_without_members_does_what_it_promises(env: &Env<'_>) {
    let (key, group) = (env.key("work"), env.key("group"));
    // The server has to know the group.
    drop(env.collect(&*env.broker, &key, Some(&group)));
    let confirmed = env
        .broker
        .publish_confirmed(numbered(&key, 1), env.patience());
    confirmed.expect("the server confirms");
    let member = env.collect(&*env.broker, &key, Some(&group));
    env.publish(numbered(&key, 2));
    let expected: &[usize] = match env.capabilities.without_member {
        WithoutMember::Dropped => &[2],
        WithoutMember::Kept => &[1, 2],
    };
    assert_eq!(member.numbers(expected.len()), expected);
}

/// The last member's handler runs until its subscription is over, and then fails.
pub(crate) fn a_message_that_fails_after_its_member_left_is_not_lost(env: &Env<'_>) {
    type Fail = fn() -> HandlerError;
    let failed: Fail = || HandlerError::failed("it has to stop");
    let ways = [
        (false, Redelivery::InPlace, failed, 10),
        (false, Redelivery::Requeue, failed, 10),
        (true, Redelivery::InPlace, failed, 10),
        // A message that is handed back does not count as an attempt.
        (false, Redelivery::InPlace, || HandlerError::HandBack, 1),
        (false, Redelivery::Requeue, || HandlerError::HandBack, 1),
        (true, Redelivery::InPlace, || HandlerError::HandBack, 1),
    ];
    for (at, (close, redelivery, fail, attempts)) in ways.into_iter().enumerate() {
        let (key, group) = (env.key("work"), env.key(&format!("group-{at}")));
        let broker = env.server.connect();
        let gate = Gate::new(env.patience());
        let handler = {
            let (gate, patience) = (gate.clone(), env.patience());
            move |_: &Message, context: &Context| {
                let token = context.token();
                gate.pass();
                assert!(token.wait_timeout(patience), "the token is cancelled");
                Err(fail())
            }
        };
        let request = Subscribe::new(&*key, handler)
            .group(&*group)
            .options(roomy().redelivery(redelivery).attempts(attempts));
        let member = broker.subscribe_with(request).expect("the member joins");
        member.ready(env.patience()).expect("the member is live");
        for n in 0..3 {
            env.publish(numbered(&key, n));
        }
        gate.wait_for_visitor();
        gate.open();
        let mut closed = member.closed();
        match close {
            // The handler is told to stop at the deadline.
            true => drop(broker.close(Duration::ZERO)),
            false => member.unsubscribe(),
        }
        assert!(closed.wait_timeout(env.patience()), "it ends");
        let next = env.collect(&*env.broker, &key, Some(&group));
        let mut got = Vec::new();
        env.eventually("the next member gets all messages", || {
            got.extend(next.try_next());
            (0..3).all(|n| got.contains(&n))
        });
    }
}

pub(crate) fn a_group_keeps_the_order_of_a_failing_message(env: &Env<'_>) {
    if !env.capabilities.group_order {
        return;
    }
    let (key, group) = (env.key("work"), env.key("group"));
    let gate = Gate::new(env.patience());
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let failed = AtomicBool::new(false);
    let handler = {
        let (gate, seen) = (gate.clone(), Arc::clone(&seen));
        move |message: &Message, _: &Context| {
            gate.pass();
            let n = number(message);
            seen.lock().push(n);
            if n == 1 && !failed.swap(true, Ordering::SeqCst) {
                return Err(HandlerError::Retry(Duration::from_millis(5)));
            }
            Ok(())
        }
    };
    let request = Subscribe::new(&*key, handler)
        .group(&*group)
        .options(roomy());
    let member = env
        .broker
        .subscribe_with(request)
        .expect("the member joins");
    member.ready(env.patience()).expect("the member is live");
    for n in 0..4 {
        env.publish(numbered(&key, n));
    }
    gate.wait_for_visitor();
    gate.open();
    env.eventually("all are handled", || seen.lock().len() == 5);
    assert_eq!(*seen.lock(), [0, 1, 1, 2, 3]);
}
