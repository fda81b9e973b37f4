//! Cases about the end of subscriptions and of brokers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::unbounded;

use super::tools::{Env, Gate, numbered};
use crate::error::{FlushError, SubscribeError};
use crate::subscriber::SubscriberExt;

pub(crate) fn nothing_comes_after_unsubscribe(env: &Env<'_>) {
    let key = env.key("ended");
    let other = env.collect(&*env.broker, &key, None);
    for round in 0..20 {
        let count = Arc::new(AtomicUsize::new(0));
        let subscription = {
            let count = Arc::clone(&count);
            env.subscribe(&key, move |_, _| {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
        };
        for n in 0..20 {
            env.publish(numbered(&key, round * 20 + n));
        }
        subscription.unsubscribe();
        let handled = count.load(Ordering::SeqCst);
        other.numbers(20);
        assert_eq!(count.load(Ordering::SeqCst), handled);
        assert!(subscription.is_closed());
        env.eventually("what the handler captured is dropped", || {
            Arc::strong_count(&count) == 1
        });
    }
}

pub(crate) fn unsubscribe_waits_for_the_handler(env: &Env<'_>) {
    let key = env.key("waits");
    let gate = Gate::new(env.patience());
    let done = Arc::new(AtomicUsize::new(0));
    let subscription = {
        let (gate, done) = (gate.clone(), Arc::clone(&done));
        env.subscribe(&key, move |_, _| {
            gate.pass();
            done.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    };
    env.publish(numbered(&key, 0));
    gate.wait_for_visitor();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            subscription.unsubscribe();
            done.load(Ordering::SeqCst)
        });
        gate.open();
        assert_eq!(waiting.join().expect("unsubscribe returns"), 1);
    });
}

pub(crate) fn a_handler_may_end_its_own_subscription(env: &Env<'_>) {
    let key = env.key("own");
    let (handles, handle) = unbounded::<crate::subscription::BrokerSubscription>();
    let (ended, ends) = unbounded();
    let patience = env.patience();
    let subscription = env.subscribe(&key, move |_, _| {
        let own = handle.recv_timeout(patience)?;
        own.unsubscribe();
        ended.send(own.is_closed())?;
        Ok(())
    });
    let mut closed = subscription.closed();
    handles.send(subscription).expect("the handler waits");
    env.publish(numbered(&key, 0));
    env.publish(numbered(&key, 1));
    // It did not wait for itself, and does not end while its handler runs.
    assert_eq!(ends.recv_timeout(env.patience()), Ok(false));
    assert!(
        closed.wait_timeout(env.patience()),
        "it ends when the handler returns"
    );
    assert!(
        ends.try_recv().is_err(),
        "the second message is not handled"
    );
}

pub(crate) fn the_others_go_on_when_one_ends(env: &Env<'_>) {
    let key = env.key("others");
    let stayer = env.collect(&*env.broker, &key, None);
    let leaver = env.collect(&*env.broker, &key, None);
    env.publish(numbered(&key, 0));
    leaver.numbers(1);
    drop(leaver);
    for n in 1..100 {
        env.publish(numbered(&key, n));
    }
    assert_eq!(stayer.numbers(100), Vec::from_iter(0..100));
}

pub(crate) fn the_token_is_cancelled_by_the_end_of_the_handler(env: &Env<'_>) {
    let key = env.key("token");
    let (tokens, given) = unbounded();
    let _subscription = env.subscribe(&key, move |_, context| {
        assert!(!context.token().is_cancelled());
        Ok(tokens.send(context.token())?)
    });
    env.publish(numbered(&key, 0));
    let token = given
        .recv_timeout(env.patience())
        .expect("the handler is called");
    assert!(token.wait_timeout(env.patience()), "it is cancelled");
}

pub(crate) fn the_token_is_cancelled_by_the_end_of_the_subscription(env: &Env<'_>) {
    for close in [false, true] {
        let broker = env.server.connect();
        let key = env.key(if close { "closed" } else { "unsubscribed" });
        let gate = Gate::new(env.patience());
        let patience = env.patience();
        let handler = {
            let gate = gate.clone();
            move |_: &crate::message::Message, context: &crate::context::Context| {
                let token = context.token();
                gate.pass();
                assert!(token.wait_timeout(patience), "the token is cancelled");
                assert!(context.is_cancelled());
                Ok(())
            }
        };
        let subscription = broker
            .subscribe(&*key, handler)
            .expect("the subscription is made");
        subscription
            .ready(patience)
            .expect("the subscription is live");
        env.publish(numbered(&key, 0));
        gate.wait_for_visitor();
        gate.open();
        let mut closed = subscription.closed();
        match close {
            true => {
                // The handler is running at the deadline, and is told to stop then.
                let _ = broker.close(Duration::ZERO);
            }
            false => subscription.unsubscribe(),
        }
        assert!(closed.wait_timeout(patience), "it ends");
    }
}

pub(crate) fn close_drains(env: &Env<'_>) {
    let broker = env.server.connect();
    let key = env.key("drained");
    let collector = env.collect(&*broker, &key, None);
    for n in 0..200 {
        super::tools::publish(&*broker, numbered(&key, n), env.patience());
    }
    if env.capabilities.remote {
        // A message on its way back from a server does not belong to the broker yet.
        assert_eq!(collector.numbers(200), Vec::from_iter(0..200));
        broker.close(env.patience()).expect("nothing is left over");
    } else {
        broker.close(env.patience()).expect("nothing is left over");
        assert_eq!(collector.numbers(200), Vec::from_iter(0..200));
    }
    assert!(
        collector.subscription.is_closed(),
        "`close` returned before the subscription had ended"
    );
    assert!(
        collector.subscription.err().try_recv().is_err(),
        "the end is no failure"
    );
}

pub(crate) fn ten_may_close_at_once(env: &Env<'_>) {
    let broker = env.server.connect();
    std::thread::scope(|scope| {
        let closers: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| broker.close(env.patience())))
            .collect();
        for closer in closers {
            assert_eq!(closer.join().expect("close returns"), Ok(()));
        }
    });
    assert_eq!(broker.close(env.patience()), Ok(()));
}

pub(crate) fn everything_says_closed_after_close(env: &Env<'_>) {
    let broker = env.server.connect();
    broker.close(env.patience()).expect("nothing is left over");
    let message = || numbered("k", 0);
    assert!(broker.is_closed());
    assert!(
        broker
            .try_publish(message())
            .is_err_and(|error| error.is_closed())
    );
    assert!(
        broker
            .publish(message())
            .is_err_and(|error| error.is_closed())
    );
    let timed = broker.publish_timeout(message(), env.patience());
    assert!(timed.is_err_and(|error| error.is_closed()));
    let confirmed = broker.publish_confirmed(message(), env.patience());
    assert!(confirmed.is_err_and(|error| error.is_closed()));
    assert_eq!(broker.flush(env.patience()), Err(FlushError::Closed));
    let plain = broker.subscribe("k", |_, _| Ok(()));
    assert!(
        matches!(plain, Err(SubscribeError::Closed))
            || env.capabilities.plain == crate::Delivery::Unsupported
    );
    assert!(!broker.health().is_up());
}
