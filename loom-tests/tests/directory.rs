//! The directory of chunks, replaced under a running send: everything is dropped once, and nothing that is read.
//!
//! Modelled: closures, whose first makes a directory and whose last unmakes it, beside one thread that sends. Bounds:
//! two threads, one or two sends, three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test directory
//! ```
//!
//! Not modelled: a 65th channel, which takes 65 subscriptions an execution; it goes through the same directory.
#![cfg(fanfeed_loom)]

use std::sync::Arc;

use fanfeed::Feed;
use fanfeed_loom_tests::{Ledger, Model, Token};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// A closure that owns a value, to see when it is dropped.
fn closure(ledger: &Ledger) -> impl Fn(&Token) + use<> {
    let owned = ledger.token(100);
    move |value| assert!(value.number() < owned.number())
}

fn unmade() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let subscription = feed.subscribe_fn(closure(&ledger));
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || feed.send(ledger.token(1)))
    };
    subscription.unsubscribe();
    assert!(sender.join().unwrap() <= 1);
    drop((subscription, feed));
    ledger.assert_settled();
}

/// And made anew.
fn remade() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let first = feed.subscribe_fn(closure(&ledger));
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || feed.send(ledger.token(1)))
    };
    drop(first);
    let second = feed.subscribe_fn(closure(&ledger));
    assert!(sender.join().unwrap() <= 2);
    assert_eq!(feed.send(ledger.token(2)), 1);
    drop((second, feed));
    ledger.assert_settled();
}

/// The last handle of the feed is dropped by whoever comes last. loom does not see the counters of the handles, so the
/// threads meet before they drop them.
fn the_end_of_the_feed() {
    let meeting = Arc::new(AtomicUsize::new(0));
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.subscribe_fn(closure(&ledger)).detach();
    let sender = {
        let (feed, ledger, meeting) = (feed.clone(), ledger.clone(), Arc::clone(&meeting));
        thread::spawn(move || {
            let sent = feed.send(ledger.token(1));
            meeting.fetch_add(1, Ordering::Relaxed);
            sent
        })
    };
    meeting.fetch_add(1, Ordering::Relaxed);
    drop(feed);
    assert_eq!(sender.join().unwrap(), 2);
    assert_eq!(receiver.iter().count(), 1);
    drop(receiver);
    ledger.assert_settled();
}

#[test]
fn a_directory_that_is_read_stays() {
    Model::bound(3).holds(unmade);
}

#[test]
fn a_directory_can_be_made_anew() {
    Model::bound(3).holds(remade);
}

#[test]
fn all_is_dropped_with_the_feed() {
    Model::bound(3).holds(the_end_of_the_feed);
}

#[test]
fn a_directory_has_to_be_validated() {
    Model::bound(3).fails_with("directory_is_not_validated", unmade);
}

#[test]
fn a_directory_must_not_be_freed_while_it_is_read() {
    Model::bound(3).fails_with("directory_is_freed_while_read", unmade);
}

#[test]
fn a_directory_has_to_be_freed_in_order() {
    Model::bound(3).fails_with("directory_is_freed_without_order", unmade);
}

#[test]
fn a_directory_has_to_be_protected_in_order() {
    Model::bound(3).fails_with("delivery_begins_without_order", unmade);
}
