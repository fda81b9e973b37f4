//! The feed's own channel, as its receiver sees it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{Feed, Overflow, Receiver, RecvError, RecvTimeoutError, TryRecvError};

use crate::common::{PATIENCE, Random, Tally, blocked_send, eventually, join, watchdog};

mod ends;
mod overflow;

fn channel(feed: &Feed<u64>, capacity: usize, overflow: Overflow) -> Receiver<u64> {
    let builder = feed.subscriber().capacity(capacity).overflow(overflow);
    builder.channel().unwrap()
}

// ---- Capacity ----

#[test]
fn a_channel_holds_exactly_its_capacity() {
    for capacity in [1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 100] {
        let feed = Feed::new();
        let mut receiver = feed.channel(capacity).unwrap();
        assert_eq!(receiver.capacity(), capacity);
        assert!(receiver.is_empty());
        let (mut sent, mut received) = (0, 0);
        // Before which values one was given up.
        let mut gaps = std::collections::VecDeque::new();
        // Several times round the ring, from each place in it.
        for taken in (1..=capacity).rev().chain(1..=capacity).take(50) {
            while receiver.len() < capacity {
                assert_eq!(feed.try_send(sent).unwrap(), 1);
                sent += 1;
                assert!(!receiver.is_empty());
            }
            let undelivered = feed.try_send(u64::MAX).unwrap_err();
            assert_eq!(undelivered.delivered(), 0);
            drop(undelivered);
            gaps.push_back(sent);
            for _ in 0..taken {
                if gaps.front() == Some(&received) {
                    gaps.pop_front();
                    assert_eq!(receiver.try_recv(), Err(TryRecvError::Lagged(1)));
                }
                assert_eq!(receiver.try_recv(), Ok(received));
                received += 1;
            }
            assert_eq!(receiver.len(), capacity - taken);
        }
    }
}

#[test]
fn a_channel_for_which_no_capacity_was_asked_holds_1024() {
    let feed = Feed::<u8>::new();
    assert_eq!(feed.subscriber().channel().unwrap().capacity(), 1024);
}

#[test]
fn a_capacity_that_cannot_be_had_is_an_error_that_says_so() {
    let feed = Feed::<u64>::new();
    for capacity in [0, (1 << 30) + 1, usize::MAX] {
        let error = feed.channel(capacity).unwrap_err();
        assert_eq!(error.requested(), capacity);
        let text = error.to_string();
        assert!(text.contains(&capacity.to_string()), "{text}");
        assert!(text.contains("from 1 to 1073741824"), "{text}");
        assert!(feed.subscriber().capacity(capacity).channel().is_err());
    }
    assert_eq!(feed.subscriber_count(), 0);
    assert_eq!(feed.send(1), 0);
}

// ---- Receiving ----

#[test]
fn an_empty_channel_says_empty_and_a_timed_receive_times_out() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    let limit = Duration::from_millis(30);
    let start = Instant::now();
    assert_eq!(receiver.recv_timeout(limit), Err(RecvTimeoutError::Timeout));
    assert!(start.elapsed() >= limit);
    let start = Instant::now();
    let deadline = start + limit;
    assert_eq!(
        receiver.recv_deadline(deadline),
        Err(RecvTimeoutError::Timeout)
    );
    assert!(Instant::now() >= deadline);
    // A deadline that has passed still takes what is there.
    feed.send(1);
    assert_eq!(receiver.recv_deadline(start), Ok(1));
    assert_eq!(
        receiver.recv_timeout(Duration::ZERO),
        Err(RecvTimeoutError::Timeout)
    );
}

#[test]
fn a_receiver_that_waits_is_woken_by_a_value() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    for value in 0..20 {
        let mut receiver = feed.channel(1).unwrap();
        let waiting = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let waiting = Arc::clone(&waiting);
            move || {
                waiting.store(true, Ordering::Release);
                receiver.recv()
            }
        });
        eventually(|| waiting.load(Ordering::Acquire));
        if value % 2 == 0 {
            // Long enough for it to have parked, most of the time; either way it gets the value.
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(feed.send(value), 1);
        assert_eq!(join(reader), Ok(value));
    }
}

