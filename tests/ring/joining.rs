//! Readers that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fanfeed::{RingFeed, TryRecvError, ring};

use crate::common::{Random, eventually, join, watchdog};
use crate::{Copies, OVERFLOWS, blocked};

#[test]
fn a_reader_begins_with_the_next_value_unless_it_asks_for_more() {
    for overflow in OVERFLOWS {
        with_each_sender!(8, |ring| {
            ring.send_batch(0..5);
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
            ring.send(5);
            assert_eq!(reader.try_iter().collect::<Vec<_>>(), [5]);
            assert_eq!(reader.missed(), 0);
        });
    }
}

#[test]
fn history_is_the_end_of_what_was_sent_and_at_least_seven_eighths_of_the_ring() {
    for capacity in [1, 2, 4, 8, 16, 64] {
        let safe = capacity - (capacity / 8).max(1);
        for sent in 0..3 * capacity {
            for asked in [0, 1, capacity / 2, safe, capacity, u64::MAX] {
                with_each_sender!(capacity as usize, |ring| {
                    ring.send_batch(0..sent);
                    for overflow in OVERFLOWS {
                        let builder = ring.subscriber().overflow(overflow);
                        let mut reader = builder.history(asked).subscribe();
                        let values: Vec<_> = reader.try_iter().collect();
                        let count = values.len() as u64;
                        assert!(values.into_iter().eq(sent - count..sent));
                        assert!(
                            count <= asked && count >= asked.min(sent).min(safe),
                            "capacity {capacity}: {count} of {sent}, where {asked} were asked for"
                        );
                        assert_eq!((reader.missed(), reader.stats().delivered), (0, count));
                    }
                });
            }
        }
    }
}

#[test]
fn a_reader_with_a_history_holds_the_ring_from_there_on() {
    with_each_sender!(8, |ring| {
        ring.send_batch(0..20);
        let mut reader = ring.subscriber().history(5).subscribe();
        assert_eq!(reader.lag(), 5);
        for value in 20..23 {
            assert_eq!(ring.try_send(value), Ok(value));
        }
        assert!(ring.try_send(0).is_err_and(|error| error.is_full()));
        assert!(reader.try_iter().eq(15..23));
    });
}

#[test]
fn a_reader_that_leaves_lets_the_blocked_sender_go_on() {
    let _watchdog = watchdog();
    with_each_sender!(4, |ring| {
        let handle = ring.handle();
        let reader = ring.subscribe();
        let mut other = ring.subscribe();
        ring.send_batch(0..4);
        assert_eq!(other.drain(|_| {}), Ok(4));
        let sender = blocked(reader.subscription(), move || {
            let position = ring.send(4);
            (ring, position)
        });
        drop(reader);
        let (_ring, position) = join(sender);
        assert_eq!(position, 4);
        assert_eq!(other.try_recv(), Ok(4));
        assert_eq!(handle.subscriber_count(), 1);
    });
}

#[test]
fn a_thread_that_panics_while_it_reads_lets_the_blocked_sender_go_on() {
    let _watchdog = watchdog();
    with_each_sender!(4, |ring| {
        let handle = ring.handle();
        let (mut reader, subscription) = ring.subscribe().split();
        ring.send_batch(0..4);
        let begun = Arc::new(AtomicBool::new(false));
        let go_on = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
            move || {
                let _ = reader.drain(|_| {
                    begun.store(true, Ordering::Release);
                    eventually(|| go_on.load(Ordering::Acquire));
                    panic!("in the midst of it");
                });
            }
        });
        eventually(|| begun.load(Ordering::Acquire));
        let sender = blocked(&subscription, move || ring.send(4));
        assert_eq!(handle.subscriber_count(), 1);
        go_on.store(true, Ordering::Release);
        assert!(thread.join().is_err());
        assert_eq!(join(sender), 4);
        assert!(subscription.is_closed());
        // It has not failed: its reader is gone.
        assert!(subscription.err().recv().is_err());
        assert_eq!(handle.subscriber_count(), 0);
    });
}

