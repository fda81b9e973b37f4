//! Every value that a live subscriber was due and did not get: the receiver of an own channel is
//! told of it at its place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::{Random, Tally, Touchy, eventually, join, watchdog};
use fanfeed::{CarrierOverflow, Feed, Overflow, Receiver, RecvError, TryRecvError, Undelivered};

fn channel<T: Send + 'static>(feed: &Feed<T>, capacity: usize, overflow: Overflow) -> Receiver<T> {
    let builder = feed.subscriber().capacity(capacity).overflow(overflow);
    builder.channel().unwrap()
}

/// Everything up to `Empty` or the end; `None` where the receiver is told that one value is
/// missing.
fn all<T>(receiver: &mut Receiver<T>) -> Vec<Option<T>> {
    let mut all = Vec::new();
    loop {
        match receiver.try_recv() {
            Ok(value) => all.push(Some(value)),
            Err(TryRecvError::Lagged(missed)) => all.extend((0..missed).map(|_| None)),
            Err(_) => return all,
        }
    }
}

// ---- Values given up ----

#[test]
fn a_value_given_up_is_reported_where_it_would_have_been() {
    type GiveUp = fn(Undelivered<u64>);
    let ways: [GiveUp; 4] = [
        drop,
        |undelivered| assert_eq!(undelivered.into_inner(), 1),
        |undelivered| drop(undelivered.retry()),
        |undelivered| drop(undelivered.retry_timeout(Duration::ZERO)),
    ];
    for (number, give_up) in ways.into_iter().enumerate() {
        let feed = Feed::new();
        let mut receiver = feed.channel(1).unwrap();
        assert_eq!(feed.send(0), 1);
        let sent = match number {
            0 => feed.try_send(1),
            _ => feed.send_timeout(1, Duration::ZERO),
        };
        give_up(sent.unwrap_err());
        assert_eq!(receiver.try_recv(), Ok(0));
        assert_eq!(receiver.missed(), 0);
        assert_eq!(feed.send(2), 1);
        assert_eq!(receiver.recv(), Err(RecvError::Lagged(1)), "way {number}");
        assert_eq!(receiver.recv(), Ok(2));
        assert_eq!(receiver.missed(), 1);
        let stats = receiver.stats();
        assert_eq!((stats.delivered, stats.dropped), (2, 1));
    }
}

#[test]
fn a_value_that_is_delivered_late_is_not_missed() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(0);
    let undelivered = feed.try_send(1).unwrap_err();
    assert_eq!(receiver.recv(), Ok(0));
    assert_eq!(undelivered.retry().unwrap(), 1);
    assert_eq!(all(&mut receiver), [Some(1)]);
    assert_eq!((receiver.missed(), receiver.stats().dropped), (0, 0));
}

#[test]
fn a_value_given_up_after_others_were_sent_is_reported_before_them_or_at_once() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    feed.send_batch([0, 1]);
    let two = feed.try_send(2).unwrap_err();
    assert_eq!(receiver.recv(), Ok(0));
    feed.send(3);
    let four = feed.try_send(4).unwrap_err();
    assert_eq!(receiver.recv(), Ok(1));
    feed.send(5);
    // Before 3 and before 5: it has not taken those.
    drop(four);
    drop(two);
    assert_eq!(all(&mut receiver), [None, Some(3), None, Some(5)]);
    feed.send_batch([6, 7]);
    let eight = feed.try_send(8).unwrap_err();
    assert_eq!(all(&mut receiver), [Some(6), Some(7)]);
    feed.send(9);
    assert_eq!(receiver.recv(), Ok(9));
    // Its place is gone by.
    drop(eight);
    feed.send(10);
    assert_eq!(all(&mut receiver), [None, Some(10)]);
    assert_eq!((receiver.missed(), receiver.stats().dropped), (3, 3));
}

#[test]
fn values_given_up_in_a_row_are_one_gap_and_those_apart_are_two() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    feed.send_batch([0, 1]);
    drop([2, 3, 4].map(|value| feed.try_send(value)));
    assert_eq!(receiver.recv(), Ok(0));
    feed.send(5);
    drop(feed.try_send(6));
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(receiver.recv(), Err(RecvError::Lagged(3)));
    assert_eq!(receiver.recv(), Ok(5));
    drop(feed);
    assert_eq!(receiver.recv(), Err(RecvError::Lagged(1)));
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
    assert_eq!(receiver.missed(), 4);
}

#[test]
fn a_drain_stops_at_a_gap_under_every_policy() {
    for overflow in [Overflow::Block, Overflow::DropNewest] {
        let feed = Feed::new();
        let mut receiver = channel(&feed, 2, overflow);
        feed.send_batch([0, 1]);
        drop(feed.try_send(2));
        assert_eq!(receiver.recv(), Ok(0));
        feed.send(3);
        let mut values = Vec::new();
        assert_eq!(receiver.drain_into(&mut values, 9), Ok(1));
        assert_eq!(
            receiver.drain_into(&mut values, 9),
            Err(TryRecvError::Lagged(1))
        );
        assert_eq!(receiver.drain_into(&mut values, 9), Ok(1));
        assert_eq!(values, [1, 3], "{overflow:?}");
    }
}