#[test]
fn no_wake_up_is_lost_when_two_threads_answer_each_other() {
    let _watchdog = watchdog();
    let (there, back) = (Feed::new(), Feed::new());
    let mut ping = there.channel(1).unwrap();
    let mut pong = back.channel(1).unwrap();
    let other = thread::spawn(move || {
        for value in ping.iter() {
            back.send(value);
        }
    });
    let mut random = Random::new(7);
    for value in 0..5_000u64 {
        assert_eq!(there.send(value), 1);
        // At different points of the receiver's way into its sleep.
        for _ in 0..random.below(200) {
            std::hint::spin_loop();
        }
        assert_eq!(pong.recv_timeout(PATIENCE), Ok(value));
    }
    drop(there);
    join(other);
}

#[test]
fn no_sender_is_forgotten_when_many_wait_for_one_place() {
    const SENDERS: u64 = 8;
    const EACH: u64 = 400;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let feed = feed.clone();
            thread::spawn(move || {
                (0..EACH).for_each(|number| assert_eq!(feed.send((sender, number)), 1))
            })
        })
        .collect();
    let mut next = [0; SENDERS as usize];
    for _ in 0..SENDERS * EACH {
        let (sender, number) = receiver.recv_timeout(PATIENCE).expect("a value in time");
        assert_eq!(number, next[sender as usize]);
        next[sender as usize] += 1;
    }
    senders.into_iter().for_each(join);
    assert!(receiver.is_empty());
}

#[test]
fn iterators_take_what_is_there_or_wait_for_the_end() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut receiver = feed.channel(8).unwrap();
    feed.send_batch(1..=3);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(receiver.try_iter().next(), None);
    feed.send_batch(4..=6);
    assert_eq!(receiver.iter().next(), Some(4));
    assert_eq!((&mut receiver).into_iter().next(), Some(5));
    let reader = thread::spawn(move || receiver.into_iter().collect::<Vec<_>>());
    feed.send(7);
    feed.close();
    assert_eq!(join(reader), [6, 7]);
}

#[test]
fn an_iterator_that_has_ended_stays_at_its_end() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(1);
    drop(feed);
    let mut iter = receiver.iter();
    assert_eq!(
        (iter.next(), iter.next(), iter.next()),
        (Some(1), None, None)
    );
    for _ in 0..2 {
        assert_eq!(receiver.recv(), Err(RecvError::Closed));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(receiver.drain(1, drop), Err(TryRecvError::Closed));
    }
}

// ---- Draining ----

