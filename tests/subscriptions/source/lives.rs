//! How long a source lives, and in which order its ends are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use fanfeed::{Subscription, SubscriptionScope};

use super::kinds::{Doing, Plain, assert_gone};
use crate::deadline::in_time;

#[test]
fn its_references_go_in_any_order() {
    for order in 0..6 {
        let live = Arc::new(AtomicI64::new(0));
        let source = Doing::ends().counted(&live).source();
        let subscription = source.subscription();
        let (closed, err) = (subscription.closed(), subscription.err());
        let mut parts: [Option<Box<dyn FnOnce()>>; 3] = [
            Some(Box::new(move || drop(source))),
            Some(Box::new(move || drop(subscription))),
            Some(Box::new(move || drop(closed))),
        ];
        let first = order % 3;
        let rest: Vec<_> = (0..3).filter(|&index| index != first).collect();
        let next = rest[order / 3];
        for index in [first, next, 3 - first - next] {
            assert_eq!(live.load(Ordering::SeqCst), 1);
            parts[index].take().unwrap()();
        }
        assert_eq!(live.load(Ordering::SeqCst), 0);
        assert!(err.recv().is_err());
    }
}

#[test]
fn one_that_is_dropped_without_having_ended_disconnects_its_errors() {
    let source = Doing::nothing().source();
    let subscription = source.subscription();
    let err = subscription.err();
    subscription.detach();
    assert!(err.try_recv().unwrap_err().is_empty());
    drop(source);
    assert!(err.try_recv().unwrap_err().is_disconnected());
}

#[test]
fn a_closed_keeps_a_source_that_has_not_ended() {
    let live = Arc::new(AtomicI64::new(0));
    let source = Doing::nothing().counted(&live).source();
    let mut closed = source.subscription().closed();
    drop(source);
    assert_eq!(live.load(Ordering::SeqCst), 1);
    assert!(!closed.wait_timeout(Duration::from_millis(1)));
    drop(closed);
    assert_eq!(live.load(Ordering::SeqCst), 0);
}

#[test]
fn a_detached_joined_one_lives_until_its_members_have_ended() {
    let live = Arc::new(AtomicI64::new(0));
    let sources = [(); 3].map(|()| Doing::ends().counted(&live).source());
    Subscription::join(sources.iter().map(Plain::subscription)).detach();
    let weak = sources.each_ref().map(Arc::downgrade);
    drop(sources);
    assert_eq!(live.load(Ordering::SeqCst), 3);
    weak[0].upgrade().unwrap().end();
    weak[1].upgrade().unwrap().end();
    weak[2].upgrade().unwrap().end();
    assert_eq!(live.load(Ordering::SeqCst), 0);
}

#[test]
fn thousands_leave_nothing_behind() {
    const MANY: usize = 20_000;
    let live = Arc::new(AtomicI64::new(0));
    let make = |index: usize| {
        let doing = if index.is_multiple_of(7) {
            Doing::nothing()
        } else {
            Doing::ends()
        };
        doing.counted(&live).source()
    };
    // Dropped, detached, waited for, failed, in a scope, joined.
    let scope = SubscriptionScope::new();
    let mut members = Vec::new();
    for index in 0..MANY {
        let source = make(index);
        let subscription = source.subscription();
        match index % 6 {
            0 => drop(subscription),
            1 => subscription.detach(),
            2 => drop((subscription.err(), subscription.closed(), subscription)),
            3 => drop((source.fail("gone"), subscription)),
            4 => scope.track(subscription).unwrap().detach(),
            _ => members.push((subscription, source)),
        }
    }
    scope.close();
    let left: Vec<_> = members
        .iter()
        .map(|(_, source)| Arc::clone(source))
        .collect();
    let joined = Subscription::join(members.into_iter().map(|(subscription, _)| subscription));
    joined.unsubscribe();
    assert!(!joined.is_closed(), "some never end by themselves");
    for source in &left {
        source.end();
    }
    assert!(joined.is_closed());
    drop((joined, left));
    // Those in the scope that have not ended.
    let expected = (0..MANY)
        .filter(|index| index % 6 == 4 && index.is_multiple_of(7))
        .count();
    assert_eq!(scope.count(), expected);
    assert_eq!(live.load(Ordering::SeqCst), expected as i64);
    drop(scope);
    assert_eq!(live.load(Ordering::SeqCst), 0);
}

#[test]
fn a_handle_that_is_dropped_as_its_source_ends_leaves_nothing_behind() {
    in_time(|| {
        let live = Arc::new(AtomicI64::new(0));
        let (tx, rx) = channel::<Arc<Plain>>();
        let ender = thread::spawn(move || {
            for source in rx {
                source.fail("meanwhile");
            }
        });
        for _ in 0..5_000 {
            let source = Doing::ends().counted(&live).source();
            let subscription = source.subscription();
            let scope = SubscriptionScope::new();
            let tracked = scope.track(source.subscription()).unwrap();
            tx.send(source).unwrap();
            drop(subscription);
            drop(tracked);
            assert_eq!(scope.count(), 0);
        }
        drop(tx);
        ender.join().unwrap();
        assert_eq!(live.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn the_far_side_may_hold_the_last_reference() {
    let source = Doing::ends().source();
    let subscription = source.subscription();
    subscription.unsubscribe();
    drop(subscription);
    assert_gone(source);
}
