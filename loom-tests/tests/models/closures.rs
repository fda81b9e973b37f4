//! A send against an unsubscribe of a closure: when `unsubscribe` has returned, the closure is not
//! called any more, and its captures are dropped. A closure has its own place in a visit, so that a
//! slow closure delays no other unsubscribe.
//!
//! Modelled: one thread that sends a value and one that unsubscribes one of at most two closures.
//! Bounds: two or three preemptions, or no bound.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models closures::
//! ```
use std::sync::Arc;

use fanfeed::Feed;
use fanfeed_loom_tests::{Ledger, Model, Post, Token, Why, post};
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// What a closure has captured, which is dropped with it.
fn closure(post: Post<Token>) -> impl Fn(&Token) {
    use fanfeed::Carrier;
    move |value| post.try_send(value.clone()).unwrap()
}

fn a_closure() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let (post, post_box) = post(1);
    let subscription = feed.subscribe_fn(closure(post));
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || feed.send(ledger.token(1)))
    };
    subscription.unsubscribe();
    post_box.assert_ended();
    let sent = sender.join().unwrap();
    assert_eq!(post_box.take().map_or(0, |_| 1), sent);
    drop((subscription, feed, post_box));
    ledger.assert_settled();
}

/// The second of two closures, which share a chunk.
fn a_second_closure() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let _first = feed.subscribe_fn(|_: &Token| {});
    let (post, post_box) = post(1);
    let subscription = feed.subscribe_fn(closure(post));
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || feed.send(ledger.token(1)))
    };
    subscription.unsubscribe();
    post_box.assert_ended();
    let sent = sender.join().unwrap();
    assert_eq!(1 + post_box.take().map_or(0, |_| 1), sent);
}

/// How often a thread looks for what another one does without its help.
const LOOKS: usize = 100;

/// A closure that does not return until another one is unsubscribed.
fn a_closure_that_takes_its_time() {
    let feed = Feed::new();
    let (begun, go_on) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (is_begun, may_go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
    let _slow = feed.subscribe_fn(move |_: &u32| {
        begun.store(true, Ordering::Release);
        for _ in 0..LOOKS {
            if go_on.load(Ordering::Acquire) {
                return;
            }
            thread::yield_now();
        }
        panic!("a closure holds up another one's unsubscribe");
    });
    let quick = feed.subscribe_fn(|_| {});
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    while !is_begun.load(Ordering::Acquire) {
        thread::yield_now();
    }
    quick.unsubscribe();
    may_go_on.store(true, Ordering::Release);
    assert_eq!(sender.join().unwrap(), 1);
}

#[test]
fn a_closure_is_not_called_afterwards() {
    Model::bound(3).holds(a_closure);
}

#[test]
fn a_second_closure_is_not_called_afterwards() {
    Model::bound(3).holds(a_second_closure);
}

#[test]
fn a_slow_closure_does_not_hold_up_another_ones_unsubscribe() {
    Model::bound(30)
        .few("the slow closure lets go only after the unsubscribe: these are all the orders there are")
        .holds(a_closure_that_takes_its_time);
}

#[test]
fn a_call_has_to_begin_in_order() {
    Model::bound(2)
        .with_plain_fences()
        .because(Why::Race)
        .fails_with("delivery_begins_without_order", a_closure);
}

#[test]
fn closures_have_to_be_looked_at_before_each_call() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("closures_are_looked_at_once", a_second_closure);
}

#[test]
fn a_closure_has_to_have_a_place_of_its_own() {
    Model::bound(2)
        .because(Why::Says("holds up another one's unsubscribe"))
        .fails_with(
            "closure_is_called_in_its_chunk",
            a_closure_that_takes_its_time,
        );
}
