//! Batches: each has the effect of as many single sends.

use crate::common::{PATIENCE, Random, eventually, join, watchdog};
use fanfeed::{CarrierOverflow, Feed, Overflow, Receiver, RecvError, Stats, TryRecvError};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

mod values;

fn own(feed: &Feed<u64>, capacity: usize, overflow: Overflow) -> Receiver<u64> {
    let builder = feed.subscriber().capacity(capacity).overflow(overflow);
    builder.channel().unwrap()
}

/// Everything a receiver has to tell until its end: values, and gaps as negative numbers.
fn story(receiver: &mut Receiver<u64>) -> Vec<i64> {
    let mut told = Vec::new();
    loop {
        match receiver.recv() {
            Ok(value) => told.push(value as i64),
            Err(RecvError::Lagged(missed)) => told.push(-(missed as i64)),
            Err(RecvError::Closed) => return told,
            Err(RecvError::Overflowed) => {
                told.push(i64::MIN);
                return told;
            }
        }
    }
}

#[test]
fn a_batch_reaches_every_subscriber_in_order_and_counts_each_delivery() {
    // Around the sizes of the blocks in which it goes.
    for count in [0, 1, 2, 31, 32, 33, 64, 100] {
        let feed = Feed::new();
        let mut receiver = feed.channel(128).unwrap();
        let (tx, crossbeam) = crossbeam_channel::unbounded();
        let _crossbeam = feed.subscribe(tx);
        let (tx, std_rx) = std::sync::mpsc::channel();
        let _std = feed.subscribe(tx);
        let calls: Arc<Mutex<Vec<u64>>> = Arc::default();
        let _closure = feed.subscribe_fn({
            let calls = Arc::clone(&calls);
            move |value| calls.lock().unwrap().push(*value)
        });
        assert_eq!(feed.send_batch(0..count), 4 * count as usize);
        let expected: Vec<_> = (0..count).collect();
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), expected);
        assert_eq!(crossbeam.try_iter().collect::<Vec<_>>(), expected);
        assert_eq!(std_rx.try_iter().collect::<Vec<_>>(), expected);
        assert_eq!(*calls.lock().unwrap(), expected);
        assert_eq!(receiver.stats().delivered, count);
    }
}

#[test]
fn an_empty_batch_does_nothing() {
    let feed = Feed::<u64>::new();
    let receiver = feed.channel(1).unwrap();
    assert_eq!(feed.send_batch([]), 0);
    assert_eq!(feed.send_batch(Vec::new()), 0);
    assert!(receiver.is_empty());
}

#[test]
fn a_batch_reaches_every_chunk_of_subscribers() {
    let feed = Feed::new();
    let mut receivers: Vec<_> = (0..150).map(|_| feed.channel(64).unwrap()).collect();
    assert_eq!(feed.send_batch(0..40u64), 40 * 150);
    for receiver in &mut receivers {
        assert!(receiver.try_iter().eq(0..40));
    }
}

