//! Batches that are written in place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use fanfeed::{ExclusiveRingFeed, RingFeed, TryRecvError, ring};

use crate::batches::full;
use crate::common::{eventually, join, message, watchdog};
use crate::{OVERFLOWS, blocked, lossy_reader};

#[test]
fn a_batch_is_written_in_place_at_any_offset_and_of_any_length() {
    for capacity in [1, 2, 8, 64] {
        let mut ring = ExclusiveRingFeed::new(capacity).unwrap();
        let mut reader = ring.subscribe();
        let mut next = 0;
        let most = ring.max_claim();
        for count in (0..=most).chain((0..=most).rev()) {
            // The offset of the first slot.
            ring.send(next);
            assert_eq!(reader.try_recv(), Ok(next));
            next += 1;
            let end = ring.send_batch_with(count, |index, slot| *slot = next + index as u64);
            let expected = next..next + count as u64;
            next = expected.end;
            assert_eq!((end, ring.position()), (next, next));
            assert_eq!(reader.lag(), count as u64);
            assert!(reader.try_iter().eq(expected));
        }
    }
}

#[test]
fn no_value_is_seen_before_the_last_was_written() {
    let mut ring = ExclusiveRingFeed::new(64).unwrap();
    let mut reader = ring.subscribe();
    ring.send_batch(0..5);
    assert!(reader.try_iter().eq(0..5));
    ring.send_batch_with(56, |index, slot| {
        assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(reader.lag(), 0);
        *slot = index as u64;
    });
    assert!(reader.try_iter().eq(0..56));
}

#[test]
fn a_batch_in_place_takes_what_was_there_a_lap_before() {
    let mut ring = ExclusiveRingFeed::<Vec<u8>>::new(8).unwrap();
    let mut reader = ring.subscribe();
    for round in 0..10 {
        ring.send_batch_with(5, |index, bytes| {
            assert_eq!(bytes.capacity() >= 100, round * 5 + index >= 8);
            bytes.clear();
            bytes.resize(100, round as u8);
        });
        assert_eq!(
            reader.drain(|bytes| assert_eq!(*bytes, [round as u8; 100])),
            Ok(5)
        );
    }
}

#[test]
fn a_batch_in_place_finds_room_for_all_or_takes_none() {
    let mut ring = ExclusiveRingFeed::<u64>::new(8).unwrap();
    let mut reader = ring.subscribe();
    ring.send_batch(0..3);
    let write = |index: usize, slot: &mut u64| *slot = 3 + index as u64;
    let write = full(ring.try_send_batch_with(6, write));
    assert_eq!(ring.position(), 3);
    assert_eq!(ring.try_send_batch_with(5, write).ok(), Some(8));
    assert!(ring.try_send_batch_with(1, |_, _| unreachable!()).is_err());
    assert_eq!(
        ring.try_send_batch_with(0, |_, _| unreachable!()).ok(),
        Some(8)
    );
    assert!(reader.try_iter().eq(0..8));
    // Single values find the room that a claim did not take.
    assert_eq!(ring.send(8), 8);
    let _ = full(ring.try_send_batch_with(8, |_, _| unreachable!()));
    for value in 9..16 {
        assert_eq!(ring.try_send(value), Ok(value));
    }
    assert!(ring.try_send(16).is_err());
    assert!(reader.try_iter().eq(8..16));
}

#[test]
fn a_claim_that_fails_overtakes_no_lossy_reader() {
    let mut ring = ExclusiveRingFeed::<u64>::new(64).unwrap();
    let mut strict = ring.subscribe();
    let mut lossy = lossy_reader(&ring.handle());
    ring.send_batch(0..64);
    assert!(strict.try_iter().take(40).eq(0..40));
    let _ = full(ring.try_send_batch_with(41, |_, _| unreachable!()));
    assert!(lossy.try_iter().eq(0..64));
    assert_eq!(lossy.missed(), 0);
    let end = ring.try_send_batch_with(40, |index, slot| *slot = 64 + index as u64);
    assert_eq!(end.ok(), Some(104));
    assert!(strict.try_iter().eq(40..104));
    assert!(lossy.try_iter().eq(64..104));
}