#[test]
fn a_drain_stops_at_a_value_that_is_given_up_while_it_runs() {
    let feed = Feed::new();
    let mut receiver = channel(&feed, 2, Overflow::Block);
    assert_eq!((feed.send(0), feed.send(1)), (1, 1));
    let mut undelivered = Some(feed.try_send(2).unwrap_err());
    assert_eq!(receiver.try_recv(), Ok(0));
    assert_eq!(feed.send(3), 1);
    let mut got = Vec::new();
    let drained = receiver.drain(2, |value| {
        drop(undelivered.take());
        got.push(value);
    });
    assert_eq!((drained, got), (Ok(1), vec![1]));
    assert_eq!(all(&mut receiver), [None, Some(3)]);
}

#[test]
fn a_drain_leaves_a_gap_after_its_last_value_to_the_next_receive() {
    for overflow in [Overflow::Block, Overflow::DropNewest] {
        let feed = Feed::new();
        let mut receiver = channel(&feed, 2, overflow);
        feed.send_batch([0, 1]);
        drop(feed.try_send(2));
        assert_eq!(receiver.drain(9, drop), Ok(2));
        assert_eq!((receiver.missed(), receiver.stats().dropped), (0, 1));
        assert_eq!(receiver.drain(9, drop), Err(TryRecvError::Lagged(1)));
        assert_eq!(receiver.missed(), 1);
        assert_eq!(receiver.drain(9, drop), Err(TryRecvError::Empty));
    }
}

#[test]
fn a_gap_wakes_a_receiver_that_waits() {
    let _watchdog = watchdog();
    for _ in 0..20 {
        let feed = Feed::new();
        let mut receiver = feed.channel(1).unwrap();
        feed.send(0);
        let undelivered = feed.try_send(1).unwrap_err();
        assert_eq!(receiver.recv(), Ok(0));
        let waiting = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let waiting = Arc::clone(&waiting);
            move || {
                waiting.store(true, Ordering::Release);
                receiver.recv()
            }
        });
        eventually(|| waiting.load(Ordering::Acquire));
        drop(undelivered);
        assert_eq!(join(reader), Err(RecvError::Lagged(1)));
    }
}

#[test]
fn a_subscription_that_has_ended_misses_nothing_more() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(0);
    let [one, two] = [1, 2].map(|value| feed.try_send(value).unwrap_err());
    drop(one);
    receiver.subscription().unsubscribe();
    drop(two);
    assert_eq!(all(&mut receiver), [Some(0), None]);
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
    assert_eq!((receiver.missed(), receiver.stats().dropped), (1, 1));
}

#[test]
fn a_foreign_channel_has_its_misses_in_its_figures() {
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::bounded(1);
    let subscription = feed.subscribe(tx);
    let (lossy_tx, lossy_rx) = crossbeam_channel::bounded(1);
    let options = feed.subscriber().overflow(CarrierOverflow::DropNewest);
    let lossy = options.subscribe(lossy_tx);
    feed.send(0);
    drop(feed.try_send(1));
    assert_eq!(
        (subscription.stats().dropped, lossy.stats().dropped),
        (1, 1)
    );
    assert_eq!((rx.len(), lossy_rx.len()), (1, 1));
}

// ---- Clones that panic ----

const TOUCHY: &[u64] = &[1, 3];

fn sent(send: impl FnOnce()) {
    assert!(
        catch_unwind(AssertUnwindSafe(send)).is_err(),
        "its clone panics"
    );
}

#[test]
fn a_clone_that_panics_is_reported_where_its_value_would_have_been() {
    for overflow in [
        Overflow::Block,
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::Disconnect,
    ] {
        for batch in [false, true] {
            let feed = Feed::new();
            // The first gets clones, the other the originals.
            let mut first = channel(&feed, 8, overflow);
            let mut other = channel(&feed, 8, overflow);
            let values = || (0..5).map(|number| Touchy(number, TOUCHY));
            if batch {
                sent(|| _ = feed.send_batch(values()));
            } else {
                for value in values() {
                    let panics = TOUCHY.contains(&value.0);
                    let outcome = catch_unwind(AssertUnwindSafe(|| feed.send(value)));
                    assert_eq!(outcome.is_err(), panics);
                }
            }
            let got = |receiver: &mut Receiver<Touchy>| -> Vec<Option<u64>> {
                let all = all(receiver).into_iter();
                all.map(|value| value.map(|value| value.0)).collect()
            };
            let what = format!("{overflow:?}, batch {batch}");
            assert_eq!(
                got(&mut first),
                [Some(0), None, Some(2), None, Some(4)],
                "{what}"
            );
            assert_eq!(got(&mut other), [0, 1, 2, 3, 4].map(Some), "{what}");
            let stats = first.stats();
            assert_eq!((first.missed(), stats.delivered, stats.dropped), (2, 3, 2));
            assert_eq!((other.missed(), other.stats().dropped), (0, 0));
        }
    }
}

