//! Blocked senders, and what releases them: room, an unsubscribe, a close, a deadline.
//!
//! Programs: three senders at one or two full channels of capacity 1, and receivers that drain,
//! leave or end them. Timers do not fire, so another thread must cause every wake-up.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release --test blocked
//! ```
#![cfg(fanfeed_shuttle)]

use std::sync::Arc;
use std::time::Duration;

use fanfeed::{Feed, RecvError};
use fanfeed_shuttle_tests::{Ledger, Schedules, Sequence, Token, Why, post, value};
use shuttle::thread::{self, JoinHandle};

/// Threads that send two values each.
fn senders(feed: &Feed<Token>, ledger: &Ledger) -> Vec<JoinHandle<usize>> {
    (0..3)
        .map(|sender| {
            let (feed, ledger) = (feed.clone(), ledger.clone());
            thread::spawn(move || {
                (0..2)
                    .map(|index| feed.send(value(&ledger, sender, index)))
                    .sum()
            })
        })
        .collect()
}

fn sum(threads: Vec<JoinHandle<usize>>) -> usize {
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum()
}

/// Two channels, whose receivers drain them; one of the two in threes.
fn two_that_drain() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let (mut one, mut other) = (feed.channel(1).unwrap(), feed.channel(1).unwrap());
    let threads = senders(&feed, &ledger);
    drop(feed);
    let reader = thread::spawn(move || {
        let mut sequence = Sequence::new();
        let _ = sequence.recv_all(&mut one);
        sequence.count()
    });
    let mut sequence = Sequence::new();
    // To wait for one, and to take what there is, in turns.
    while let Ok(value) = other.recv() {
        sequence.take(&value);
        let _ = other.drain(3, |value| sequence.take(&value));
    }
    assert_eq!((reader.join().unwrap(), sequence.count()), (6, 6));
    assert_eq!(sum(threads), 12);
    drop(other);
    ledger.assert_settled();
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Unsubscribe,
    Drop,
    Close,
}

/// One channel is ended while senders wait for it, the other one is drained.
fn an_end(ending: Ending) {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let (mut ended, subscription) = feed.channel(1).unwrap().split();
    let mut drained = feed.channel(1).unwrap();
    let threads = senders(&feed, &ledger);
    let ender = {
        let feed = feed.clone();
        thread::spawn(move || {
            let mut sequence = Sequence::new();
            let _ = sequence.try_recv(&mut ended);
            match ending {
                Ending::Unsubscribe => subscription.unsubscribe(),
                Ending::Drop => return drop(ended),
                Ending::Close => feed.close(),
            }
            assert_eq!(sequence.recv_all(&mut ended), RecvError::Closed);
            sequence.assert_without_gaps();
        })
    };
    drop(feed);
    let mut sequence = Sequence::new();
    assert_eq!(sequence.recv_all(&mut drained), RecvError::Closed);
    sequence.assert_without_gaps();
    let sent = sum(threads);
    ender.join().unwrap();
    if !matches!(ending, Ending::Close) {
        assert_eq!(sequence.count(), 6);
    }
    assert!(sent >= sequence.count());
    drop(drained);
    ledger.assert_settled();
}

/// The only channel there is ends, so that nobody else wakes the senders.
fn an_end_of_all(ending: Ending) {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let receiver = feed.channel(1).unwrap();
    let threads = senders(&feed, &ledger);
    match ending {
        Ending::Unsubscribe => receiver.subscription().unsubscribe(),
        Ending::Drop => drop(receiver),
        Ending::Close => feed.close(),
    }
    assert!(sum(threads) <= 1);
    drop(feed);
}