#[test]
fn lossy_readers_are_overtaken_by_a_claim_and_told() {
    for overflow in [ring::Overflow::DropOldest, ring::Overflow::Disconnect] {
        for first in [0, 3, 8, 13] {
            let mut ring = ExclusiveRingFeed::<u64>::new(64).unwrap();
            let mut lossy = ring.subscriber().overflow(overflow).subscribe();
            ring.send_batch(0..first);
            for round in 0..3 {
                let begin = first + round * 56;
                ring.send_batch_with(56, |index, slot| *slot = begin + index as u64);
            }
            if overflow == ring::Overflow::Disconnect {
                assert_eq!(lossy.try_recv(), Err(TryRecvError::Overflowed));
                continue;
            }
            let Err(TryRecvError::Lagged(missed)) = lossy.try_recv() else {
                panic!("it has missed something");
            };
            let end = first + 168;
            assert!(lossy.try_iter().eq(missed..end));
            assert_eq!(missed, end.next_multiple_of(8) - 64);
        }
    }
}

#[test]
fn a_lossy_reader_that_reads_meanwhile_sees_its_values_unchanged() {
    let mut ring = ExclusiveRingFeed::<u64>::new(64).unwrap();
    let mut lossy = lossy_reader(&ring.handle());
    ring.send_batch(0..13);
    let mut seen = Vec::new();
    let read = lossy.drain_up_to(6, |value| {
        if seen.is_empty() {
            ring.send_batch_with(56, |index, slot| *slot = 1000 + index as u64);
        }
        seen.push(*value);
    });
    assert_eq!(read, Ok(6));
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    let Err(TryRecvError::Lagged(missed)) = lossy.try_recv() else {
        panic!("it was overtaken");
    };
    let expected = (0..13).chain(1000..1056).skip(6 + missed as usize);
    assert!(lossy.try_iter().eq(expected));
}

#[test]
fn a_claim_waits_until_there_is_room_for_all() {
    let _watchdog = watchdog();
    let mut ring = ExclusiveRingFeed::<u64>::new(8).unwrap();
    let mut reader = ring.subscribe();
    ring.send_batch(0..8);
    let sender = blocked(reader.subscription(), move || {
        ring.send_batch_with(8, |index, slot| *slot = 8 + index as u64);
        ring
    });
    for value in 0..8 {
        assert!(!sender.is_finished());
        assert_eq!(reader.recv(), Ok(value));
    }
    assert!(reader.iter().take(8).eq(8..16));
    drop(join(sender));
}

#[test]
fn claims_of_all_lengths_are_woken_for() {
    let _watchdog = watchdog();
    let mut ring = ExclusiveRingFeed::<u64>::new(8).unwrap();
    let mut readers = [(); 2].map(|()| ring.subscribe());
    let sender = thread::spawn(move || {
        let mut next = 0;
        for round in 0..3000 {
            let count = round % 9;
            next = ring.send_batch_with(count, |index, slot| *slot = next + index as u64);
        }
        next
    });
    let readers = readers.each_mut().map(|reader| {
        let mut reader = std::mem::replace(reader, closed());
        thread::spawn(move || {
            let mut next = 0;
            while let Ok(value) = reader.recv() {
                assert_eq!(value, next);
                next += 1;
            }
            next
        })
    });
    let sent = join(sender);
    assert_eq!(readers.map(join), [sent; 2]);
}

fn closed() -> fanfeed::ring::Receiver<u64> {
    RingFeed::new(1).unwrap().subscribe()
}

