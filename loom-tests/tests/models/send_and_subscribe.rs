//! A send against a subscribe: a subscription that was made before a send began misses no value of
//! it.
//!
//! Modelled: one thread that subscribes and then sets a flag, and one that reads the flag and then
//! sends. A channel of the feed's own, and closures, of which the first makes a directory of
//! chunks. Bounds: two threads, one or two values, two subscriptions, three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models send_and_subscribe::
//! ```
use std::sync::Arc;

use fanfeed::Feed;
use fanfeed_loom_tests::{Ledger, Model, Why};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

fn a_channel() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let subscribed = Arc::new(AtomicBool::new(false));
    let subscriber = {
        let (feed, subscribed) = (feed.clone(), Arc::clone(&subscribed));
        thread::spawn(move || {
            let receiver = feed.channel(2).unwrap();
            subscribed.store(true, Ordering::Release);
            receiver
        })
    };
    let is_subscribed = subscribed.load(Ordering::Acquire);
    let sent = feed.send(ledger.token(1)) + feed.send(ledger.token(2));
    let mut receiver = subscriber.join().unwrap();
    assert!(sent == 2 || !is_subscribed, "the value was missed");
    assert_eq!(receiver.try_iter().count(), sent);
    drop((receiver, feed));
    ledger.assert_settled();
}

/// Beside a channel that was there before, which gets the value in any case.
fn a_second_channel() {
    let feed = Feed::new();
    let mut first = feed.channel(1).unwrap();
    let subscriber = {
        let feed = feed.clone();
        thread::spawn(move || feed.channel(1).unwrap())
    };
    let sent = feed.send(1);
    let mut second = subscriber.join().unwrap();
    assert_eq!(first.try_recv(), Ok(1));
    assert_eq!(second.try_iter().count(), sent - 1);
}

fn a_closure() {
    let feed = Feed::new();
    let subscribed = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let subscriber = {
        let (feed, subscribed, calls) = (feed.clone(), Arc::clone(&subscribed), calls.clone());
        thread::spawn(move || {
            let subscription = feed.subscribe_fn(move |_| {
                calls.fetch_add(1, Ordering::Relaxed);
            });
            subscribed.store(true, Ordering::Release);
            subscription
        })
    };
    let is_subscribed = subscribed.load(Ordering::Acquire);
    let sent = feed.send(1);
    let subscription = subscriber.join().unwrap();
    assert!(sent == 1 || !is_subscribed, "the value was missed");
    assert_eq!(calls.load(Ordering::Relaxed), sent);
    drop(subscription);
}

#[test]
fn a_channel_misses_nothing() {
    Model::bound(6).holds(a_channel);
}

#[test]
fn a_second_channel_takes_nothing_from_the_first() {
    Model::bound(8).holds(a_second_channel);
}

#[test]
fn a_closure_misses_nothing() {
    let model = Model::bound(8).few("one closure is one bucket, and one word for a send to see");
    model.holds(a_closure);
}

#[test]
fn a_seat_has_to_be_filled_before_it_is_live() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("seat_is_live_before_it_is_filled", a_channel);
}

#[test]
fn a_seat_has_to_be_published() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("seat_is_live_relaxed", a_channel);
}

#[test]
fn a_bucket_has_to_be_published() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("bucket_is_published_relaxed", a_closure);
}
