//! A feed with several senders, and subscribers of every kind: order, conservation, and nothing
//! after the end.
//!
//! Programs: three threads that send two values each to six subscribers with five receiving
//! threads; subscribers that come and go beside one that stays; a close in the middle of a send;
//! closures, of which some send, subscribe and unsubscribe.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release --test feed
//! ```
#![cfg(fanfeed_shuttle)]

use std::sync::{Arc, Mutex, OnceLock};

use fanfeed::{Feed, Overflow, Receiver, RecvError, Subscription};
use fanfeed_shuttle_tests::{Ledger, Schedules, Sequence, Token, post, value};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread::{self, JoinHandle};

/// Threads that send so many values each, and return how many deliveries that made.
fn senders(feed: &Feed<Token>, ledger: &Ledger, count: u32, values: u32) -> Vec<JoinHandle<usize>> {
    (0..count)
        .map(|sender| {
            let (feed, ledger) = (feed.clone(), ledger.clone());
            thread::spawn(move || {
                let sends = (0..values).map(|index| feed.send(value(&ledger, sender, index)));
                sends.sum()
            })
        })
        .collect()
}

fn join<R>(threads: Vec<JoinHandle<R>>) -> Vec<R> {
    let joined = threads.into_iter().map(JoinHandle::join);
    joined.map(Result::unwrap).collect()
}

fn channel(feed: &Feed<Token>, capacity: usize, overflow: Overflow) -> Receiver<Token> {
    let options = feed.subscriber().capacity(capacity).overflow(overflow);
    options.channel().unwrap()
}

/// Everybody gets what the docs promise to subscribers of their kind.
fn everyone() {
    const SENDERS: u32 = 3;
    const VALUES: u32 = 2;
    const ALL: usize = (SENDERS * VALUES) as usize;
    let ledger = Ledger::new();
    let feed = Feed::new();
    let overflows = [
        (1, Overflow::Block),
        (1, Overflow::DropOldest),
        (2, Overflow::DropNewest),
        (1, Overflow::Disconnect),
    ];
    let receivers: Vec<_> = overflows
        .into_iter()
        .map(|(capacity, overflow)| {
            let mut receiver = channel(&feed, capacity, overflow);
            thread::spawn(move || {
                let mut sequence = Sequence::new();
                let end = sequence.recv_all(&mut receiver);
                assert_eq!(receiver.missed(), sequence.missed);
                (overflow, sequence, end, receiver.stats())
            })
        })
        .collect();
    let (post, post_box) = post(ALL);
    let carrier = feed.subscribe(post);
    let called = Arc::new(Mutex::new(Sequence::new()));
    let closure = {
        let called = Arc::clone(&called);
        feed.subscribe_fn(move |value: &Token| called.lock().unwrap().take(value))
    };
    let senders = senders(&feed, &ledger, SENDERS, VALUES);
    drop(feed);
    let sent: usize = join(senders).into_iter().sum();

    let mut reached = 0;
    for (overflow, sequence, end, stats) in join(receivers) {
        assert_eq!(stats.delivered, sequence.count() as u64, "{overflow:?}");
        sequence.assert_misses_in_place();
        match overflow {
            Overflow::Block => {
                assert_eq!((sequence.all(), sequence.missed), (ALL, 0));
                reached += ALL;
            }
            Overflow::DropOldest => {
                assert_eq!(sequence.all(), ALL);
                reached += ALL;
            }
            Overflow::DropNewest => {
                assert_eq!(sequence.all(), ALL);
                reached += sequence.count();
            }
            Overflow::Disconnect => {
                assert_eq!(sequence.missed, 0);
                assert_eq!(end == RecvError::Overflowed, sequence.count() < ALL);
                reached += sequence.count();
            }
        }
    }
    let mut taken = Sequence::new();
    while let Some(value) = post_box.take() {
        taken.take(&value);
    }
    assert_eq!(taken.count(), ALL);
    let called = std::mem::take(&mut *called.lock().unwrap());
    assert_eq!(called.count(), ALL);
    assert_eq!(sent, reached + 2 * ALL);
    drop((carrier, closure));
    ledger.assert_settled();
}