/// The same values to the same subscribers, one feed by single sends and one by batches: nobody can
/// tell them apart.
#[test]
fn a_batch_does_what_as_many_sends_do_under_every_policy() {
    #[derive(Debug, PartialEq)]
    struct Outcome {
        stories: Vec<Vec<i64>>,
        figures: Vec<(u64, u64)>,
        crossbeam: Vec<u64>,
        reached: usize,
    }
    fn run(seed: u64, batched: bool) -> Outcome {
        let mut random = Random::new(seed);
        let feed = Feed::new();
        let capacity = |random: &mut Random| 1 + random.below(40) as usize;
        let mut receivers = [
            own(&feed, capacity(&mut random), Overflow::DropNewest),
            own(&feed, capacity(&mut random), Overflow::DropOldest),
            own(&feed, capacity(&mut random), Overflow::Disconnect),
            own(&feed, 4096, Overflow::Block),
        ];
        let (tx, newest) = crossbeam_channel::bounded(capacity(&mut random));
        let builder = feed.subscriber().overflow(CarrierOverflow::DropNewest);
        let newest_subscription = builder.subscribe(tx);
        let (tx, disconnect) = crossbeam_channel::bounded(capacity(&mut random));
        let builder = feed.subscriber().overflow(CarrierOverflow::Disconnect);
        let disconnect_subscription = builder.subscribe(tx);
        let calls = Arc::new(AtomicUsize::new(0));
        let closure = feed.subscribe_fn({
            let calls = Arc::clone(&calls);
            move |_| {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut stories = vec![Vec::new(); receivers.len()];
        let mut crossbeam = Vec::new();
        let mut reached = 0;
        let mut next = 0;
        for _ in 0..12 {
            let count = random.below(70);
            let values = next..next + count;
            next += count;
            if batched {
                reached += feed.send_batch(values);
            } else {
                reached += values.map(|value| feed.send(value)).sum::<usize>();
            }
            let taken = random.below(30) as usize;
            for (receiver, story) in receivers.iter_mut().zip(&mut stories) {
                for _ in 0..taken {
                    match receiver.try_recv() {
                        Ok(value) => story.push(value as i64),
                        Err(TryRecvError::Lagged(missed)) => story.push(-(missed as i64)),
                        Err(_) => {}
                    }
                }
            }
            crossbeam.extend(newest.try_iter().take(taken));
        }
        let figures = receivers
            .iter()
            .map(Receiver::stats)
            .chain([
                newest_subscription.stats(),
                disconnect_subscription.stats(),
                closure.stats(),
            ])
            .map(
                |Stats {
                     delivered, dropped, ..
                 }| (delivered, dropped),
            )
            .collect();
        assert_eq!(
            closure.stats().delivered,
            calls.load(Ordering::Relaxed) as u64
        );
        feed.close();
        for (receiver, story_so_far) in receivers.iter_mut().zip(&mut stories) {
            story_so_far.extend(story(receiver));
        }
        crossbeam.extend(newest.iter());
        crossbeam.extend(disconnect.iter());
        Outcome {
            stories,
            figures,
            crossbeam,
            reached,
        }
    }
    for seed in 0..60 {
        assert_eq!(run(seed, true), run(seed, false), "seed {seed}");
    }
}

#[test]
fn a_batch_larger_than_the_channels_is_waited_for_value_by_value() {
    const COUNT: u64 = 500;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut one = feed.channel(1).unwrap();
    let mut seven = feed.channel(7).unwrap();
    let mut roomy = feed.channel(1024).unwrap();
    let (tx, zero) = crossbeam_channel::bounded(0);
    let _zero = feed.subscribe(tx);
    let (tx, std_rx) = std::sync::mpsc::sync_channel(3);
    let _std = feed.subscribe(tx);
    let readers = [
        thread::spawn(move || one.iter().collect::<Vec<_>>()),
        thread::spawn(move || seven.iter().collect::<Vec<_>>()),
        thread::spawn(move || roomy.iter().collect::<Vec<_>>()),
        thread::spawn(move || zero.iter().collect::<Vec<_>>()),
        thread::spawn(move || std_rx.iter().collect::<Vec<_>>()),
    ];
    assert_eq!(feed.send_batch(0..COUNT), 5 * COUNT as usize);
    feed.close();
    for reader in readers {
        assert!(join(reader).into_iter().eq(0..COUNT));
    }
}

#[test]
fn a_subscriber_with_room_for_a_part_gets_that_part_and_then_the_rest() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut three = feed.channel(3).unwrap();
    let (tx, two) = crossbeam_channel::bounded(2);
    let two_subscription = feed.subscribe(tx);
    let mut roomy = feed.channel(64).unwrap();
    let sender = thread::spawn({
        let feed = feed.clone();
        move || feed.send_batch(0..6u64)
    });
    // Everybody has what there was room for before the batch waits for anybody.
    eventually(|| two_subscription.stats().blocked == 1);
    assert_eq!((three.len(), two.len(), roomy.len()), (3, 2, 6));
    assert!(roomy.try_iter().eq(0..6));
    // As with single sends, nobody gets a value before everybody has those before it.
    for value in 0..4 {
        assert_eq!(two.recv_timeout(PATIENCE), Ok(value));
    }
    eventually(|| three.stats().blocked == 1);
    assert!(two.is_empty() && !sender.is_finished());
    for value in 0..6 {
        assert_eq!(three.recv_timeout(PATIENCE), Ok(value));
        if value == 3 {
            assert_eq!(two.recv_timeout(PATIENCE), Ok(4));
        }
    }
    assert_eq!(two.recv_timeout(PATIENCE), Ok(5));
    assert_eq!(join(sender), 18);
}

#[test]
fn a_blocked_batch_goes_on_when_what_it_waits_for_ends() {
    let _watchdog = watchdog();
    for case in 0..3 {
        let feed = Feed::new();
        let full = feed.channel(2).unwrap();
        let roomy = feed.channel(256).unwrap();
        let sender = thread::spawn({
            let feed = feed.clone();
            move || feed.send_batch(0..100u64)
        });
        eventually(|| full.stats().blocked == 1);
        match case {
            0 => full.subscription().unsubscribe(),
            1 => drop(full),
            _ => feed.close(),
        }
        let reached = join(sender);
        if case == 2 {
            // The rest of the batch reaches nobody; what it had begun with, 32 values, had reached
            // the other.
            assert_eq!(reached, 2 + roomy.len());
            assert!(roomy.len() < 100);
        } else {
            assert_eq!(reached, 102);
        }
    }
}

#[test]
fn batches_of_several_threads_keep_each_threads_order() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 600;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut own = feed.channel(10).unwrap();
    let (tx, crossbeam) = crossbeam_channel::bounded(10);
    let _crossbeam = feed.subscribe(tx);
    let newest_builder = feed.subscriber().capacity(5);
    let mut newest = newest_builder
        .overflow(Overflow::DropNewest)
        .channel()
        .unwrap();
    fn check(values: impl Iterator<Item = (u64, u64)>, gaps: bool) -> u64 {
        let mut next = [0; SENDERS as usize];
        let mut count = 0;
        for (sender, number) in values {
            let next = &mut next[sender as usize];
            assert!(if gaps {
                number >= *next
            } else {
                number == *next
            });
            *next = number + 1;
            count += 1;
        }
        count
    }
    let readers = [
        thread::spawn(move || check(own.iter(), false)),
        thread::spawn(move || check(crossbeam.iter(), false)),
        thread::spawn(move || check(newest.iter(), true) + newest.missed()),
    ];
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let feed = feed.clone();
            thread::spawn(move || {
                let mut number = 0;
                while number < EACH {
                    feed.send_batch((number..number + 40).map(|number| (sender, number)));
                    number += 40;
                    feed.send((sender, number));
                    number += 1;
                }
                number
            })
        })
        .collect();
    let sent: u64 = senders.into_iter().map(join).sum();
    feed.close();
    for reader in readers {
        assert_eq!(join(reader), sent);
    }
}