#[test]
fn draining_hands_out_values_in_order_up_to_a_limit() {
    let feed = Feed::new();
    let mut receiver = feed.channel(8).unwrap();
    assert_eq!(receiver.drain(4, drop), Err(TryRecvError::Empty));
    feed.send_batch(0..8);
    assert_eq!(receiver.drain(0, drop), Ok(0));
    let mut values = vec![99];
    assert_eq!(receiver.drain_into(&mut values, 3), Ok(3));
    assert_eq!(values, [99, 0, 1, 2]);
    assert_eq!(receiver.drain_into(&mut values, usize::MAX), Ok(5));
    assert_eq!(values, [99, 0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(feed.send_batch(0..8), 8);
}

#[test]
fn draining_stops_where_values_were_missed() {
    let feed = Feed::new();
    let mut receiver = channel(&feed, 2, Overflow::DropNewest);
    feed.send_batch(0..5);
    assert_eq!(receiver.recv(), Ok(0));
    feed.send(5);
    let mut values = Vec::new();
    assert_eq!(receiver.drain_into(&mut values, 10), Ok(1));
    assert_eq!(values, [1]);
    // Whichever way the next is taken, the gap is told first, and once.
    assert_eq!(receiver.drain(10, drop), Err(TryRecvError::Lagged(3)));
    assert_eq!(receiver.missed(), 3);
    assert_eq!(receiver.drain_into(&mut values, 10), Ok(1));
    assert_eq!(values, [1, 5]);
    assert_eq!(receiver.drain(10, drop), Err(TryRecvError::Empty));
}

#[test]
fn a_drain_ends_with_what_was_there_when_it_began() {
    let feed = Feed::new();
    for overflow in [Overflow::Block, Overflow::DropNewest, Overflow::DropOldest] {
        let mut receiver = channel(&feed, 8, overflow);
        feed.send_batch(0..3);
        let mut drained = Vec::new();
        // As a sender does that is always faster.
        let taken = receiver.drain(usize::MAX, |value| {
            drained.push(value);
            feed.send(value + 10);
        });
        assert_eq!((taken, &drained[..]), (Ok(3), &[0, 1, 2][..]));
        assert_eq!(receiver.drain_into(&mut drained, 2), Ok(2));
        assert_eq!(receiver.drain_into(&mut drained, 9), Ok(1));
        assert_eq!(drained, [0, 1, 2, 10, 11, 12], "{overflow:?}");
        assert_eq!(receiver.drain(9, drop), Err(TryRecvError::Empty));
    }
}

#[test]
fn a_drain_that_leaves_nothing_wakes_the_senders_that_wait() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    for _ in 0..20 {
        feed.send_batch([0, 1]);
        let blocked = blocked_send(&feed, receiver.subscription(), 2);
        assert_eq!(receiver.drain(9, drop), Ok(2));
        assert_eq!(join(blocked), 1);
        assert_eq!(receiver.recv(), Ok(2));
    }
}

#[test]
fn nothing_completed_is_unread_when_a_receiver_says_empty() {
    const SENDERS: usize = 3;
    const EACH: u64 = 2_000;
    let _watchdog = watchdog();
    type Receive = fn(&mut Receiver<u64>) -> u64;
    let ways: [Receive; 4] = [
        |receiver| receiver.try_recv().is_ok().into(),
        |receiver| receiver.recv_timeout(Duration::ZERO).is_ok().into(),
        |receiver| receiver.drain(3, drop).unwrap_or(0) as u64,
        |receiver| receiver.try_iter().take(3).count() as u64,
    ];
    for (way, receive) in ways.into_iter().enumerate() {
        let feed = Feed::new();
        let mut receiver = feed.channel(64).unwrap();
        let completed = Arc::new(AtomicU64::new(0));
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (feed, completed) = (feed.clone(), Arc::clone(&completed));
                thread::spawn(move || {
                    for value in 0..EACH {
                        feed.send(value);
                        completed.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let mut received = 0;
        while received < SENDERS as u64 * EACH {
            let before = completed.load(Ordering::SeqCst);
            let is_empty = receiver.is_empty();
            let got = receive(&mut receiver);
            assert!(
                got > 0 || before <= received,
                "way {way}: a completed value is unread"
            );
            assert!(got > 0 || is_empty, "way {way}: it was not empty");
            received += got;
            if got == 0 {
                thread::yield_now();
            }
        }
        senders.into_iter().for_each(join);
    }
}

#[test]
fn a_panic_in_a_drain_costs_the_one_value_and_no_other() {
    let tally = Tally::new();
    let feed = Feed::new();
    let mut receiver = feed.channel(4).unwrap();
    for number in 0..4 {
        feed.send(tally.value(number));
    }
    let caught = catch_unwind(AssertUnwindSafe(|| {
        receiver.drain(4, |value| assert_ne!(value.number, 1))
    }));
    assert!(caught.is_err());
    assert_eq!(tally.live(), 2);
    assert_eq!(receiver.recv().unwrap().number, 2);
    assert_eq!(receiver.recv().unwrap().number, 3);
    assert_eq!(tally.live(), 0);
    assert_eq!(feed.send(tally.value(4)), 1);
}
