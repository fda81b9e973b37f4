//! Sources in scopes, in joined subscriptions and under `resubscribe`.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use fanfeed::{
    Feed, RingFeed, Stats, Subscription, SubscriptionScope, SubscriptionSource, resubscribe,
    resubscribe_with_error,
};

use super::kinds::{Doing, Plain, assert_gone};
use crate::deadline::{DEADLINE, eventually, in_time};

const SHORT: Duration = Duration::from_millis(1);

fn figures() -> Stats {
    let mut stats = Stats::default();
    stats.delivered = 3;
    stats.dropped = 1;
    stats.depth = Some(2);
    stats
}

#[test]
fn one_that_fails_ends_members_of_all_kinds() {
    in_time(|| {
        let feed = Feed::<u8>::new();
        let ring = RingFeed::<u8>::new(8).unwrap();
        let mut reader = ring.subscribe();
        let (receiver, own) = feed.channel(4).unwrap().split();
        let source = Doing::ends().on_stats(figures).source();
        let other = Doing::ends().source();
        let producer = Subscription::spawn(|token| {
            assert!(token.wait_timeout(DEADLINE));
            Ok::<(), Infallible>(())
        });
        let inner = Subscription::join([own, other.subscription()]);
        let joined = Subscription::join([
            inner,
            source.subscription(),
            producer,
            feed.subscribe_fn(|_| {}),
        ]);
        feed.send(1);
        assert_eq!(joined.stats().delivered, 3 + 1 + 1);
        source.fail("line lost");
        joined.closed().wait();
        assert!(
            joined
                .err()
                .recv()
                .unwrap()
                .to_string()
                .ends_with("line lost")
        );
        assert!(other.state().is_ended());
        assert_eq!(
            (other.told(), other.cancelled()),
            (1, 0),
            "told, not waited for"
        );
        assert_eq!(feed.subscriber_count(), 0);
        assert_eq!(ring.send(1), 0);
        assert_eq!(reader.try_recv(), Ok(1));
        drop(receiver);
    });
}

#[test]
fn a_failing_source_of_the_crate_ends_foreign_sources() {
    let sources = [(); 3].map(|()| Doing::ends().source());
    let members = sources.iter().map(Plain::subscription);
    let hasty = Subscription::spawn(|_| Err("broken"));
    let joined = Subscription::join(members.chain([hasty]));
    assert!(joined.closed().wait_timeout(DEADLINE));
    assert!(joined.err().recv().unwrap().is_failed());
    assert!(sources.iter().all(|source| source.state().is_ended()));
}

#[test]
fn a_joined_one_waits_for_a_source_that_never_ends_and_its_unsubscribe_does_not() {
    in_time(|| {
        let stubborn = Doing::nothing().source();
        let good = Doing::ends().source();
        let joined = Subscription::join([stubborn.subscription(), good.subscription()]);
        joined.unsubscribe();
        assert!(good.state().is_ended());
        assert_eq!((stubborn.told(), stubborn.cancelled()), (1, 1));
        assert!(!joined.is_closed());
        assert!(!joined.closed().wait_timeout(SHORT));
        // When it ends after all, so does the joined one, with its error.
        stubborn.fail("at last");
        assert!(joined.is_closed());
        assert!(joined.err().recv().unwrap().is_failed());
        drop(joined);
        assert_gone(stubborn);
    });
}

#[test]
fn a_scope_closes_around_a_source_that_never_ends() {
    in_time(|| {
        let stubborn = Doing::nothing().source();
        let good = Doing::ends().source();
        let scope = SubscriptionScope::new();
        scope.track(stubborn.subscription()).unwrap().detach();
        scope.track(good.subscription()).unwrap().detach();
        scope.close();
        assert!(good.state().is_ended());
        assert_eq!(scope.count(), 1);
        stubborn.end();
        assert_eq!(scope.count(), 0);
        assert_gone(stubborn);
    });
}

