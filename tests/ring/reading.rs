//! The verbs of reading.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{ExclusiveRingFeed, RecvTimeoutError, TryRecvError, ring};

use crate::WAITINGS;
use crate::common::{PATIENCE, Sleeper, Tally, Touchy, eventually, join, watchdog};

const BOTH: [ring::Overflow; 2] = [ring::Overflow::Block, ring::Overflow::DropOldest];

#[test]
fn values_are_drained_by_reference_and_none_is_cloned() {
    let tally = Tally::new();
    with_each_sender!(64, |ring| {
        let mut readers: Vec<_> = (0..10).map(|_| ring.subscribe()).collect();
        for number in 0..50 {
            ring.send(tally.value(number));
        }
        for reader in &mut readers {
            let mut numbers = Vec::new();
            assert_eq!(reader.drain(|value| numbers.push(value.number)), Ok(50));
            assert!(numbers.into_iter().eq(0..50));
        }
        assert_eq!((tally.clones(), tally.live()), (0, 50));
        ring.send(tally.value(50));
        assert_eq!(readers[0].try_recv().unwrap().number, 50);
        assert_eq!(tally.clones(), 1);
    });
    assert_eq!(tally.live(), 0);
}

#[test]
fn a_drain_hands_out_up_to_its_limit() {
    for overflow in BOTH {
        with_each_sender!(16, |ring| {
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            assert_eq!(reader.drain(|_| {}), Err(TryRecvError::Empty));
            assert_eq!(reader.drain_up_to(0, |_| {}), Ok(0));
            assert_eq!(reader.drain_up_to(5, |_| {}), Err(TryRecvError::Empty));
            ring.send_batch(0..16);
            let mut values = Vec::new();
            let mut drain = |limit| reader.drain_up_to(limit, |value| values.push(*value));
            assert_eq!(drain(0), Ok(0));
            assert_eq!(drain(1), Ok(1));
            // Across ends of eighths, too.
            assert_eq!(drain(6), Ok(6));
            assert_eq!(drain(0), Ok(0));
            assert_eq!(drain(usize::MAX), Ok(9));
            assert_eq!(drain(usize::MAX), Err(TryRecvError::Empty));
            assert!(values.into_iter().eq(0..16));
        });
    }
}

#[test]
fn an_empty_ring_says_empty_and_a_timed_read_times_out() {
    let limit = Duration::from_millis(15);
    for waiting in WAITINGS {
        with_each_sender!(4, |ring| {
            let mut reader = ring.subscriber().wait_strategy(waiting).subscribe();
            assert_eq!(reader.wait_strategy(), waiting);
            assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
            let begun = Instant::now();
            assert_eq!(reader.recv_timeout(limit), Err(RecvTimeoutError::Timeout));
            assert_eq!(reader.wait_timeout(limit), Err(RecvTimeoutError::Timeout));
            assert!(begun.elapsed() >= 2 * limit);
            let deadline = Instant::now() + limit;
            let late = Err(RecvTimeoutError::Timeout);
            assert_eq!(reader.recv_deadline(deadline), late);
            assert!(Instant::now() >= deadline);
            let deadline = Instant::now() + limit;
            assert_eq!(
                reader.wait_deadline(deadline),
                Err(RecvTimeoutError::Timeout)
            );
            assert!(Instant::now() >= deadline);
            let none = Duration::ZERO;
            assert_eq!(reader.recv_timeout(none), Err(RecvTimeoutError::Timeout));
            assert_eq!(reader.wait_timeout(none), Err(RecvTimeoutError::Timeout));
            // A deadline that has passed still takes what is there.
            ring.send_batch(0..3);
            assert_eq!(reader.wait_deadline(begun), Ok(()));
            assert_eq!(reader.recv_deadline(begun), Ok(0));
            assert_eq!(reader.recv_timeout(none), Ok(1));
            assert_eq!(reader.wait_timeout(none), Ok(()));
            assert_eq!(reader.wait(), Ok(()));
            assert_eq!(reader.recv(), Ok(2));
        });
    }
}

#[test]
fn timed_reads_of_any_length_take_what_comes() {
    let _watchdog = watchdog();
    for waiting in WAITINGS {
        with_each_sender!(1, |ring| {
            let mut reader = ring.subscriber().wait_strategy(waiting).subscribe();
            let thread = thread::spawn(move || {
                assert_eq!(reader.recv(), Ok(0));
                assert_eq!(reader.recv_timeout(PATIENCE), Ok(1));
                assert_eq!(reader.recv_timeout(Duration::MAX), Ok(2));
                assert_eq!(reader.recv_deadline(Instant::now() + PATIENCE), Ok(3));
                assert_eq!(reader.wait(), Ok(()));
                assert_eq!(reader.try_recv(), Ok(4));
                assert_eq!(reader.wait_timeout(PATIENCE), Ok(()));
                assert_eq!(reader.try_recv(), Ok(5));
                assert_eq!(reader.wait_deadline(Instant::now() + PATIENCE), Ok(()));
                assert_eq!(reader.try_recv(), Ok(6));
            });
            for value in 0..7 {
                ring.send(value);
            }
            join(thread);
        });
    }
}