#[test]
fn values_missed_at_one_point_for_two_reasons_are_reported_together() {
    let feed = Feed::new();
    let mut first = channel(&feed, 1, Overflow::DropOldest);
    let _other = feed.channel(8).unwrap();
    // The clones of 1 and 3 panic, and each later value pushes out the one before it.
    sent(|| _ = feed.send_batch((0..5).map(|number| Touchy(number, TOUCHY))));
    assert_eq!(first.try_recv().err(), Some(TryRecvError::Lagged(4)));
    assert_eq!(first.try_recv().unwrap().0, 4);
    assert_eq!(first.try_recv().err(), Some(TryRecvError::Empty));
    assert_eq!((first.missed(), first.stats().dropped), (4, 4));
}

#[test]
fn a_clone_that_panics_in_a_retry_is_reported_at_the_values_place() {
    let tally = Tally::new();
    let feed = Feed::new();
    let mut receivers = [(); 3].map(|()| feed.channel(1).unwrap());
    feed.send(tally.value(0));
    let undelivered = feed.try_send(tally.value(1)).unwrap_err();
    for receiver in &mut receivers {
        assert_eq!(receiver.recv().unwrap().number, 0);
    }
    // The original and a clone that was refused are at hand for two of them, so one is still to be
    // cloned.
    tally.panic_after(0);
    sent(|| drop(undelivered.retry()));
    let missed: u64 = receivers
        .iter_mut()
        .map(|receiver| {
            assert_eq!(all(receiver).len(), 1);
            receiver.missed()
        })
        .sum();
    assert_eq!(missed, 1);
}

// ---- Threads ----

#[test]
fn received_and_missed_are_what_was_sent_whatever_the_senders_give_up() {
    const SENDERS: u64 = 3;
    const EACH: u64 = 4_000;
    let _watchdog = watchdog();
    for overflow in [Overflow::Block, Overflow::DropNewest, Overflow::DropOldest] {
        let feed = Feed::new();
        let mut receiver = channel(&feed, 3, overflow);
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let feed = feed.clone();
                thread::spawn(move || {
                    let mut random = Random::new(sender + 1);
                    for number in 0..EACH {
                        let value = (sender, number);
                        match random.below(4) {
                            0 => _ = feed.send(value),
                            1 => drop(feed.send_timeout(value, Duration::from_micros(20))),
                            2 => {
                                if let Err(undelivered) = feed.try_send(value) {
                                    drop(undelivered.retry());
                                }
                            }
                            _ => drop(feed.try_send(value)),
                        }
                    }
                })
            })
            .collect();
        drop(feed);
        let mut next = [0; SENDERS as usize];
        let (mut received, mut missed, mut gaps) = (0, 0, 0);
        let end = loop {
            match receiver.recv() {
                Ok((sender, number)) => {
                    let next = &mut next[sender as usize];
                    assert!(number >= *next, "out of order");
                    gaps += number - *next;
                    *next = number + 1;
                    received += 1;
                    assert!(gaps <= missed, "a value came before the gap in front of it");
                }
                Err(RecvError::Lagged(count)) => missed += count,
                Err(end) => break end,
            }
        };
        senders.into_iter().for_each(join);
        assert_eq!(end, RecvError::Closed);
        assert_eq!(received + missed, SENDERS * EACH, "{overflow:?}");
        let stats = receiver.stats();
        let figures = (receiver.missed(), stats.delivered, stats.dropped);
        assert_eq!(figures, (missed, received, missed), "{overflow:?}");
    }
}

/// It has no room for either of two values at once, but it ends with one of them.
#[test]
fn two_sends_that_find_a_channel_full_count_one_miss() {
    const RACES: usize = 10_000;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let at_once = std::sync::Barrier::new(2);
    let mut dropped = 0;
    let begun = AtomicUsize::new(0);
    // Both send within nanoseconds: threads that are woken are farther apart.
    let begin = |race| {
        begun.fetch_add(1, Ordering::SeqCst);
        eventually(|| begun.load(Ordering::SeqCst) == 2 * race);
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for race in 1..=RACES {
                at_once.wait();
                begin(race);
                feed.send(1);
                at_once.wait();
            }
        });
        for race in 1..=RACES {
            let options = feed.subscriber().capacity(1);
            let receiver = options.overflow(Overflow::Disconnect).channel().unwrap();
            feed.send(0);
            at_once.wait();
            begin(race);
            (0..race % 100).for_each(|_| std::hint::spin_loop());
            feed.send(2);
            at_once.wait();
            dropped += receiver.stats().dropped;
        }
    });
    assert_eq!(dropped, RACES as u64);
}
