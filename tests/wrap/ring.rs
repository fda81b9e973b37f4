//! A ring's counters at the end of a byte, of 32 bits, and of a seat's range: rings that begin
//! there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use super::seat::Progress;
use super::{ExclusiveRingFeed, Overflow, Receiver, RingFeed};
use crate::error::{RecvError, TryRecvError};

/// A little before each power of two.
fn starts() -> impl Iterator<Item = u64> {
    [0, 7, 8, 9, 16, 31, 32, 33, 40, 48, 59]
        .into_iter()
        .flat_map(|bits| [0, 1, 2, 7, 40].map(|before| (1_u64 << bits).saturating_sub(before)))
}

/// Runs with each kind of ring in turn.
macro_rules! with_each_ring {
    ($capacity:expr, $start:expr, |$ring:ident| $body:block) => {{
        {
            #[allow(unused_mut)]
            let mut $ring = ExclusiveRingFeed::starting_at($capacity, $start).unwrap();
            $body
        }
        {
            #[allow(unused_mut)]
            let mut $ring = RingFeed::starting_at($capacity, $start).unwrap();
            $body
        }
    }};
}

fn read(reader: &mut Receiver<u64>, expected: std::ops::Range<u64>) {
    let mut next = expected.start;
    while next < expected.end {
        let read = reader.drain(|value| {
            assert_eq!(*value, next);
            next += 1;
        });
        assert!(read.is_ok(), "{read:?} at {next} of {expected:?}");
    }
    assert_eq!(reader.drain(|_| {}), Err(TryRecvError::Empty));
}

/// Hands out what there is, or tells what was missed. Each value is the number that follows, once
/// what was missed before it is counted.
fn follow(reader: &mut Receiver<u64>, next: &mut u64) -> Result<usize, TryRecvError> {
    let read = reader.drain(|value| {
        assert_eq!(*value, *next);
        *next += 1;
    });
    if let Err(TryRecvError::Lagged(missed)) = read {
        *next += missed;
    }
    read
}

#[test]
fn readers_come_go_and_fall_behind_across_each_power_of_two() {
    for start in starts() {
        for capacity in [1, 2, 8, 32] {
            with_each_ring!(capacity, start, |ring| {
                let lap = capacity as u64;
                let mut at = start;
                let mut strict = ring.subscribe();
                let lossy = ring.subscriber().overflow(Overflow::DropOldest);
                let mut lossy = lossy.subscribe();
                let mut accounted = start;
                for round in 0..6 {
                    // Values are their own positions.
                    assert_eq!(ring.send(at), at);
                    assert_eq!(ring.send_batch(at + 1..at + lap), at + lap);
                    assert!(ring.try_send(0).unwrap_err().is_full());
                    let mut late = ring.subscriber().history(u64::MAX).subscribe();
                    let mut first = at + lap;
                    let _ = late.drain_up_to(1, |value| first = *value);
                    let promised = if lap < 8 { lap - 1 } else { lap / 8 * 7 };
                    assert!((start..=at + lap - promised).contains(&first), "{first}");
                    drop(late);
                    read(&mut strict, at..at + lap);
                    at += lap;
                    assert_eq!(ring.position(), at);
                    assert_eq!(strict.lag(), 0);
                    if round % 2 == 0 {
                        assert!(follow(&mut lossy, &mut accounted).is_ok() || round > 0);
                    }
                }
                while follow(&mut lossy, &mut accounted) != Err(TryRecvError::Empty) {}
                assert_eq!(accounted, at, "the last value is never missed");
                let stats = lossy.stats();
                assert_eq!(stats.delivered + stats.dropped, at - start);
                assert_eq!(lossy.missed(), stats.dropped);
                ring.close();
                assert_eq!(strict.recv(), Err(RecvError::Closed));
                assert_eq!(strict.stats().delivered, at - start);
            });
        }
    }
}

