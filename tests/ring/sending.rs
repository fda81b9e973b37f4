//! The verbs of sending.

use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{ExclusiveRingFeed, Publish, RingFeed, TrySendError, ring};

use crate::blocked;
use crate::common::{PATIENCE, join, watchdog};

#[test]
fn every_verb_says_at_which_position_its_value_is() {
    with_each_sender!(64, |ring| {
        let mut reader = ring.subscribe();
        let later = Instant::now() + PATIENCE;
        assert_eq!(ring.position(), 0);
        assert_eq!(ring.send(0), 0);
        assert_eq!(ring.try_send(1), Ok(1));
        assert_eq!(ring.send_timeout(2, PATIENCE), Ok(2));
        assert_eq!(ring.send_timeout(3, Duration::MAX), Ok(3));
        assert_eq!(ring.send_deadline(4, later), Ok(4));
        assert_eq!(ring.send_with(|value| *value = 5), 5);
        // Of a batch: the position after its last.
        assert_eq!(ring.send_batch([6, 7, 8]), 9);
        assert_eq!(ring.send_batch([]), 9);
        assert_eq!(ring.send_slice(&[9, 10]), 11);
        assert_eq!(ring.send_slice(&[]), 11);
        assert_eq!(ring.position(), 11);
        assert_eq!(
            reader.try_iter().collect::<Vec<_>>(),
            (0..11).collect::<Vec<_>>()
        );
    });
}

/// Counts from the next position on with all verbs, and comes to the end of them.
fn count_on<P>(mut out: P, from: u64) -> u64
where
    P: Publish<u64, Sent = u64, Unsent = TrySendError<u64>>,
{
    assert_eq!(out.send(from), from);
    assert_eq!(out.try_send(from + 1), Ok(from + 1));
    assert_eq!(out.send_timeout(from + 2, PATIENCE), Ok(from + 2));
    let later = Instant::now() + PATIENCE;
    assert_eq!(out.send_deadline(from + 3, later), Ok(from + 3));
    assert_eq!(out.send_batch(from + 4..from + 8), from + 8);
    let next = from + 8;
    assert_eq!(out.try_send(next), Err(TrySendError::Full(next)));
    let late = Instant::now();
    assert_eq!(out.send_deadline(next, late), Err(TrySendError::Full(next)));
    let none = Duration::ZERO;
    assert_eq!(out.send_timeout(next, none), Err(TrySendError::Full(next)));
    next
}

