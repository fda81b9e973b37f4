//! What a feed lists of its subscribers, and what it says of a send that is blocked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fanfeed::{Carrier, CarrierOverflow, Feed, Overflow, RingFeed, SubscriberStats, TrySendError};

use crate::common::{blocked_send, eventually, join, watchdog};

fn of<'a>(all: &'a [SubscriberStats], name: &str) -> &'a SubscriberStats {
    let named = |one: &&SubscriberStats| one.name.as_deref() == Some(name);
    all.iter().find(named).unwrap()
}

#[test]
fn each_subscriber_is_listed_with_its_options_and_figures() {
    let feed = Feed::new();
    assert_eq!(feed.subscriptions(), []);
    let builder = feed.subscriber().name("own").capacity(3);
    let own = builder.overflow(Overflow::DropOldest).channel().unwrap();
    let (tx, _rx) = crossbeam_channel::bounded(5);
    let builder = feed.subscriber().name("bounded");
    let bounded = builder.overflow(CarrierOverflow::DropNewest).subscribe(tx);
    let (tx, _unbounded_rx) = crossbeam_channel::unbounded();
    let unbounded = feed.subscriber().name("unbounded").subscribe(tx);
    let (tx, _std_rx) = std::sync::mpsc::sync_channel(7);
    let std = feed.subscriber().name("std").subscribe(tx);
    let ring = RingFeed::new(16).unwrap();
    let _reader = ring.subscribe();
    let shared = feed.subscriber().name("ring").subscribe(ring);
    let closure = feed.subscriber().name("closure").subscribe_fn(|_| {});
    let unnamed = feed.subscribe_fn(|_| {});
    for value in 0..6 {
        feed.send(value);
    }

    let all = feed.subscriptions();
    assert_eq!(all.len(), feed.subscriber_count());
    let block = Some(Overflow::Block);
    for (name, subscription, overflow, capacity, depth, dropped) in [
        (
            "own",
            own.subscription(),
            Some(Overflow::DropOldest),
            Some(3),
            Some(3),
            3,
        ),
        (
            "bounded",
            &bounded,
            Some(Overflow::DropNewest),
            Some(5),
            Some(5),
            1,
        ),
        ("unbounded", &unbounded, block, None, Some(6), 0),
        ("std", &std, block, None, None, 0),
        ("ring", &shared, block, Some(16), Some(6), 0),
        ("closure", &closure, None, None, None, 0),
    ] {
        let one = of(&all, name);
        assert_eq!(one.id, subscription.id());
        assert_eq!((one.overflow, one.capacity), (overflow, capacity), "{name}");
        assert_eq!(
            (one.stats.depth, one.stats.dropped),
            (depth, dropped),
            "{name}"
        );
        assert_eq!(one.stats, subscription.stats());
    }
    assert!(
        all.iter()
            .any(|one| one.id == unnamed.id() && one.name.is_none())
    );

    bounded.unsubscribe();
    drop(own);
    assert_eq!(feed.subscriptions().len(), 5);
    feed.close();
    assert_eq!(feed.subscriptions(), []);
}

#[cfg(feature = "tokio")]
#[test]
fn a_tokio_channel_is_listed_with_its_capacity() {
    let feed = Feed::new();
    let (tx, _rx) = tokio::sync::mpsc::channel(4);
    let _bounded = feed.subscriber().name("bounded").subscribe(tx);
    let (tx, _unbounded_rx) = tokio::sync::mpsc::unbounded_channel();
    let _unbounded = feed.subscriber().name("unbounded").subscribe(tx);
    feed.send(1);
    let all = feed.subscriptions();
    let bounded = of(&all, "bounded");
    assert_eq!((bounded.capacity, bounded.stats.depth), (Some(4), Some(1)));
    assert_eq!(of(&all, "unbounded").capacity, None);
}

#[test]
fn a_send_that_is_blocked_shows_while_it_lasts() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut slow = feed
        .subscriber()
        .name("slow")
        .capacity(1)
        .channel()
        .unwrap();
    let _quick = feed
        .subscriber()
        .name("quick")
        .capacity(9)
        .channel()
        .unwrap();
    feed.send(0);
    assert_eq!(slow.stats().blocked_now, None);
    let first = blocked_send(&feed, slow.subscription(), 1);
    let pause = Duration::from_millis(20);
    eventually(|| slow.stats().blocked_now > Some(pause));
    let second = blocked_send(&feed, slow.subscription(), 2);
    // It includes both waits, and never decreases.
    let mut last = slow.stats();
    eventually(|| {
        let stats = slow.stats();
        assert!(stats.blocked_for >= last.blocked_for && stats.blocked_now >= last.blocked_now);
        last = stats;
        stats.blocked_for > stats.blocked_now.unwrap() + pause
    });
    let all = feed.subscriptions();
    assert!(of(&all, "slow").stats.blocked_now >= last.blocked_now);
    let quick = of(&all, "quick").stats;
    assert_eq!(
        (quick.blocked_now, quick.blocked_for),
        (None, Duration::ZERO)
    );

    // The longest of the waits that are left has lasted for less.
    assert_eq!(slow.recv(), Ok(0));
    eventually(|| first.is_finished() != second.is_finished());
    eventually(|| slow.stats().blocked_now.is_some());
    let total = slow.stats().blocked_for;
    assert!(total >= last.blocked_for);
    slow.recv().unwrap();
    join(first);
    join(second);
    let stats = slow.stats();
    assert_eq!((stats.blocked, stats.blocked_now), (2, None));
    assert!(stats.blocked_for >= total);
    assert_eq!(slow.stats().blocked_for, stats.blocked_for);
}

#[test]
fn a_send_that_gives_up_blocks_no_longer() {
    let feed = Feed::new();
    let full = feed.channel(1).unwrap();
    feed.send(0);
    let limit = Duration::from_millis(5);
    drop(feed.send_timeout(1, limit).unwrap_err());
    let stats = full.stats();
    assert_eq!((stats.blocked, stats.blocked_now), (1, None));
    assert!(stats.blocked_for >= limit);
}

#[test]
fn a_carrier_that_panics_when_it_is_asked_ends_its_own_subscription() {
    struct Broken;
    impl Carrier<u8> for Broken {
        fn try_send(&self, _: u8) -> Result<(), TrySendError<u8>> {
            Ok(())
        }
        fn capacity(&self) -> Option<usize> {
            panic!("not to be asked")
        }
    }
    let feed = Feed::new();
    let broken = feed.subscribe(Broken);
    let sound = feed.channel(1).unwrap();
    feed.subscriptions();
    assert!(broken.err().recv().unwrap().is_panicked());
    assert_eq!(feed.subscriptions()[0].id, sound.subscription().id());
}

#[test]
fn subscribers_that_come_and_go_are_listed_while_they_are_subscribed() {
    let _watchdog = watchdog();
    let feed = Feed::<u64>::new();
    let stays: Vec<_> = (0..100).map(|_| feed.channel(4).unwrap()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let churn: Vec<_> = (0..2)
        .map(|_| {
            let (feed, stop) = (feed.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    drop(feed.channel(4).unwrap());
                    drop(feed.subscribe_fn(|_| {}));
                }
            })
        })
        .collect();
    for _ in 0..200 {
        let all = feed.subscriptions();
        assert!((100..=104).contains(&all.len()), "{}", all.len());
        let listed = |id| all.iter().filter(|one| one.id == id).count();
        assert!(stays.iter().all(|own| listed(own.subscription().id()) == 1));
    }
    stop.store(true, Ordering::Relaxed);
    churn.into_iter().for_each(join);
}