#[test]
fn a_thousand_readers_come_and_go_in_any_order() {
    with_each_sender!(64, |ring| {
        let mut random = Random::new(3);
        let mut readers = Vec::new();
        let mut sent = 0;
        for round in 0..3000 {
            if readers.len() < 1000 && (round < 1000 || random.below(2) == 0) {
                let overflow = OVERFLOWS[random.below(3) as usize];
                let reader = ring.subscriber().overflow(overflow).subscribe();
                readers.push((reader, sent));
            } else {
                let index = random.below(readers.len() as u64) as usize;
                drop(readers.swap_remove(index));
            }
            assert_eq!(ring.subscriber_count(), readers.len());
            if round % 16 == 0 {
                assert_eq!(ring.try_send(sent), Ok(sent));
                sent += 1;
                if round % 512 == 0 {
                    for (reader, next) in &mut readers {
                        assert!(reader.try_iter().eq(*next..sent));
                        *next = sent;
                    }
                }
            }
        }
        for (mut reader, next) in readers {
            assert!(reader.try_iter().eq(next..sent));
        }
        assert_eq!(ring.subscriber_count(), 0);
    });
}

/// Subscribes, reads a while and leaves, again and again until the ring ends. Each value is to
/// follow the one before.
fn come_and_go(handle: &ring::Handle<Copies>, capacity: u64, seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut rounds = 0;
    while !handle.is_closed() {
        let overflow = OVERFLOWS[random.below(3) as usize];
        let waiting =
            [ring::WaitStrategy::Batch, ring::WaitStrategy::Park][random.below(2) as usize];
        let builder = handle
            .subscriber()
            .overflow(overflow)
            .wait_strategy(waiting);
        let mut reader = builder.history(random.below(2 * capacity)).subscribe();
        let mut next: Option<u64> = None;
        for _ in 0..random.below(6) {
            if reader.wait().is_err() {
                break;
            }
            let drained = reader.drain_up_to(1 + random.below(capacity) as usize, |value| {
                let number = value.number();
                assert!(next.is_none_or(|next| next == number), "{overflow:?}");
                next = Some(number + 1);
            });
            match drained {
                Err(TryRecvError::Lagged(missed)) => {
                    assert_eq!(overflow, ring::Overflow::DropOldest);
                    next = next.map(|next| next + missed);
                }
                Err(TryRecvError::Overflowed) => assert_eq!(overflow, ring::Overflow::Disconnect),
                _ => {}
            }
        }
        rounds += 1;
    }
    rounds
}

#[test]
fn readers_come_and_go_while_a_sender_runs() {
    let _watchdog = watchdog();
    // In a small ring each value takes a switch between threads, which a busy machine makes slow.
    for (capacity, count) in [(1, 500), (4, 1_000), (8, 2_000), (64, 4_000)] {
        with_each_sender!(capacity, |ring| {
            let readers: Vec<_> = (0..3)
                .map(|seed| {
                    let handle = ring.handle();
                    thread::spawn(move || come_and_go(&handle, capacity as u64, seed + 1))
                })
                .collect();
            let mut steady = ring.subscribe();
            let steady = thread::spawn(move || {
                let mut next = 0;
                while steady.wait().is_ok() {
                    let _ = steady.drain(|value| {
                        assert_eq!(value.number(), next);
                        next += 1;
                    });
                }
                next
            });
            for number in 0..count {
                ring.send(Copies::of(number));
            }
            drop(ring);
            assert_eq!(join(steady), count);
            for reader in readers {
                join(reader);
            }
        });
    }
}

#[test]
fn readers_come_and_go_while_several_senders_run() {
    let _watchdog = watchdog();
    for capacity in [2, 16] {
        let ring = RingFeed::new(capacity).unwrap();
        let readers: Vec<_> = (0..3)
            .map(|seed| {
                let handle = ring.handle();
                thread::spawn(move || {
                    let mut random = Random::new(seed + 1);
                    while !handle.is_closed() {
                        let overflow = OVERFLOWS[random.below(3) as usize];
                        let builder = handle.subscriber().overflow(overflow);
                        let mut reader = builder.history(random.below(16)).subscribe();
                        let mut last = [None; 3];
                        for _ in 0..random.below(6) {
                            let _ = reader.wait();
                            let _ = reader.drain(|value: &Copies| {
                                let (sender, number) = (value.number() % 3, value.number() / 3);
                                let before = last[sender as usize].replace(number);
                                assert!(before.is_none_or(|before| before < number));
                            });
                        }
                    }
                })
            })
            .collect();
        let senders: Vec<_> = (0..3)
            .map(|sender| {
                let ring = ring.clone();
                thread::spawn(move || {
                    for number in 0..2_000 {
                        ring.send(Copies::of(3 * number + sender));
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(join);
        assert_eq!(ring.position(), 6_000);
        drop(ring);
        readers.into_iter().for_each(join);
    }
}
