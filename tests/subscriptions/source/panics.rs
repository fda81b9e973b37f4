//! Sources that panic.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use fanfeed::{Feed, Subscription, SubscriptionScope, SubscriptionSource};

use super::kinds::{Doing, Plain, assert_gone};
use crate::deadline::{DEADLINE, in_time};

fn panics() -> Doing {
    Doing::ends()
        .on_cancel(|_| panic!("in cancel"))
        .on_cancel_soon(|_| panic!("in cancel_soon"))
}

#[track_caller]
fn assert_panicked(source: &Arc<Plain>, message: &str) {
    let error = source.subscription().err().recv_timeout(DEADLINE).unwrap();
    assert!(error.is_panicked(), "{error:?}");
    assert!(error.to_string().ends_with(message), "{error}");
}

#[test]
fn a_panic_in_cancel_ends_it_as_failed_and_goes_no_further() {
    for drops in [false, true] {
        let source = panics().source();
        let subscription = source.subscription();
        if drops {
            drop(subscription);
        } else {
            subscription.unsubscribe();
            assert!(subscription.is_closed());
            // Again, and by the drop of the handle.
            subscription.unsubscribe();
        }
        assert_panicked(&source, "in cancel");
    }
}

#[test]
fn a_panic_after_the_end_changes_nothing() {
    let source = Doing::ends()
        .on_cancel(|this| {
            this.end();
            panic!("after the end");
        })
        .source();
    let subscription = source.subscription();
    subscription.unsubscribe();
    assert!(subscription.is_closed());
    assert!(subscription.err().recv().is_err(), "it did not fail");
}

#[test]
fn a_handle_that_is_dropped_by_a_panic_does_not_abort() {
    let source = panics().source();
    let subscription = source.subscription();
    let outer = catch_unwind(AssertUnwindSafe(|| {
        let _subscription = subscription;
        panic!("the outer one");
    }));
    assert_eq!(outer.unwrap_err().downcast_ref(), Some(&"the outer one"));
    assert_panicked(&source, "in cancel");
}

#[test]
fn a_payload_that_panics_goes_no_further_either() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a payload that panics when it is dropped");
        }
    }
    let source = Doing::ends().on_cancel(|_| panic_any(Bomb)).source();
    drop(source.subscription());
    assert_panicked(&source, "(a panic without a message)");
}

#[test]
fn a_scope_ends_the_others() {
    let scope = SubscriptionScope::new();
    let good = [(); 2].map(|()| Doing::ends().source());
    let bad = panics().source();
    for source in [&good[0], &bad, &good[1]] {
        scope.track(source.subscription()).unwrap().detach();
    }
    scope.close();
    assert_eq!(scope.count(), 0);
    assert_panicked(&bad, "in cancel_soon");
    for good in good {
        assert_eq!((good.told(), good.cancelled()), (1, 1));
        assert_gone(good);
    }
}

#[test]
fn a_closed_scope_refuses_it_nevertheless() {
    let scope = SubscriptionScope::new();
    scope.close();
    let source = panics().source();
    assert!(scope.track(source.subscription()).is_none());
    assert_panicked(&source, "in cancel");
}

#[test]
fn a_joined_one_ends_the_others_and_fails() {
    for fails in [false, true] {
        let [first, last] = [(); 2].map(|()| Doing::ends().source());
        let bad = panics().source();
        let joined = [&first, &bad, &last].map(|source| source.subscription());
        let joined = Subscription::join(joined);
        if fails {
            last.fail("first of all");
        } else {
            joined.unsubscribe();
        }
        assert!(joined.is_closed());
        let error = joined.err().recv().unwrap();
        assert_eq!(error.is_failed(), fails, "{error}");
        assert_panicked(&bad, "in cancel_soon");
        assert!(first.state().is_ended() && last.state().is_ended());
    }
}

#[test]
fn a_panic_in_stats_is_the_askers() {
    let source = Doing::ends().on_stats(|| panic!("in stats")).source();
    let good = Doing::ends().source();
    let subscription = Subscription::join([source.subscription(), good.subscription()]);
    for _ in 0..2 {
        let asked = catch_unwind(|| subscription.stats());
        assert_eq!(asked.unwrap_err().downcast_ref(), Some(&"in stats"));
    }
    assert!(!subscription.is_closed());
    subscription.unsubscribe();
    assert!(subscription.err().recv().is_err(), "it did not fail");
}

#[test]
fn a_panic_in_the_destructor_goes_nowhere() {
    let live = Arc::new(AtomicI64::new(0));
    let make = || {
        let source = Doing::ends().on_drop(|| panic!("in drop")).counted(&live);
        Subscription::from_source(source.source())
    };
    drop(make());
    make().detach();
    drop(make().closed());
    {
        let subscription = make();
        let closed = subscription.closed();
        drop(subscription);
        closed.wait();
    }
    let scope = SubscriptionScope::new();
    (0..3).for_each(|_| scope.track(make()).unwrap().detach());
    drop(scope);
    drop(Subscription::join((0..3).map(|_| make())));
    let inner = Subscription::join([make(), make()]);
    drop(Subscription::join([make(), inner, make()]));
    assert_eq!(live.load(Ordering::SeqCst), 0);
}

#[test]
fn a_panic_in_a_delivery_of_a_feed_is_not_mistaken_for_one_of_the_source() {
    in_time(|| {
        let feed = Feed::new();
        let bad = panics().source();
        let subscription = bad.subscription();
        let closure = feed.subscribe_fn(move |()| {
            subscription.unsubscribe();
            panic!("in the closure");
        });
        feed.send(());
        let error = closure.err().recv().unwrap();
        assert!(error.to_string().ends_with("in the closure"), "{error}");
        assert_panicked(&bad, "in cancel");
    });
}