/// Carriers that tell when they have room, one of which is unsubscribed under its senders.
fn carriers() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let (one, one_box) = post(1);
    let (other, other_box) = post(1);
    let stays = feed.subscribe(one);
    let leaves = feed.subscribe(other);
    let threads = senders(&feed, &ledger);
    let leaver = thread::spawn(move || {
        let mut sequence = Sequence::new();
        if let Some(value) = other_box.take() {
            sequence.take(&value);
        }
        leaves.unsubscribe();
        other_box.assert_ended();
        while let Some(value) = other_box.take() {
            sequence.take(&value);
        }
        sequence.assert_without_gaps();
        sequence.count()
    });
    let mut sequence = Sequence::new();
    while sequence.count() < 6 {
        match one_box.take() {
            Some(value) => sequence.take(&value),
            None => thread::yield_now(),
        }
    }
    assert_eq!(sum(threads), 6 + leaver.join().unwrap());
    drop((stays, one_box, feed));
    ledger.assert_settled();
}

/// Two senders that give up at once, one of which retries for the subscribers that missed the
/// value, beside two that wait without limit. A wake-up for a sender that gave up is passed on.
fn those_that_give_up() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(value(&ledger, 9, 0));
    let mut threads: Vec<_> = (0..2)
        .map(|sender| {
            let (feed, ledger) = (feed.clone(), ledger.clone());
            thread::spawn(move || {
                match feed.send_timeout(value(&ledger, sender, 0), Duration::ZERO) {
                    Ok(sent) => sent,
                    Err(undelivered) if sender == 0 => undelivered.delivered(),
                    Err(undelivered) => match undelivered.retry() {
                        Ok(sent) => sent,
                        Err(undelivered) => undelivered.delivered(),
                    },
                }
            })
        })
        .collect();
    threads.extend((2..4).map(|sender| {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || feed.send(value(&ledger, sender, 0)))
    }));
    let mut sequence = Sequence::new();
    // The senders that wait must be served, whichever senders give up meanwhile.
    while sequence
        .values
        .iter()
        .filter(|&&number| number >= 200)
        .count()
        < 3
    {
        sequence.recv(&mut receiver).unwrap();
    }
    let sent = sum(threads);
    while sequence.try_recv(&mut receiver).is_ok() {}
    assert_eq!(sequence.count(), 1 + sent);
    // What was given up is told.
    assert_eq!(sequence.all(), 5);
    drop((feed, receiver));
    ledger.assert_settled();
}

/// As in loom's model of this: one sender gives up, while the other waits on. Taking nothing wakes
/// everybody, so the channel is looked at without taking.
fn one_that_gives_up() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let (post, post_box) = post(1);
    let _subscription = feed.subscribe(post);
    feed.send(0);
    let spawn = |f: fn(&Feed<u32>)| {
        let feed = feed.clone();
        thread::spawn(move || f(&feed))
    };
    let impatient = spawn(|feed| drop(feed.send_timeout(1, Duration::ZERO)));
    let patient = spawn(|feed| assert_ne!(feed.send(2), 0));
    while post_box.waiting() < 2 {
        thread::yield_now();
    }
    assert_eq!(receiver.try_recv(), Ok(0));
    impatient.join().unwrap();
    while receiver.is_empty() {
        thread::yield_now();
    }
    while receiver.try_recv() != Ok(2) {
        thread::yield_now();
    }
    post_box.take();
    patient.join().unwrap();
}

/// Several unsubscribe one carrier, and one looks at its figures, while three send.
fn two_unsubscribes() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let (post, post_box) = post(1);
    let subscription = Arc::new(feed.subscribe(post));
    let threads = senders(&feed, &ledger);
    let others: Vec<_> = (0..2)
        .map(|_| {
            let subscription = Arc::clone(&subscription);
            thread::spawn(move || {
                subscription.unsubscribe();
                assert!(subscription.is_closed());
            })
        })
        .collect();
    let looker = {
        let subscription = Arc::clone(&subscription);
        thread::spawn(move || subscription.stats().delivered)
    };
    subscription.unsubscribe();
    post_box.seal();
    let sent = sum(threads);
    assert!(looker.join().unwrap() <= sent as u64);
    let arrived = std::iter::from_fn(|| post_box.take()).count();
    assert_eq!(sent, arrived);
    for other in others {
        other.join().unwrap();
    }
    // One of them has dropped the carrier.
    post_box.assert_ended();
    drop((feed, subscription, post_box));
    ledger.assert_settled();
}