#[test]
fn both_senders_can_be_used_as_what_they_share() {
    fn check<P>(ring: P, readers: &ring::Handle<u64>)
    where
        P: Publish<u64, Sent = u64, Unsent = TrySendError<u64>>,
    {
        let mut reader = readers.subscribe();
        assert_eq!(count_on(ring, 0), 8);
        assert_eq!(reader.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
    let ring = ExclusiveRingFeed::new(8).unwrap();
    let readers = ring.handle();
    check(ring, &readers);
    let ring = RingFeed::new(8).unwrap();
    let readers = ring.handle();
    check(ring, &readers);

    let ring = RingFeed::new(8).unwrap();
    let mut reader = ring.subscribe();
    for round in 0..3 {
        assert_eq!(count_on(&ring, 8 * round), 8 * (round + 1));
        assert_eq!(reader.drain(|_| {}), Ok(8));
    }
}

#[test]
fn a_send_with_a_limit_gives_the_value_back_when_the_time_is_up() {
    with_each_sender!(2, |ring| {
        let reader = ring.subscribe();
        ring.send_batch([1, 2]);
        let limit = Duration::from_millis(20);
        let begun = Instant::now();
        assert_eq!(ring.send_timeout(3, limit), Err(TrySendError::Full(3)));
        assert!(begun.elapsed() >= limit);
        let deadline = Instant::now() + limit;
        assert_eq!(ring.send_deadline(4, deadline), Err(TrySendError::Full(4)));
        assert!(Instant::now() >= deadline);
        let stats = reader.stats();
        assert_eq!((stats.blocked, stats.delivered), (2, 2));
        assert!(stats.blocked_for >= limit);
        // It has not been sent: the next takes its position.
        drop(reader);
        assert_eq!(ring.send(5), 2);
    });
}

#[test]
fn every_verb_that_waits_goes_on_when_the_reader_takes_a_value() {
    let _watchdog = watchdog();
    type Send = fn(&RingFeed<u64>) -> u64;
    let verbs: [Send; 6] = [
        |ring| ring.send(2),
        |ring| ring.send_timeout(2, PATIENCE).unwrap(),
        |ring| ring.send_timeout(2, Duration::MAX).unwrap(),
        |ring| ring.send_deadline(2, Instant::now() + PATIENCE).unwrap(),
        |ring| ring.send_batch([2]) - 1,
        |ring| ring.send_with(|value| *value = 2),
    ];
    for send in verbs {
        let ring = RingFeed::new(2).unwrap();
        let mut reader = ring.subscribe();
        ring.send_batch([0, 1]);
        let sender = blocked(reader.subscription(), move || send(&ring));
        assert_eq!(reader.recv(), Ok(0));
        assert_eq!(join(sender), 2);
        assert_eq!(reader.iter().collect::<Vec<_>>(), [1, 2]);
    }
}

#[test]
fn every_verb_of_the_exclusive_sender_that_waits_goes_on_too() {
    let _watchdog = watchdog();
    type Send = fn(&mut ExclusiveRingFeed<u64>) -> u64;
    let verbs: [Send; 6] = [
        |ring| ring.send(2),
        |ring| ring.send_timeout(2, PATIENCE).unwrap(),
        |ring| ring.send_timeout(2, Duration::MAX).unwrap(),
        |ring| ring.send_deadline(2, Instant::now() + PATIENCE).unwrap(),
        |ring| ring.send_batch([2]) - 1,
        |ring| ring.send_with(|value| *value = 2),
    ];
    for send in verbs {
        let mut ring = ExclusiveRingFeed::new(2).unwrap();
        let mut reader = ring.subscribe();
        ring.send_batch([0, 1]);
        let sender = blocked(reader.subscription(), move || send(&mut ring));
        assert_eq!(reader.recv(), Ok(0));
        assert_eq!(join(sender), 2);
        assert_eq!(reader.iter().collect::<Vec<_>>(), [1, 2]);
    }
}

#[test]
fn a_batch_may_be_larger_than_the_ring() {
    let _watchdog = watchdog();
    for capacity in [1, 4, 64] {
        let count = capacity as u64 * 200;
        let all: Vec<_> = (0..count).collect();
        with_each_sender!(capacity, |ring| {
            let mut readers = [ring.subscribe(), ring.subscribe()];
            let batch = all.clone();
            let sender = thread::spawn(move || {
                let slice = &batch[..count as usize / 2];
                assert_eq!(ring.send_slice(slice), count / 2);
                assert_eq!(ring.send_batch(count / 2..count), count);
            });
            // The readers take turns, so that each holds the sender up once in a while.
            let mut received = [Vec::new(), Vec::new()];
            while received.iter().any(|received| received.len() < all.len()) {
                for (reader, received) in readers.iter_mut().zip(&mut received) {
                    let _ = reader.drain(|value| received.push(*value));
                }
                thread::yield_now();
            }
            join(sender);
            assert!(received.iter().all(|received| *received == all));
        });
    }
}

#[test]
fn a_batch_goes_round_a_ring_without_readers_as_often_as_it_has_to() {
    with_each_sender!(8, |ring| {
        ring.send(0);
        assert_eq!(ring.send_batch(1..1001), 1001);
        let mut late = ring.subscriber().history(3).subscribe();
        assert_eq!(late.try_iter().collect::<Vec<_>>(), [998, 999, 1000]);
    });
}

#[test]
fn a_batch_may_come_from_an_iterator_that_does_not_know_its_length() {
    with_each_sender!(128, |ring| {
        let mut reader = ring.subscribe();
        let mut number = 0;
        let until_a_hundred = std::iter::from_fn(|| {
            number += 1;
            (number <= 100).then_some(number)
        });
        assert_eq!(ring.send_batch(until_a_hundred), 100);
        assert!(reader.try_iter().eq(1..=100));
    });
}

#[test]
fn clones_of_a_shared_sender_send_on_one_ring() {
    let ring = RingFeed::new(8).unwrap();
    let other = ring.clone();
    let mut reader = ring.subscribe();
    assert_eq!(ring.send('a'), 0);
    assert_eq!(other.send('b'), 1);
    assert_eq!((ring.position(), other.subscriber_count()), (2, 1));
    drop(ring);
    assert_eq!(other.send('c'), 2);
    assert_eq!(reader.try_iter().collect::<String>(), "abc");
}

#[test]
fn a_batch_of_a_sender_alone_is_published_an_eighth_of_the_ring_at_a_time() {
    let mut ring = ExclusiveRingFeed::new(64).unwrap();
    let reader = ring.subscribe();
    let values = (0..20_u64).inspect(|number| assert_eq!(reader.lag(), number / 8 * 8));
    assert_eq!(ring.send_batch(values), 20);
    assert_eq!(reader.lag(), 20);
}
