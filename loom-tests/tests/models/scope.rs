//! Tracking a subscription against the close of its scope: whichever comes first, the subscription
//! has ended when both are done.
//!
//! Modelled: two threads that track and one that closes; two that close. Bounds: three threads, two
//! subscriptions, three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models scope::
//! ```
use std::sync::Arc;

use fanfeed::{Feed, SubscriptionScope};
use fanfeed_loom_tests::{Model, Why, post};
use loom::thread;

fn a_track() {
    let feed = Feed::<u32>::new();
    let scope = Arc::new(SubscriptionScope::new());
    let trackers = [(); 2].map(|()| {
        let (post, post_box) = post(1);
        let (feed, scope) = (feed.clone(), Arc::clone(&scope));
        let tracker = thread::spawn(move || scope.track(feed.subscribe(post)));
        (tracker, post_box)
    });
    scope.close();
    for (tracker, post_box) in trackers {
        let tracked = tracker.join().unwrap();
        post_box.assert_ended();
        assert!(tracked.is_none_or(|subscription| subscription.is_closed()));
    }
    assert_eq!(scope.count(), 0);
}

fn two_closes() {
    let feed = Feed::<u32>::new();
    let scope = Arc::new(SubscriptionScope::new());
    let (post, post_box) = post(1);
    scope.track(feed.subscribe(post)).unwrap().detach();
    let other = {
        let scope = Arc::clone(&scope);
        thread::spawn(move || scope.close())
    };
    scope.close();
    post_box.seal();
    assert_eq!(scope.count(), 0);
    // One of the two has dropped the carrier.
    other.join().unwrap();
    post_box.assert_ended();
}

#[test]
fn a_closed_scope_leaves_nothing_running() {
    Model::bound(3).holds(a_track);
}

#[test]
fn every_thread_that_closes_a_scope_waits() {
    Model::bound(3).holds(two_closes);
}

#[test]
fn a_scope_has_to_look_whether_it_is_closed() {
    Model::bound(2)
        .because(Why::Says("the carrier was not dropped"))
        .fails_with("closed_scope_tracks", a_track);
}