// ---- Policies ----

#[test]
fn a_batch_that_overflows_is_reported_as_single_values_would_be() {
    let feed = Feed::new();
    let mut newest = own(&feed, 4, Overflow::DropNewest);
    let mut oldest = own(&feed, 4, Overflow::DropOldest);
    let mut disconnect = own(&feed, 4, Overflow::Disconnect);
    let errors = disconnect.subscription().err();
    // 4 and 10 are taken, and 4.
    assert_eq!(feed.send_batch(0..10), 18);
    let figures = |receiver: &Receiver<u64>| {
        let stats = receiver.stats();
        (stats.delivered, stats.dropped)
    };
    assert_eq!(figures(&newest), (4, 6));
    assert_eq!(figures(&oldest), (4, 6));
    // It ended with the first that did not fit; the rest was not sent to it any more.
    assert_eq!(figures(&disconnect), (4, 1));
    assert!(errors.recv().unwrap().is_overflowed());
    feed.close();
    assert_eq!(story(&mut newest), [0, 1, 2, 3, -6]);
    assert_eq!(story(&mut oldest), [-6, 6, 7, 8, 9]);
    assert_eq!(story(&mut disconnect), [0, 1, 2, 3, i64::MIN]);
}

#[test]
fn a_batch_that_just_fits_overflows_nothing() {
    for count in [1, 4, 31, 32, 33] {
        for overflow in [Overflow::Disconnect, Overflow::DropNewest] {
            let feed = Feed::new();
            let mut last = own(&feed, count as usize, overflow);
            assert_eq!(feed.send_batch(0..count), count as usize);
            let stats = last.stats();
            assert_eq!((stats.delivered, stats.dropped), (count, 0));
            assert!(!last.is_closed());
            assert!(last.try_iter().eq(0..count));
        }
    }
}

#[test]
fn the_last_subscriber_gets_the_originals_that_no_late_subscriber_needs_and_clones_of_the_rest() {
    let _watchdog = watchdog();
    for room in 1..5 {
        let feed = Feed::new();
        let mut late = own(&feed, room, Overflow::Block);
        let (tx, rx) = crossbeam_channel::unbounded();
        let last = feed.subscribe(tx);
        let sender = thread::spawn({
            let feed = feed.clone();
            move || feed.send_batch(0..6_u64)
        });
        eventually(|| last.stats().delivered == 6);
        assert!(rx.try_iter().eq(0..6));
        for value in 0..6 {
            assert_eq!(late.recv_timeout(PATIENCE), Ok(value));
        }
        assert_eq!(join(sender), 12);
    }
}