#[test]
fn a_panic_sends_nothing_and_what_was_written_is_found_again() {
    let mut ring = ExclusiveRingFeed::<u64>::new(64).unwrap();
    let mut reader = ring.subscribe();
    ring.send_batch(0..13);
    assert!(reader.try_iter().eq(0..13));
    for count in [1, 20, 56] {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            ring.send_batch_with(count, |index, slot| {
                *slot = 1000 + index as u64;
                assert!(index + 1 < count, "as planned");
            })
        }));
        assert!(message(&*panicked.unwrap_err()).contains("as planned"));
        assert_eq!(ring.position(), 13);
        assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
    }
    ring.send_with(|slot| assert_eq!(*slot, 1000));
    assert_eq!(reader.try_recv(), Ok(1000));
    // The gate has let the writer far ahead, and every verb finds its slots.
    ring.send_batch(0..30);
    for value in 30..40 {
        assert_eq!(ring.try_send(value), Ok(14 + value));
    }
    ring.send_batch_with(24, |index, slot| *slot = 40 + index as u64);
    assert!(ring.try_send(64).is_err());
    assert!(reader.try_iter().eq(0..64));
    ring.send(64);
    assert_eq!(reader.recv(), Ok(64));
}

#[test]
fn values_of_a_claim_that_panicked_are_dropped_once() {
    use std::sync::atomic::{AtomicIsize, Ordering};
    static LIVE: AtomicIsize = AtomicIsize::new(0);
    struct Counted(());
    impl Default for Counted {
        fn default() -> Self {
            LIVE.fetch_add(1, Ordering::SeqCst);
            Self(())
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            LIVE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    for drop_when_read in [false, true] {
        let builder = RingFeed::<Counted>::builder(8).drop_when_read(drop_when_read);
        let mut ring = builder.build_exclusive().unwrap();
        let mut reader = ring.subscribe();
        for round in 0..20 {
            let count = round % 9;
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                ring.send_batch_with(count, |index, slot| {
                    *slot = Counted::default();
                    assert!(round % 3 != 0 || index < 2, "as planned");
                })
            }));
            let sent = panicked.map_or(0, |_| count);
            assert_eq!(reader.drain(|_| {}).unwrap_or(0), sent);
            assert!(LIVE.load(Ordering::SeqCst) <= 8);
        }
        drop(ring);
        drop(reader);
        assert_eq!(LIVE.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn values_of_a_claim_are_dropped_when_they_were_read() {
    use std::sync::Arc;
    let ring = RingFeed::<Option<Arc<()>>>::builder(64).drop_when_read(true);
    let mut ring = ring.build_exclusive().unwrap();
    let probe = Arc::new(());
    let mut reader = ring.subscribe();
    ring.send_batch((0..13).map(|_| None));
    assert_eq!(reader.drain(|_| {}), Ok(13));
    for count in [1, 40, 56, 56, 7] {
        ring.send_batch_with(count, |_, slot| *slot = Some(Arc::clone(&probe)));
        assert_eq!(Arc::strong_count(&probe), 1 + count);
        assert_eq!(reader.drain(|_| {}), Ok(count));
        assert_eq!(Arc::strong_count(&probe), 1);
    }
}

#[test]
fn more_than_seven_eighths_of_the_capacity_cannot_be_claimed() {
    for (capacity, most) in [
        (1, 1),
        (2, 2),
        (5, 8),
        (8, 8),
        (9, 14),
        (64, 56),
        (1024, 896),
    ] {
        let mut ring = ExclusiveRingFeed::<u64>::new(capacity).unwrap();
        assert_eq!(ring.max_claim(), most);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            ring.send_batch_with(most + 1, |_, _| unreachable!())
        }));
        let payload = outcome.unwrap_err();
        let text = message(&*payload);
        let tells = |count: usize| text.contains(&count.to_string());
        assert!(tells(most) && tells(most + 1), "{text}");
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            ring.try_send_batch_with(most + 1, |_, _| {}).is_ok()
        }));
        assert!(outcome.is_err());
        assert_eq!(ring.send_batch_with(most, |_, _| {}), most as u64);
    }
}