#[test]
fn a_source_that_blocks_in_cancel_keeps_no_other_source_from_being_told() {
    in_time(|| {
        let scoped = SubscriptionScope::new();
        for joins in [false, true] {
            let reached = Arc::new(Barrier::new(2));
            let blocking = {
                let reached = Arc::clone(&reached);
                Doing::ends()
                    .on_cancel(move |_| {
                        reached.wait();
                        reached.wait();
                    })
                    .source()
            };
            let others = [(); 2].map(|()| Doing::ends().source());
            let members = [&others[0], &blocking, &others[1]].map(|source| source.subscription());
            thread::scope(|scope| {
                let closer = scope.spawn(|| {
                    if joins {
                        Subscription::join(members).unsubscribe();
                    } else {
                        for member in members {
                            scoped.track(member).unwrap().detach();
                        }
                        scoped.close();
                    }
                });
                reached.wait();
                assert!(others.iter().all(|other| other.state().is_ended()));
                assert!(!closer.is_finished(), "it waits for the one that blocks");
                reached.wait();
                // Dropping the joined handle cancels once more.
                if joins {
                    reached.wait();
                    reached.wait();
                }
            });
        }
    });
}

#[test]
fn what_has_ended_is_off_its_scope() {
    let scope = SubscriptionScope::new();
    let source = Doing::ends().source();
    let tracked = scope.track(source.subscription()).unwrap();
    assert_eq!(scope.count(), 1);
    source.fail("gone");
    assert_eq!(scope.count(), 0);
    drop(tracked);
    assert_gone(source);
    // One that has ended already, and one that is tracked twice.
    let source = Doing::ends().source();
    let twice = [(); 2].map(|()| scope.track(source.subscription()).unwrap());
    assert_eq!(scope.count(), 1);
    source.end();
    let _again = scope.track(source.subscription()).unwrap();
    assert_eq!(scope.count(), 0);
    drop(twice);
}

#[test]
fn joined_figures_include_those_of_foreign_sources() {
    let source = Doing::ends().on_stats(figures).source();
    let joined = Subscription::join([source.subscription(), source.subscription()]);
    let stats = joined.stats();
    assert_eq!(
        (stats.delivered, stats.dropped, stats.depth),
        (6, 2, Some(4))
    );
}

#[test]
fn a_resubscription_makes_it_again_when_it_fails() {
    in_time(|| {
        let made = Arc::new(Mutex::new(Vec::<Arc<Plain>>::new()));
        let reasons = Arc::new(Mutex::new(Vec::new()));
        let subscription = {
            let (made, reasons) = (Arc::clone(&made), Arc::clone(&reasons));
            resubscribe_with_error(SHORT, move |_, last| {
                reasons
                    .lock()
                    .unwrap()
                    .extend(last.map(|error| error.to_string()));
                let source = Doing::ends().source();
                let subscription = source.subscription();
                made.lock().unwrap().push(source);
                Ok::<_, Infallible>(subscription)
            })
        };
        for attempt in 0..3 {
            eventually("the next attempt", || {
                made.lock().unwrap().len() == attempt + 1
            });
            let source = Arc::clone(&made.lock().unwrap()[attempt]);
            if attempt < 2 {
                source.fail(&format!("failure {attempt}"));
            } else {
                source.end();
            }
        }
        subscription.closed().wait();
        assert!(subscription.err().recv().is_err(), "it ended well");
        assert!(reasons.lock().unwrap()[1].ends_with("failure 1"));
        assert_eq!(reasons.lock().unwrap().len(), 2);
    });
}

#[test]
fn unsubscribing_a_resubscription_cancels_the_source_that_is_live() {
    in_time(|| {
        let cancels = Arc::new(AtomicUsize::new(0));
        let made = Arc::new(AtomicUsize::new(0));
        let subscription = {
            let (cancels, made) = (Arc::clone(&cancels), Arc::clone(&made));
            resubscribe(SHORT, move |_| {
                let cancels = Arc::clone(&cancels);
                made.fetch_add(1, Ordering::SeqCst);
                let source = Doing::ends().on_cancel(move |this| {
                    cancels.fetch_add(1, Ordering::SeqCst);
                    this.end();
                });
                Ok::<_, Infallible>(source.source().subscription())
            })
        };
        eventually("the first attempt", || made.load(Ordering::SeqCst) == 1);
        subscription.unsubscribe();
        assert_eq!(cancels.load(Ordering::SeqCst), 1);
        assert!(subscription.is_closed());
    });
}
