//! Chunks and buckets of the directory that are added and removed during a send: all are freed
//! once, and none while it is read.
//!
//! Modelled: closures, which are all in the directory, beside one thread that sends. In a model a
//! chunk has two seats and the first bucket two slots, and no empty chunk is kept. So the first
//! closure makes a chunk and a bucket, the third makes a chunk, and the last to leave a chunk
//! removes it. Also channels, of which the third makes a chunk. Bounds: two threads, one or two
//! sends, two or three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models directory::
//! ```
use std::sync::Arc;

use fanfeed::Feed;
use fanfeed_loom_tests::{Ledger, Model, Token, Why};
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

/// A chunk that goes, and comes again, beside one that stays in the same bucket.
fn beside_another_chunk() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let first = [(); 2].map(|()| feed.subscribe_fn(closure(&ledger)));
    let _last = feed.subscribe_fn(closure(&ledger));
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || feed.send(ledger.token(1)))
    };
    drop(first);
    let _again = feed.subscribe_fn(closure(&ledger));
    let sent = sender.join().unwrap();
    assert!((1..=4).contains(&sent));
}

/// A chunk of channels.
fn channels() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut kept: [_; 2] = std::array::from_fn(|_| feed.channel(1).unwrap());
    let (receiver, subscription) = feed.channel(1).unwrap().split();
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || feed.send(ledger.token(1)))
    };
    subscription.unsubscribe();
    let sent = sender.join().unwrap();
    let arrived = kept
        .iter_mut()
        .map(|receiver| receiver.try_iter().count())
        .sum::<usize>();
    assert_eq!(arrived, 2);
    assert!((2..=3).contains(&sent));
    drop((receiver, subscription, kept, feed));
    ledger.assert_settled();
}

/// The last thread drops the last handle of the feed. loom does not see the counters of the
/// handles, so the threads meet before they drop them.
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
fn a_chunk_that_is_visited_stays() {
    Model::bound(3).holds(unmade);
}

#[test]
fn a_chunk_can_be_made_anew() {
    Model::bound(3).holds(remade);
}

#[test]
fn a_chunk_goes_and_comes_beside_another() {
    Model::bound(2).holds(beside_another_chunk);
}

#[test]
fn a_chunk_of_channels_that_is_visited_stays() {
    Model::bound(3).holds(channels);
}

#[test]
fn all_is_dropped_with_the_feed() {
    let model =
        Model::bound(6).few("the threads meet in the handles' counters, which loom does not see");
    model.holds(the_end_of_the_feed);
}

#[test]
fn a_chunk_has_to_be_read_in_a_visit() {
    Model::bound(3)
        .with_plain_fences()
        .because(Why::Race)
        .fails_with("chunk_is_read_outside_of_a_visit", channels);
}

#[test]
fn a_chunk_must_not_be_freed_while_it_is_visited() {
    Model::bound(3)
        .because(Why::Race)
        .fails_with("chunk_is_freed_while_it_is_visited", channels);
}

#[test]
fn a_bucket_must_not_be_freed_while_it_is_visited() {
    Model::bound(3)
        .because(Why::Race)
        .fails_with("bucket_is_freed_while_it_is_visited", channels);
}

#[test]
fn a_chunk_has_to_be_freed_in_order() {
    Model::bound(3)
        .with_plain_fences()
        .because(Why::Race)
        .fails_with("memory_is_freed_without_order", channels);
}

#[test]
fn a_chunk_has_to_be_visited_in_order() {
    Model::bound(3)
        .with_plain_fences()
        .because(Why::Race)
        .fails_with("delivery_begins_without_order", channels);
}

#[test]
fn a_chunk_has_to_be_published() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("chunk_is_published_relaxed", beside_another_chunk);
}

#[test]
fn a_bucket_has_to_be_published() {
    Model::bound(3)
        .because(Why::Race)
        .fails_with("bucket_is_published_relaxed", remade);
}
