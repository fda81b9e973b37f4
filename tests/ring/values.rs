//! When values are dropped: each once, whatever its type.

use std::mem::{align_of_val, size_of};
use std::sync::Arc;
use std::thread;

use fanfeed::{ExclusiveRingFeed, RingFeed, TryRecvError, ring};

use crate::common::{Counted, Random, Tally, join, watchdog};
use crate::lossy_reader;

#[test]
fn a_value_is_dropped_when_another_takes_its_place_a_lap_later() {
    let tally = Tally::new();
    with_each_sender!(4, |ring| {
        let mut reader = ring.subscribe();
        for number in 0..20 {
            assert_eq!(tally.live(), number.min(4));
            ring.send(tally.value(number as u64));
            let read = reader.drain(|value| assert_eq!(value.number, number as u64));
            assert_eq!(read, Ok(1));
        }
        ring.send_batch((20..30).map(|number| tally.value(number)).take(4));
        assert_eq!(tally.live(), 4);
        drop(ring);
        // The reader keeps what it may still read.
        assert_eq!(tally.live(), 4);
        assert_eq!(reader.drain(|_| {}), Ok(4));
        drop(reader);
        assert_eq!(tally.live(), 0);
    });
}

#[test]
fn values_live_while_a_reader_may_read_them() {
    let tally = Tally::new();
    for sent in [0, 1, 7, 8, 9, 30] {
        with_each_sender!(8, |ring| {
            let handle = ring.handle();
            for number in 0..sent {
                ring.send(tally.value(number));
            }
            let first = ring.subscriber().history(8).subscribe();
            let second = ring.subscribe();
            drop(ring);
            drop(first);
            assert_eq!(tally.live(), sent.min(8) as i64);
            drop(second);
            drop(handle);
            assert_eq!(tally.live(), 0);
        });
    }
}

#[test]
fn values_go_with_the_last_sender_and_reader_whatever_other_handles_are_left() {
    let tally = Tally::new();
    for sender_goes_first in [false, true] {
        with_each_sender!(8, |ring| {
            let mut strict = ring.subscribe();
            let lossy = ring.subscriber().overflow(ring::Overflow::DropOldest);
            let (reader, subscription) = lossy.subscribe().split();
            let (handle, closed) = (ring.handle(), subscription.closed());
            for number in 0..8 {
                ring.send(tally.value(number));
            }
            assert_eq!(strict.drain_up_to(3, |_| {}), Ok(3));
            if sender_goes_first {
                drop(ring);
                drop(strict);
                assert_eq!(tally.live(), 8);
                drop(reader);
            } else {
                drop((strict, reader));
                assert_eq!(tally.live(), 8);
                drop(ring);
            }
            assert_eq!(tally.live(), 0);
            assert!(handle.is_closed() && subscription.is_closed());
            assert_eq!(
                handle
                    .subscriber()
                    .history(8)
                    .subscribe()
                    .try_recv()
                    .map(drop),
                Err(TryRecvError::Closed)
            );
            drop((handle, subscription, closed));
        });
    }
}

#[test]
fn a_closed_ring_keeps_no_values_that_no_reader_will_read() {
    let tally = Tally::new();
    for reader_goes_first in [false, true] {
        with_each_sender!(8, |ring| {
            let mut readers = [(); 2].map(|()| ring.subscribe());
            let lossy = ring.subscriber().overflow(ring::Overflow::DropOldest);
            let lossy = lossy.subscribe();
            for number in 0..8 {
                ring.send(tally.value(number));
            }
            assert_eq!(readers[0].drain_up_to(3, |_| {}), Ok(3));
            if reader_goes_first {
                drop((readers, lossy));
                assert_eq!(tally.live(), 8);
                ring.close();
            } else {
                ring.close();
                drop(lossy);
                let [mut one, other] = readers;
                drop(other);
                assert_eq!((tally.live(), one.drain(|_| {})), (8, Ok(5)));
                drop(one);
            }
            // The handle that sends is left, and sends nothing.
            assert_eq!(tally.live(), 0);
            ring.send(tally.value(8));
            ring.send_batch([tally.value(9)]);
            assert!(ring.try_send(tally.value(10)).is_err());
            assert_eq!(tally.live(), 0);
            let mut late = ring.subscriber().history(8).subscribe();
            assert_eq!(late.try_recv().map(drop), Err(TryRecvError::Closed));
            ring.close();
        });
    }
}

