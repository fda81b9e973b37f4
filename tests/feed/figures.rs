//! The figures of `stats`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{CarrierOverflow, Feed, Overflow, RecvError};

use crate::common::{blocked_send, eventually, join, watchdog};

#[test]
fn delivered_and_dropped_add_up_to_what_was_sent_under_every_policy() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 1_000;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let own = |overflow| {
        let builder = feed.subscriber().capacity(7).overflow(overflow);
        builder.channel().unwrap()
    };
    let (block, newest, oldest) = (
        own(Overflow::Block),
        own(Overflow::DropNewest),
        own(Overflow::DropOldest),
    );
    let (tx, foreign_block) = crossbeam_channel::bounded(7);
    let foreign_block_subscription = feed.subscribe(tx);
    let (tx, foreign_newest) = crossbeam_channel::bounded(7);
    let foreign_newest_subscription = feed
        .subscriber()
        .overflow(CarrierOverflow::DropNewest)
        .subscribe(tx);
    let called = Arc::new(AtomicU64::new(0));
    let closure = feed.subscribe_fn({
        let called = Arc::clone(&called);
        move |_| {
            called.fetch_add(1, Ordering::Relaxed);
        }
    });

    let readers: Vec<_> = [block, newest, oldest]
        .map(|mut receiver| {
            thread::spawn(move || {
                let mut received = 0;
                let mut lagged = 0;
                loop {
                    match receiver.recv() {
                        Ok(_) => received += 1,
                        Err(RecvError::Lagged(missed)) => lagged += missed,
                        Err(_) => break,
                    }
                }
                assert_eq!(receiver.missed(), lagged);
                (received, lagged, receiver.stats())
            })
        })
        .into();
    let foreign: Vec<_> = [foreign_block, foreign_newest]
        .map(|rx| thread::spawn(move || rx.iter().count() as u64))
        .into();
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let feed = feed.clone();
            thread::spawn(move || (0..EACH).map(|value| feed.send(value)).sum::<usize>() as u64)
        })
        .collect();
    let reached: u64 = senders.into_iter().map(join).sum();
    feed.close();

    let total = SENDERS * EACH;
    let mut delivered = 0;
    for (index, reader) in readers.into_iter().enumerate() {
        let (received, lagged, stats) = join(reader);
        assert_eq!(received + lagged, total, "policy {index}");
        assert_eq!(
            (stats.delivered, stats.dropped),
            (received, lagged),
            "policy {index}"
        );
        assert_eq!(stats.depth, Some(0));
        if index == 0 {
            assert_eq!(lagged, 0, "Block loses nothing");
        }
        // Under DropOldest a value counts as reached when it was put there, also if it is pushed
        // out later.
        delivered += if index == 2 { total } else { received };
    }
    for (reader, subscription) in foreign
        .into_iter()
        .zip([foreign_block_subscription, foreign_newest_subscription])
    {
        let received = join(reader);
        let stats = subscription.stats();
        assert_eq!(stats.delivered, received);
        assert_eq!(stats.delivered + stats.dropped, total);
        delivered += received;
    }
    assert_eq!(closure.stats().delivered, total);
    assert_eq!(called.load(Ordering::Relaxed), total);
    assert_eq!(reached, delivered + total);
}

#[test]
fn figures_are_exact_with_more_sending_threads_than_lanes() {
    const SENDERS: usize = 40;
    const EACH: usize = 250;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let crossbeam = feed.subscribe(tx);
    let (tx, std_rx) = std::sync::mpsc::channel();
    let std_subscription = feed.subscribe(tx);
    let called = Arc::new(AtomicUsize::new(0));
    let closure = feed.subscribe_fn({
        let called = Arc::clone(&called);
        move |_: &usize| {
            called.fetch_add(1, Ordering::Relaxed);
        }
    });
    // All of them live at the same time, so that the lanes do run out.
    let together = Arc::new(std::sync::Barrier::new(SENDERS));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (feed, together) = (feed.clone(), Arc::clone(&together));
            thread::spawn(move || {
                feed.send(sender);
                together.wait();
                for _ in 1..EACH {
                    assert_eq!(feed.send(sender), 3);
                }
                together.wait();
            })
        })
        .collect();
    senders.into_iter().for_each(join);
    let total = SENDERS * EACH;
    for subscription in [&crossbeam, &std_subscription, &closure] {
        assert_eq!(subscription.stats().delivered, total as u64);
        assert_eq!(subscription.stats().dropped, 0);
    }
    assert_eq!(rx.len(), total);
    assert_eq!(std_rx.try_iter().count(), total);
    assert_eq!(called.load(Ordering::Relaxed), total);
    // The lanes are given back: threads that come later count as exactly.
    for _ in 0..40 {
        let feed = feed.clone();
        join(thread::spawn(move || feed.send(0)));
    }
    assert_eq!(crossbeam.stats().delivered, total as u64 + 40);
}

#[test]
fn stats_say_how_often_and_how_long_sends_were_blocked() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut own = feed.channel(2).unwrap();
    let (tx, rx) = crossbeam_channel::bounded(2);
    let crossbeam = feed.subscribe(tx);
    feed.send(1);
    feed.send(2);
    for stats in [own.stats(), crossbeam.stats()] {
        assert_eq!((stats.delivered, stats.dropped), (2, 0));
        assert_eq!(stats.depth, Some(2));
        assert_eq!((stats.blocked, stats.blocked_for), (0, Duration::ZERO));
    }
    let start = Instant::now();
    let sender = blocked_send(&feed, own.subscription(), 3);
    eventually(|| start.elapsed() > Duration::from_millis(30));
    assert_eq!(own.recv(), Ok(1));
    assert_eq!(rx.recv(), Ok(1));
    assert_eq!(join(sender), 2);
    let most = start.elapsed();
    for stats in [own.stats(), crossbeam.stats()] {
        assert_eq!(stats.delivered, 3);
        assert_eq!(stats.blocked, 1);
        assert!(
            stats.blocked_for > Duration::from_millis(10) && stats.blocked_for <= most,
            "{:?} of {most:?}",
            stats.blocked_for
        );
    }
    // A send that does not wait has not been blocked.
    assert!(feed.try_send(4).is_err());
    assert_eq!(own.stats().blocked, 1);
}