/// One thread takes the values of a sender that waits for room, while another unsubscribes the
/// channel: the values that arrived are the first ones.
fn an_end_beside_a_drain() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let (mut receiver, subscription) = feed.channel(1).unwrap().split();
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || {
            (0..4).fold(0, |sum, index| sum + feed.send(value(&ledger, 1, index)))
        })
    };
    let drainer = thread::spawn(move || {
        let mut sequence = Sequence::new();
        assert_eq!(sequence.recv_all(&mut receiver), RecvError::Closed);
        sequence
    });
    subscription.unsubscribe();
    let sequence = drainer.join().unwrap();
    sequence.assert_without_gaps();
    assert!(sequence.values.first().is_none_or(|&first| first == 100));
    assert_eq!(sender.join().unwrap(), sequence.count());
    drop((feed, sequence));
    ledger.assert_settled();
}

/// Two look how full a carrier is, while it is unsubscribed.
fn two_that_look() {
    let feed = Feed::new();
    let (post, post_box) = post(2);
    let subscription = Arc::new(feed.subscribe(post));
    assert_eq!(feed.send(1), 1);
    let lookers = [(); 2].map(|()| {
        let subscription = Arc::clone(&subscription);
        thread::spawn(move || {
            // Once it has ended nobody looks.
            let depths = [(); 2].map(|()| subscription.stats().depth);
            assert!(depths.iter().all(|&depth| matches!(depth, None | Some(1))));
            assert!(depths[0].is_some() || depths[1].is_none());
        })
    });
    subscription.unsubscribe();
    post_box.assert_ended();
    for looker in lookers {
        looker.join().unwrap();
    }
}

#[test]
fn receivers_that_drain_release_all_senders() {
    Schedules::new().hold(two_that_drain);
}

#[test]
fn timers_change_nothing() {
    Schedules::new().with_timers().hold(two_that_drain);
}

#[test]
fn an_unsubscribe_releases_sends_that_wait_for_it() {
    Schedules::new().hold(|| an_end(Ending::Unsubscribe));
}

#[test]
fn an_unsubscribe_of_the_only_channel_releases_all() {
    Schedules::new().hold(|| an_end_of_all(Ending::Unsubscribe));
}

#[test]
fn a_dropped_receiver_releases_sends_that_wait_for_it() {
    Schedules::new().hold(|| an_end(Ending::Drop));
}

#[test]
fn a_drop_of_the_only_receiver_releases_all() {
    Schedules::new().hold(|| an_end_of_all(Ending::Drop));
}

#[test]
fn a_close_releases_sends_that_wait_for_one_of_two() {
    Schedules::new().hold(|| an_end(Ending::Close));
}

#[test]
fn a_close_of_the_only_channel_releases_all() {
    Schedules::new().hold(|| an_end_of_all(Ending::Close));
}

#[test]
fn carriers_release_all() {
    Schedules::new().hold(carriers);
}

#[test]
fn senders_that_give_up_pass_their_wake_up_on() {
    Schedules::new().hold(those_that_give_up);
}

#[test]
fn a_sender_that_gives_up_passes_its_wake_up_on() {
    Schedules::new().hold(one_that_gives_up);
}

#[test]
fn several_unsubscribes_all_wait() {
    Schedules::new().hold(two_unsubscribes);
}

#[test]
fn what_came_before_an_unsubscribe_has_no_gaps() {
    Schedules::new().hold(an_end_beside_a_drain);
}

#[test]
fn an_unsubscribe_waits_for_threads_that_query_the_carrier() {
    Schedules::new().hold(two_that_look);
}

#[test]
fn mutants_are_found() {
    let stuck = Schedules::new().because(Why::Deadlock);
    stuck.find("end_wakes_no_sender", || an_end_of_all(Ending::Unsubscribe));
    stuck.find("end_wakes_no_sender", || an_end_of_all(Ending::Close));
    Schedules::new()
        .because(Why::Race)
        .find("gate_is_not_waited_for", two_that_look);
    Schedules::new()
        .because(Why::Says("a gap in"))
        .find("entry_is_cut_while_it_is_live", an_end_beside_a_drain);
}