#[test]
fn rings_that_are_closed_beside_senders_and_readers_keep_no_value() {
    let _watchdog = watchdog();
    for round in 0..200 {
        let tally = Tally::new();
        let options = RingFeed::builder(1 << (round % 4)).drop_when_read(round % 3 == 0);
        let ring = options.build().unwrap();
        let readers: Vec<_> = (0..round % 3)
            .map(|_| {
                let mut reader = ring.subscribe();
                thread::spawn(move || {
                    for _ in 0..50 {
                        if reader.wait().is_err() {
                            break;
                        }
                        let _ = reader.drain(|_: &Counted| {});
                    }
                })
            })
            .collect();
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let (ring, tally) = (ring.clone(), tally.clone());
                thread::spawn(move || {
                    for number in 0..200 {
                        ring.send(tally.value(number));
                    }
                    ring
                })
            })
            .collect();
        while ring.position() < round {
            thread::yield_now();
        }
        ring.close();
        readers.into_iter().for_each(join);
        let rings: Vec<_> = senders.into_iter().map(join).collect();
        assert_eq!(tally.live(), 0);
        drop((ring, rings));
    }
}

#[test]
fn what_a_ring_went_on_without_is_dropped_as_soon_as_its_reader_stops() {
    let tally = Tally::new();
    with_each_sender!(16, |ring| {
        let mut lossy = lossy_reader(&ring.handle());
        let mut number = 0;
        let mut send = |count: u64| {
            for _ in 0..count {
                ring.send(tally.value(number));
                number += 1;
            }
        };
        send(16);
        let read = lossy.drain_up_to(1, |_| {
            send(32);
            // The reader has kept its eighth.
            assert_eq!(tally.live(), 18);
        });
        assert_eq!(read, Ok(1));
        assert_eq!(tally.live(), 16);
    });
}

#[test]
fn what_a_ring_went_on_without_in_part_is_dropped_once_strict_readers_have_passed_it() {
    let tally = Tally::new();
    with_each_sender!(16, |ring| {
        let mut strict = ring.subscribe();
        let lossy = ring.subscriber().overflow(ring::Overflow::DropOldest);
        let mut lossy = lossy.subscribe();
        for number in 0..16 {
            ring.send(tally.value(number));
        }
        assert_eq!(strict.drain_up_to(1, |_| {}), Ok(1));
        let read = lossy.drain_up_to(1, |_| assert_eq!(ring.send(tally.value(16)), 16));
        assert_eq!((read, tally.live()), (Ok(1), 17));
        // The other value of this eighth is still for both.
        assert_eq!(
            lossy.drain_up_to(1, |value| assert_eq!(value.number, 1)),
            Ok(1)
        );
        assert_eq!(
            strict.drain_up_to(1, |value| assert_eq!(value.number, 1)),
            Ok(1)
        );
        ring.send(tally.value(17));
        assert_eq!(tally.live(), 16);
    });
}

#[test]
fn values_that_are_not_sent_come_back_or_are_dropped() {
    let tally = Tally::new();
    with_each_sender!(2, |ring| {
        let _reader = ring.subscribe();
        ring.send_batch([tally.value(0), tally.value(1)]);
        let back = ring.try_send(tally.value(2)).unwrap_err();
        assert_eq!((tally.live(), back.into_inner().number), (3, 2));
        ring.close();
        ring.send(tally.value(3));
        ring.send_batch((4..50).map(|number| tally.value(number)));
        drop(ring.try_send(tally.value(50)));
        assert_eq!(tally.live(), 2);
    });
    assert_eq!(tally.live(), 0);
}

#[test]
fn what_readers_were_left_with_is_dropped_too() {
    let tally = Tally::new();
    for count in 1..5 {
        let mut ring = ExclusiveRingFeed::new(16).unwrap();
        let mut readers: Vec<_> = (0..count)
            .map(|_| {
                let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
                builder.subscribe()
            })
            .collect();
        let mut number = 0;
        for _ in 0..10 {
            // Each is lapped while it reads, by a callback within the callbacks of those before it.
            fn nest(readers: &mut [fanfeed::ring::Receiver<Counted>], send: &mut dyn FnMut()) {
                send();
                if let Some((first, rest)) = readers.split_first_mut() {
                    let _ = first.try_recv();
                    let _ = first.drain_up_to(1, |value| {
                        let before = value.number;
                        nest(rest, send);
                        assert_eq!(value.number, before);
                    });
                }
            }
            nest(&mut readers, &mut || {
                for _ in 0..20 {
                    ring.try_send(tally.value(number)).unwrap();
                    number += 1;
                }
            });
        }
        // The ring's own, and no more than a segment for each lossy reader.
        assert!(
            (16..=16 + 2 * count).contains(&tally.live()),
            "{}",
            tally.live()
        );
        drop(ring);
        drop(readers);
        assert_eq!(tally.live(), 0);
    }
}