#[test]
fn a_reader_that_is_overtaken_while_it_reads_is_so_across_each_power_of_two() {
    for start in starts() {
        with_each_ring!(16, start, |ring| {
            let builder = ring.subscriber().overflow(Overflow::DropOldest);
            let mut reader = builder.subscribe();
            let (mut at, mut next) = (start, start);
            while at < start + 160 {
                while follow(&mut reader, &mut next) != Err(TryRecvError::Empty) {}
                assert_eq!(next, at);
                ring.send(at);
                at += 1;
                let read = reader.drain_up_to(1, |value| {
                    for _ in 0..40 {
                        ring.try_send(at).unwrap();
                        at += 1;
                    }
                    assert_eq!(*value, at - 41, "it is left its segment");
                });
                assert_eq!(read, Ok(1));
                next += 1;
                let Err(TryRecvError::Lagged(missed)) = follow(&mut reader, &mut next) else {
                    panic!("it has been overtaken");
                };
                assert!((24..40).contains(&missed), "{missed}");
            }
        });
    }
}

#[test]
fn a_stamp_of_one_byte_goes_round_under_senders_and_readers_that_race() {
    // Some 600 laps: twice round the stamps, from each quarter of a byte on.
    for start in [0, 1 << 8, (1 << 32) - 64, (1 << 59) - 3] {
        let ring = RingFeed::starting_at(2, start).unwrap();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let mut reader = ring.subscribe();
                thread::spawn(move || reader.iter().collect::<Vec<u64>>())
            })
            .collect();
        let senders = [0, 1].map(|sender| {
            let ring = ring.clone();
            thread::spawn(move || {
                let numbers = (0..600).map(|number| number * 2 + sender);
                numbers
                    .map(|number| (ring.send(number), number))
                    .collect::<Vec<_>>()
            })
        });
        let told = senders.map(|sender| sender.join().unwrap()).concat();
        drop(ring);
        let mut received = readers.into_iter().map(|reader| reader.join().unwrap());
        let first = received.next().unwrap();
        assert!(received.all(|other| other == first), "one order for all");
        for sender in [0, 1] {
            let own = first.iter().filter(|number| *number % 2 == sender);
            assert!(own.copied().eq((0..600).map(|number| number * 2 + sender)));
        }
        assert_eq!(told.len(), first.len());
        for (position, number) in told {
            assert_eq!(first[(position - start) as usize], number);
        }
    }
}

#[test]
fn a_ring_ends_loudly_before_its_seats_run_out_of_bits() {
    for capacity in [1, 8, 64] {
        let start = Progress::LAST - 3 * capacity as u64;
        let value = Arc::new(());
        with_each_ring!(capacity, start, |ring| {
            let mut reader = ring.subscribe();
            let mut sent = 0;
            let end = loop {
                let send = || ring.try_send(Arc::clone(&value));
                match catch_unwind(AssertUnwindSafe(send)) {
                    Ok(Ok(position)) => assert_eq!(position, start + sent),
                    Ok(Err(error)) => panic!("{error}"),
                    Err(payload) => break payload,
                }
                sent += 1;
                assert_eq!(reader.drain(|_| {}), Ok(1));
            };
            let text = end.downcast_ref::<&str>().unwrap();
            assert!(text.contains("2^60 positions"), "{text}");
            assert!(sent >= 2 * capacity as u64 && start + sent <= Progress::LAST);
            // Again, and what there is can still be read, and closed.
            let again = catch_unwind(AssertUnwindSafe(|| ring.try_send(Arc::clone(&value))));
            assert!(again.is_err());
            assert_eq!(reader.stats().delivered, sent);
            ring.close();
            assert_eq!(reader.drain(|_| {}), Err(TryRecvError::Closed));
            drop((ring, reader));
            assert_eq!(Arc::strong_count(&value), 1);
        });
    }
}

#[test]
fn a_batch_keeps_as_much_memory_for_what_it_replaces_as_that_takes() {
    for start in [0, 1 << 20, 1 << 58] {
        let ring = RingFeed::starting_at(8, start).unwrap();
        let mut reader = ring.subscribe();
        for round in 0..4_u64 {
            let values = (0..8).map(|number| Box::new((round, number)));
            assert_eq!(ring.send_batch(values), start + 8 * (round + 1));
            let mut read = Vec::new();
            assert_eq!(reader.drain(|value| read.push(**value)), Ok(8));
            assert!(read.into_iter().eq((0..8).map(|number| (round, number))));
        }
    }
}