#[test]
fn readers_that_join_after_a_claim_that_panicked_begin_at_the_next_value() {
    for capacity in [1, 2, 8, 16, 64] {
        for before in 0..2 * capacity as u64 {
            for overflow in OVERFLOWS {
                let mut ring = ExclusiveRingFeed::<u64>::new(capacity).unwrap();
                let subscribe = |ring: &ExclusiveRingFeed<u64>| {
                    ring.subscriber().overflow(overflow).subscribe()
                };
                ring.send_batch(0..before);
                let mut earlier = subscribe(&ring);
                let count = ring.max_claim();
                let panicked = catch_unwind(AssertUnwindSafe(|| {
                    ring.send_batch_with(count, |index, _| assert!(index + 1 < count, "as planned"))
                }));
                assert!(message(&*panicked.unwrap_err()).contains("as planned"));
                let mut later = subscribe(&ring);
                for reader in [&mut earlier, &mut later] {
                    assert_eq!(reader.position(), before);
                    assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
                }
                let end = before + capacity as u64;
                for value in before..end {
                    assert_eq!(ring.send(value), value);
                    for reader in [&mut earlier, &mut later] {
                        assert_eq!(reader.try_recv(), Ok(value));
                    }
                }
                for reader in [&earlier, &later] {
                    assert_eq!((reader.missed(), reader.position()), (0, end));
                }
            }
        }
    }
}

#[test]
fn nothing_is_written_on_a_closed_ring() {
    let mut ring = ExclusiveRingFeed::<u64>::new(8).unwrap();
    ring.send(1);
    ring.close();
    assert_eq!(ring.send_batch_with(3, |_, _| unreachable!()), 1);
    let outcome = ring.try_send_batch_with(3, |_, _| unreachable!());
    assert!(outcome.is_err_and(|error| error.is_closed()));
}

#[test]
fn readers_join_while_a_batch_is_written() {
    let mut ring = ExclusiveRingFeed::<u64>::new(64).unwrap();
    let handle = ring.handle();
    ring.send_batch(0..13);
    let mut readers = Vec::new();
    ring.send_batch_with(56, |index, slot| {
        *slot = 13 + index as u64;
        if index % 9 == 0 {
            for overflow in [ring::Overflow::Block, ring::Overflow::DropOldest] {
                let options = handle.subscriber().overflow(overflow).history(20);
                readers.push(options.subscribe());
            }
        }
    });
    for mut reader in readers {
        // The slots of older values were claimed, a whole eighth at a time.
        assert_eq!(reader.position(), 8);
        assert!(reader.try_iter().eq(8..69));
        assert_eq!(reader.missed(), 0);
    }
}

#[test]
fn claims_are_accounted_for_beside_readers_that_join_and_leave() {
    let _watchdog = watchdog();
    let mut ring = ExclusiveRingFeed::<u64>::new(32).unwrap();
    let handle = ring.handle();
    let sender = thread::spawn(move || {
        let mut next = 0;
        for round in 0..4000 {
            let count = (round * 7) % 29;
            next = ring.send_batch_with(count, |index, slot| *slot = next + index as u64);
            if round % 5 == 0 {
                next = ring.send(next) + 1;
            }
        }
    });
    let overflows = [ring::Overflow::Block, ring::Overflow::DropOldest];
    let readers = overflows.map(|overflow| {
        let handle = handle.clone();
        thread::spawn(move || {
            let mut turn = 0;
            while !handle.is_closed() {
                turn += 1;
                let options = handle.subscriber().overflow(overflow).history(turn % 40);
                let mut reader = options.subscribe();
                let mut next = reader.position();
                for _ in 0..20 {
                    let _ = reader.wait();
                    match reader.drain(|value| {
                        assert_eq!(*value, next);
                        next += 1;
                    }) {
                        Err(TryRecvError::Lagged(missed)) => next += missed,
                        Err(TryRecvError::Closed) => break,
                        _ => {}
                    }
                }
            }
        })
    });
    eventually(|| handle.is_closed());
    join(sender);
    readers.into_iter().for_each(join);
}