#[test]
fn every_value_is_dropped_once_whatever_readers_and_senders_do() {
    let _watchdog = watchdog();
    for seed in 0..10 {
        let tally = Tally::new();
        let mut random = Random::new(seed + 1);
        let ring = RingFeed::new(1 << random.below(7)).unwrap();
        let senders = [0, 1].map(|sender| {
            let (ring, tally) = (ring.clone(), Arc::clone(&tally));
            thread::spawn(move || {
                for number in 0..150 {
                    match number % 4 {
                        0 => drop(ring.try_send(tally.value(number))),
                        1 => {
                            ring.send(tally.value(number));
                        }
                        2 => {
                            drop(ring.send_timeout(tally.value(number), std::time::Duration::ZERO))
                        }
                        _ => {
                            let count = sender + number % 7;
                            ring.send_batch((0..count).map(|number| tally.value(number)));
                        }
                    }
                }
            })
        });
        let readers: Vec<_> = (0..4)
            .map(|index| {
                let handle = ring.handle();
                let mut random = Random::new(100 * seed + index + 1);
                thread::spawn(move || {
                    while !handle.is_closed() {
                        let overflow = match random.below(3) {
                            0 => ring::Overflow::Block,
                            1 => ring::Overflow::DropOldest,
                            _ => ring::Overflow::Disconnect,
                        };
                        let builder = handle.subscriber().overflow(overflow);
                        let mut reader = builder.history(random.below(64)).subscribe();
                        for _ in 0..random.below(20) {
                            let limit = random.below(9) as usize;
                            let mut clones = Vec::new();
                            if reader
                                .drain_up_to(limit, |value: &Counted| clones.push(value.clone()))
                                == Err(TryRecvError::Empty)
                            {
                                thread::yield_now();
                            }
                        }
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(join);
        drop(ring);
        readers.into_iter().for_each(join);
        assert_eq!(tally.live(), 0, "seed {seed}");
    }
}

// ---- What values may be ----

#[test]
fn values_may_be_of_no_size() {
    for capacity in [1, 8, 64] {
        with_each_sender!(capacity, |ring| {
            let mut strict = ring.subscribe();
            let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
            let mut lossy = builder.subscribe();
            for round in 0..10 {
                assert_eq!(
                    ring.send_batch(vec![(); capacity]),
                    (round + 1) * capacity as u64
                );
                assert!(ring.try_send(()).is_err_and(|error| error.is_full()));
                assert_eq!(strict.drain(|()| {}), Ok(capacity));
            }
            assert_eq!(ring.send_with(|()| {}), 10 * capacity as u64);
            let received = lossy.try_iter().count() as u64;
            assert_eq!(received + lossy.missed(), 10 * capacity as u64 + 1);
        });
    }
}

#[test]
fn values_of_no_size_are_dropped_as_often_as_they_were_sent() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    struct Nothing;
    impl Drop for Nothing {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Ordering::Relaxed);
        }
    }
    with_each_sender!(4, |ring| {
        DROPS.store(0, Ordering::Relaxed);
        for _ in 0..11 {
            ring.send(Nothing);
        }
        assert_eq!(DROPS.load(Ordering::Relaxed), 7);
        drop(ring);
        assert_eq!(DROPS.load(Ordering::Relaxed), 11);
    });
}

#[test]
fn values_lie_where_their_alignment_wants_them() {
    #[repr(align(256))]
    #[derive(Clone, Default)]
    struct Wide(u8);
    with_each_sender!(16, |ring| {
        let mut reader = ring.subscribe();
        for round in 0..5 {
            ring.send_batch((0..8).map(Wide));
            ring.send_with(|wide| wide.0 = 8);
            let mut next = 0;
            let drained = reader.drain(|wide| {
                let address = std::ptr::from_ref(wide).addr();
                assert_eq!(address % align_of_val(wide), 0);
                assert_eq!(wide.0, next, "round {round}");
                next += 1;
            });
            assert_eq!(drained, Ok(9));
        }
        ring.send(Wide(7));
        assert_eq!(reader.try_recv().unwrap().0, 7);
    });
}

#[test]
fn values_may_be_large() {
    #[derive(Clone)]
    struct Page([u64; 1 << 10]);
    assert_eq!(size_of::<Page>(), 1 << 13);
    with_each_sender!(4, |ring| {
        let mut reader = ring.subscribe();
        for round in 0..10 {
            ring.send(Page([round; 1 << 10]));
            ring.send_batch([Page([round + 100; 1 << 10])]);
            assert!(
                reader
                    .try_recv()
                    .unwrap()
                    .0
                    .iter()
                    .all(|word| *word == round)
            );
            let read = reader.drain(|page| assert!(page.0.iter().all(|word| *word == round + 100)));
            assert_eq!(read, Ok(1));
        }
    });
}

#[test]
fn values_may_be_shared_with_others() {
    let _watchdog = watchdog();
    let shared: Arc<str> = Arc::from("shared");
    with_each_sender!(8, |ring| {
        let readers = [0, 1].map(|_| {
            let mut reader = ring.subscribe();
            thread::spawn(move || reader.iter().collect::<Vec<Arc<str>>>())
        });
        for _ in 0..50 {
            ring.send(Arc::clone(&shared));
        }
        drop(ring);
        for reader in readers {
            let received = join(reader);
            assert_eq!(received.len(), 50);
            assert!(received.iter().all(|value| Arc::ptr_eq(value, &shared)));
        }
    });
    assert_eq!(Arc::strong_count(&shared), 1);
}
