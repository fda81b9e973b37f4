//! How readers wait for values, and senders for room.

use std::thread;
use std::time::Duration;

use fanfeed::{RecvError, RingFeed, ring};

use crate::common::{PATIENCE, Random, eventually, join, watchdog};
use crate::{Account, Copies, WAITINGS, account_for, blocked, send_numbers};

#[test]
fn a_reader_parks_unless_it_asks_for_something_else() {
    with_each_sender!(4, |ring| {
        ring.send(0);
        assert_eq!(ring.subscribe().wait_strategy(), ring::WaitStrategy::Park);
        for waiting in WAITINGS {
            let reader = ring.subscriber().wait_strategy(waiting).subscribe();
            assert_eq!(reader.wait_strategy(), waiting);
        }
    });
    assert_eq!(ring::WaitStrategy::default(), ring::WaitStrategy::Park);
}

#[test]
fn whichever_way_it_waits_a_reader_gets_everything() {
    let _watchdog = watchdog();
    // Where fewer fit, and everybody waits for everybody, a machine that is busy takes a while for
    // each.
    for (capacity, count) in [(1, 150), (8, 800), (256, 5_000)] {
        with_each_sender!(capacity, |ring| {
            let readers = WAITINGS.map(|waiting| {
                let mut reader = ring.subscriber().wait_strategy(waiting).subscribe();
                thread::spawn(move || account_for(&mut reader, Copies::number))
            });
            for number in 0..count {
                ring.send(Copies::of(number));
            }
            drop(ring);
            for account in readers.map(join) {
                let all = Account {
                    received: count,
                    missed: 0,
                };
                assert_eq!(account, all);
            }
        });
    }
}

#[test]
fn a_reader_that_waits_is_woken_by_a_value() {
    let _watchdog = watchdog();
    for waiting in WAITINGS {
        with_each_sender!(4, |ring| {
            let (told, telling) = std::sync::mpsc::channel();
            let mut reader = ring.subscriber().wait_strategy(waiting).subscribe();
            let thread = thread::spawn(move || {
                while let Ok(value) = reader.recv() {
                    told.send(value).unwrap();
                }
            });
            for value in 0..60_u32 {
                // At different points of its way into its sleep; sometimes it has come to its end.
                for _ in 0..value % 6 {
                    thread::sleep(std::time::Duration::from_micros(u64::from(value) * 10));
                }
                ring.send(value);
                assert_eq!(telling.recv_timeout(PATIENCE), Ok(value));
            }
            drop(ring);
            join(thread);
        });
    }
}

#[test]
fn no_wake_up_is_lost_when_two_threads_answer_each_other() {
    let _watchdog = watchdog();
    for waiting in [ring::WaitStrategy::Batch, ring::WaitStrategy::Park] {
        with_each_sender!(1, |there| {
            let mut ping = there.subscriber().wait_strategy(waiting).subscribe();
            let mut back = fanfeed::ExclusiveRingFeed::new(2).unwrap();
            let mut pong = back.subscriber().wait_strategy(waiting).subscribe();
            let other = thread::spawn(move || {
                while let Ok(value) = ping.recv() {
                    back.send(value);
                }
            });
            let mut random = Random::new(7);
            for value in 0..2_000_u64 {
                there.send(value);
                // At different points of the reader's way into its sleep.
                for _ in 0..random.below(200) {
                    std::hint::spin_loop();
                }
                assert_eq!(pong.recv_timeout(PATIENCE), Ok(value));
            }
            drop(there);
            join(other);
        });
    }
}

#[test]
fn many_readers_that_wait_are_all_woken() {
    let _watchdog = watchdog();
    with_each_sender!(8, |ring| {
        let readers: Vec<_> = (0..30)
            .map(|index| {
                let waiting = [ring::WaitStrategy::Batch, ring::WaitStrategy::Park][index % 2];
                let mut reader = ring.subscriber().wait_strategy(waiting).subscribe();
                thread::spawn(move || reader.iter().sum::<u64>())
            })
            .collect();
        for value in 0..100 {
            ring.send(value);
            if value % 10 == 0 {
                thread::yield_now();
            }
        }
        drop(ring);
        for reader in readers {
            assert_eq!(join(reader), 4950);
        }
    });
}

#[test]
fn no_sender_is_forgotten_when_many_wait_for_one_place() {
    const SENDERS: u64 = 8;
    const EACH: u64 = 200;
    let _watchdog = watchdog();
    for capacity in [1, 2] {
        let ring = RingFeed::new(capacity).unwrap();
        let mut reader = ring.subscribe();
        let mut other = ring.subscribe();
        let other = thread::spawn(move || other.iter().count() as u64);
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let ring = ring.clone();
                thread::spawn(move || {
                    for number in 0..EACH {
                        ring.send((sender, number));
                    }
                })
            })
            .collect();
        let mut next = [0; SENDERS as usize];
        for _ in 0..SENDERS * EACH {
            let (sender, number) = reader.recv_timeout(PATIENCE).expect("a value in time");
            assert_eq!(number, next[sender as usize]);
            next[sender as usize] += 1;
        }
        senders.into_iter().for_each(join);
        drop(ring);
        assert_eq!(join(other), SENDERS * EACH);
    }
}