/// A resident that waits for everything, visitors that come and go, and a close in the midst of it.
fn visitors(closes: bool) {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut resident = channel(&feed, 2, Overflow::Block);
    let mut threads = senders(&feed, &ledger, 2, 3);
    // Sits, looks a few times, and leaves; then is there by a channel of its own.
    let visitor = {
        let feed = feed.clone();
        thread::spawn(move || {
            let mut reached = 0;
            for overflow in [Overflow::Block, Overflow::DropOldest] {
                let (mut receiver, subscription) = channel(&feed, 1, overflow).split();
                let mut sequence = Sequence::new();
                for _ in 0..2 {
                    let _ = sequence.try_recv(&mut receiver);
                }
                subscription.unsubscribe();
                let left = receiver.len();
                while sequence.try_recv(&mut receiver).is_ok() {}
                if overflow == Overflow::Block {
                    sequence.assert_without_gaps();
                    assert_eq!(sequence.missed, 0);
                }
                // Misses are told in front of a value, so those before what was never taken stay in
                // the stream.
                assert!(left <= 1);
                reached += sequence.all();
            }
            reached
        })
    };
    let guest = {
        let feed = feed.clone();
        thread::spawn(move || {
            let (post, post_box) = post(1);
            let subscription = feed.subscribe(post);
            let mut sequence = Sequence::new();
            if let Some(value) = post_box.take() {
                sequence.take(&value);
            }
            subscription.unsubscribe();
            post_box.seal();
            // A thread that closes the feed meanwhile may be about to drop the carrier.
            assert!(closes || post_box.is_disconnected());
            while let Some(value) = post_box.take() {
                sequence.take(&value);
            }
            sequence.assert_without_gaps();
            sequence.count()
        })
    };
    if closes {
        let feed = feed.clone();
        threads.push(thread::spawn(move || {
            feed.close();
            assert_eq!(feed.subscriber_count(), 0);
            0
        }));
    }
    drop(feed);
    let mut sequence = Sequence::new();
    assert_eq!(sequence.recv_all(&mut resident), RecvError::Closed);
    sequence.assert_without_gaps();
    if !closes {
        assert_eq!(sequence.count(), 6);
    }
    let sent: usize = join(threads).into_iter().sum();
    let reached = visitor.join().unwrap() + guest.join().unwrap() + sequence.count();
    assert_eq!(sent, reached);
    drop(resident);
    ledger.assert_settled();
}

/// Closures beside two senders: one sends on, one unsubscribes a channel, one comes and goes.
fn closures() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let (post, post_box) = post(8);
    let subscription: Arc<OnceLock<Subscription>> = Arc::default();
    assert!(subscription.set(feed.subscribe(post)).is_ok());
    let (inner, book) = (feed.downgrade(), ledger.clone());
    let relay = feed.subscribe_fn(move |number: &Token| {
        if let (0, Some(feed)) = (number.number(), inner.upgrade()) {
            feed.send(value(&book, 9, 0));
        }
    });
    let ender = {
        let subscription = Arc::clone(&subscription);
        feed.subscribe_fn(move |value: &Token| {
            if value.number() == 100 {
                subscription.get().unwrap().unsubscribe();
            }
        })
    };
    let threads = senders(&feed, &ledger, 2, 2);
    let gone = Arc::new(AtomicBool::new(false));
    let passing = {
        let gone = Arc::clone(&gone);
        let owned = ledger.token(0);
        feed.subscribe_fn(move |value: &Token| {
            assert!(!gone.load(Ordering::SeqCst), "called after its end");
            assert!(value.number() >= owned.number());
        })
    };
    passing.unsubscribe();
    gone.store(true, Ordering::SeqCst);
    join(threads);
    post_box.assert_ended();
    let mut sequence = Sequence::new();
    while let Some(value) = post_box.take() {
        sequence.take(&value);
    }
    drop((relay, ender, passing, subscription, feed, post_box));
    ledger.assert_settled();
}

/// The only closures there are come and go, so that the directory is made, replaced and unmade,
/// under two senders.
fn directories() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let threads = senders(&feed, &ledger, 2, 2);
    let visitors: Vec<_> = (0..2)
        .map(|_| {
            let (feed, ledger) = (feed.clone(), ledger.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let owned = ledger.token(1000);
                    let closure = move |value: &Token| assert!(value.number() < owned.number());
                    feed.subscribe_fn(closure).unsubscribe();
                }
            })
        })
        .collect();
    join(visitors);
    join(threads);
    drop(feed);
    ledger.assert_settled();
}

/// Batches, beside values, to a channel that is full at once.
fn batches(overflow: Overflow) {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut receiver = channel(&feed, 2, overflow);
    let threads: Vec<_> = (0..2)
        .map(|sender| {
            let (feed, ledger) = (feed.clone(), ledger.clone());
            thread::spawn(move || {
                feed.send_batch((0..3).map(|index| value(&ledger, sender, index)))
                    + feed.send(value(&ledger, sender, 3))
            })
        })
        .collect();
    drop(feed);
    let mut sequence = Sequence::new();
    sequence.recv_all(&mut receiver);
    assert_eq!(sequence.all(), 8);
    sequence.assert_misses_in_place();
    let sent: usize = join(threads).into_iter().sum();
    let reached = match overflow {
        Overflow::DropNewest => sequence.count(),
        _ => 8,
    };
    assert_eq!(sent, reached);
    drop(receiver);
    ledger.assert_settled();
}

#[test]
fn every_subscriber_gets_what_is_promised() {
    Schedules::new().hold(everyone);
}

#[test]
fn visitors_get_what_is_sent_while_they_are_there() {
    Schedules::new().hold(|| visitors(false));
}

#[test]
fn a_close_ends_everything_at_once() {
    Schedules::new().hold(|| visitors(true));
}

#[test]
fn closures_may_do_anything() {
    Schedules::new().hold(closures);
}

#[test]
fn closures_come_and_go() {
    Schedules::new().hold(directories);
}

#[test]
fn batches_lose_nothing() {
    Schedules::new().hold(|| batches(Overflow::Block));
}

#[test]
fn batches_tell_what_was_refused() {
    Schedules::new().hold(|| batches(Overflow::DropNewest));
}

#[test]
fn batches_tell_what_they_pushed_out() {
    Schedules::new().hold(|| batches(Overflow::DropOldest));
}