#[test]
fn iterators_take_what_is_there_or_wait_for_the_end() {
    let _watchdog = watchdog();
    with_each_sender!(8, |ring| {
        let mut reader = ring.subscribe();
        ring.send_batch(1..=3);
        assert_eq!(reader.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(reader.try_iter().next(), None);
        ring.send_batch(4..=6);
        assert_eq!(reader.iter().next(), Some(4));
        assert_eq!((&mut reader).into_iter().next(), Some(5));
        let thread = thread::spawn(move || {
            let mut iter = reader.into_iter();
            let values: Vec<_> = iter.by_ref().collect();
            (values, iter.next())
        });
        ring.send(7);
        drop(ring);
        assert_eq!(join(thread), (vec![6, 7], None));
    });
}

#[test]
fn the_lag_is_what_was_sent_and_not_read() {
    for overflow in BOTH {
        with_each_sender!(16, |ring| {
            ring.send_batch(0..5);
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            assert_eq!(reader.lag(), 0);
            ring.send_batch(0..10);
            assert_eq!((reader.lag(), reader.stats().depth), (10, Some(10)));
            assert_eq!(reader.drain_up_to(4, |_| {}), Ok(4));
            assert_eq!((reader.lag(), reader.stats().depth), (6, Some(6)));
            drop(ring);
            assert_eq!(reader.lag(), 6);
            assert_eq!(reader.iter().count(), 6);
            assert_eq!((reader.lag(), reader.missed()), (0, 0));
        });
    }
}

#[test]
fn a_drain_ends_although_more_is_sent_meanwhile() {
    for overflow in BOTH {
        let mut ring = ExclusiveRingFeed::new(16).unwrap();
        let mut reader = ring.subscriber().overflow(overflow).subscribe();
        ring.send_batch(0..3);
        for round in 0..20 {
            let drained = reader.drain(|value| {
                ring.send(value + 3);
            });
            assert_eq!(drained, Ok(3), "{overflow:?}, {round}");
        }
        assert_eq!(reader.try_iter().collect::<Vec<_>>(), [60, 61, 62]);
    }
}

#[test]
fn a_drain_releases_half_of_the_ring_at_a_time() {
    let mut ring = ExclusiveRingFeed::new(64).unwrap();
    let mut reader = ring.subscribe();
    ring.send_batch(0..64);
    let mut seen = 0;
    let drained = reader.drain(|value| {
        assert_eq!(*value, seen);
        seen += 1;
        if seen == 33 {
            // It has begun with the second half: the first is free, and no more.
            for _ in 0..32 {
                ring.try_send(1000).unwrap();
            }
        }
        assert!(ring.try_send(0).is_err_and(|error| error.is_full()));
    });
    assert_eq!(drained, Ok(64));
    assert_eq!(ring.position(), 64 + 32);
    assert!(reader.try_iter().eq([1000; 32]));
}

#[test]
fn a_drain_releases_an_eighth_of_the_ring_at_a_time_to_a_sender_that_sleeps() {
    let _watchdog = watchdog();
    let mut ring = ExclusiveRingFeed::new(64).unwrap();
    let mut reader = ring.subscribe();
    ring.send_batch(0..64);
    let (tx, rx) = mpsc::channel();
    let sender = thread::spawn(move || {
        tx.send(Sleeper::current()).unwrap();
        (ring.send(64), ring)
    });
    rx.recv().unwrap().falls_asleep();
    let drained = reader.drain(|value| {
        if *value == 8 {
            // The first eighth has been read.
            eventually(|| sender.is_finished());
        }
    });
    assert_eq!(drained, Ok(64));
    assert_eq!(join(sender).0, 64);
    assert_eq!(reader.try_recv(), Ok(64));
}

#[test]
fn readers_can_be_read_inside_one_another() {
    with_each_sender!(8, |ring| {
        let mut outer = ring.subscribe();
        let mut inner = ring.subscribe();
        ring.send_batch(0..8);
        let mut pairs = Vec::new();
        let drained = outer.drain(|value| {
            let other = inner.try_recv().unwrap();
            pairs.push((*value, other));
        });
        assert_eq!(drained, Ok(8));
        assert!(pairs.into_iter().eq((0..8).zip(0..8)));
    });
}

// ---- Panics ----

#[test]
fn a_panic_in_a_drain_costs_the_one_value_and_no_other() {
    for overflow in BOTH {
        for bad in 0..16 {
            with_each_sender!(16, |ring| {
                let mut reader = ring.subscriber().overflow(overflow).subscribe();
                ring.send_batch(0..16);
                let mut values = Vec::new();
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    reader.drain(|value| {
                        assert_ne!(*value, bad, "a bad value");
                        values.push(*value);
                    })
                }));
                assert!(caught.is_err());
                assert_eq!(reader.lag(), 15 - bad);
                // What was read is free, the bad value too, and nothing else: of a lossy reader
                // whole eighths of the ring.
                let mut read = bad + 1;
                if overflow == ring::Overflow::DropOldest {
                    read -= read % 2;
                }
                for value in 16..16 + read {
                    assert_eq!(ring.try_send(value), Ok(value));
                }
                if overflow == ring::Overflow::Block {
                    assert!(ring.try_send(0).is_err_and(|error| error.is_full()));
                }
                let rest = reader.drain(|value| values.push(*value));
                assert_eq!(rest.unwrap_or(0) as u64, 15 - bad + read);
                let good = (0..16 + read).filter(|value| *value != bad);
                assert!(values.into_iter().eq(good));
                assert_eq!(reader.missed(), 0);
            });
        }
    }
}

#[test]
fn a_value_whose_clone_panics_has_been_read() {
    for overflow in BOTH {
        with_each_sender!(8, |ring| {
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            for number in 0..4 {
                ring.send(Touchy(number, &[1, 2]));
            }
            assert_eq!(reader.try_recv().unwrap().0, 0);
            assert!(catch_unwind(AssertUnwindSafe(|| reader.recv())).is_err());
            assert!(catch_unwind(AssertUnwindSafe(|| reader.iter().next())).is_err());
            assert_eq!(reader.lag(), 1);
            assert_eq!(reader.recv_timeout(PATIENCE).unwrap().0, 3);
            assert_eq!(reader.stats().delivered, 4);
        });
    }
}