#[test]
fn a_sender_goes_on_whichever_of_many_readers_it_waited_for() {
    let _watchdog = watchdog();
    with_each_sender!(2, |ring| {
        let mut readers: Vec<_> = (0..20).map(|_| ring.subscribe()).collect();
        let sender = send_numbers(ring, 100);
        // They read in ever other orders, each as far as it can.
        let mut random = Random::new(11);
        let mut next = [0; 20];
        while next.iter().any(|next| *next < 100) {
            let index = random.below(20) as usize;
            for value in readers[index].try_iter() {
                assert_eq!(value, next[index]);
                next[index] += 1;
            }
            // Beside threads that compute, a yield takes a time slice.
            thread::sleep(Duration::from_micros(50));
        }
        join(sender);
    });
}

#[test]
fn a_waiting_reader_learns_of_the_end_whichever_way_it_waits() {
    let _watchdog = watchdog();
    for waiting in WAITINGS {
        for unsubscribes in [false, true] {
            for _ in 0..5 {
                with_each_sender!(4, |ring| {
                    let builder = ring.subscriber().wait_strategy(waiting);
                    let (mut reader, subscription) = builder.subscribe().split();
                    let thread = thread::spawn(move || {
                        let first = reader.recv();
                        (first, reader.wait(), reader.recv())
                    });
                    ring.send(1);
                    eventually(|| subscription.stats().depth == Some(0));
                    if unsubscribes {
                        subscription.unsubscribe();
                    } else {
                        ring.close();
                    }
                    let closed = RecvError::Closed;
                    assert_eq!(join(thread), (Ok(1), Err(closed), Err(closed)));
                });
            }
        }
    }
}

#[test]
fn a_blocked_sender_of_a_batch_goes_on_each_time_there_is_room() {
    let _watchdog = watchdog();
    with_each_sender!(8, |ring| {
        let mut reader = ring.subscribe();
        ring.send_batch(0..8);
        let sender = blocked(reader.subscription(), move || ring.send_batch(8..1000));
        for value in 0..1000 {
            assert_eq!(reader.recv_timeout(PATIENCE), Ok(value));
        }
        assert_eq!(join(sender), 1000);
    });
}

#[cfg(target_os = "linux")]
mod cpu {
    use super::*;
    use crate::common::processor::sleeps;

    #[test]
    fn a_reader_that_waits_sleeps() {
        let _watchdog = watchdog();
        for waiting in [ring::WaitStrategy::Batch, ring::WaitStrategy::Park] {
            with_each_sender!(4, |ring| {
                let mut reader = ring.subscriber().wait_strategy(waiting).subscribe();
                // It has just been running.
                ring.send(0);
                let received = sleeps(
                    move || {
                        assert_eq!(reader.recv(), Ok(0));
                        reader.recv()
                    },
                    || true,
                    || assert_eq!(ring.send(1), 1),
                );
                assert_eq!(received, Ok(1));
            });
        }
    }

    #[test]
    fn a_shared_sender_that_waits_for_room_sleeps() {
        let _watchdog = watchdog();
        let ring = RingFeed::new(4).unwrap();
        let (mut reader, subscription) = ring.subscribe().split();
        ring.send_batch(0..4);
        let position = sleeps(
            move || ring.send(4),
            || subscription.stats().blocked == 1,
            || assert_eq!(reader.try_recv(), Ok(0)),
        );
        assert_eq!(position, 4);
    }

    #[test]
    fn an_exclusive_sender_that_waits_for_room_sleeps() {
        let _watchdog = watchdog();
        let mut ring = fanfeed::ExclusiveRingFeed::new(4).unwrap();
        let (reader, subscription) = ring.subscribe().split();
        ring.send_batch(0..4);
        let position = sleeps(
            move || ring.send(4),
            || subscription.stats().blocked == 1,
            || drop(reader),
        );
        assert_eq!(position, 4);
    }
}

#[test]
fn no_sender_of_a_ring_of_one_gets_ten_times_as_much_as_another() {
    const SENDERS: usize = 8;
    const EACH: u64 = 250;
    let _watchdog = watchdog();
    let ring = RingFeed::new(1).unwrap();
    let mut reader = ring.subscribe();
    let senders = [(); SENDERS].map(|()| ring.clone());
    let mut number = 0..;
    let senders = senders.map(|ring| {
        let number: usize = number.next().unwrap();
        thread::spawn(move || while ring.send_timeout(number, PATIENCE).is_ok() {})
    });
    let mut counts = [0_u64; SENDERS];
    // From when all have begun.
    while counts.contains(&0) {
        counts[reader.recv().unwrap()] += 1;
    }
    counts = [0; SENDERS];
    for _ in 0..SENDERS as u64 * EACH {
        counts[reader.recv().unwrap()] += 1;
    }
    ring.close();
    drop(reader);
    senders.into_iter().for_each(join);
    let (least, most) = (counts.iter().min(), counts.iter().max());
    assert!(most < least.map(|least| 10 * least).as_ref(), "{counts:?}");
}
