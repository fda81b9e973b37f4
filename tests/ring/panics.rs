//! Panics in user code: drops of values, and iterators.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfeed::{ExclusiveRingFeed, RingFeed, TryRecvError, ring};

use crate::common::{Tally, message};

/// Panics when it is dropped, if its number is one of these, unless a panic is under way.
struct Thorny(u64, &'static [u64], Arc<AtomicUsize>);

impl Drop for Thorny {
    fn drop(&mut self) {
        self.2.fetch_add(1, Ordering::Relaxed);
        let hurts = self.1.contains(&self.0) && !std::thread::panicking();
        assert!(!hurts, "the drop of {}", self.0);
    }
}

#[test]
fn a_drop_that_panics_does_so_after_the_value_in_its_place_was_sent() {
    let drops = Arc::new(AtomicUsize::new(0));
    let value = |number| Thorny(number, &[1, 3], Arc::clone(&drops));
    with_each_sender!(4, |ring| {
        drops.store(0, Ordering::Relaxed);
        let mut reader = ring.subscribe();
        let mut received = Vec::new();
        for number in 0..12 {
            let sent = catch_unwind(AssertUnwindSafe(|| ring.send(value(number))));
            match sent {
                Ok(position) => assert_eq!(position, number),
                Err(payload) => {
                    assert!([5, 7].contains(&number));
                    let text = format!("the drop of {}", number - 4);
                    assert_eq!(message(&*payload), text);
                }
            }
            assert_eq!(ring.position(), number + 1);
            assert_eq!(
                drops.load(Ordering::Relaxed) as u64,
                (number + 1).saturating_sub(4)
            );
            assert_eq!(reader.drain(|value| received.push(value.0)), Ok(1));
        }
        assert!(received.into_iter().eq(0..12));
        drop((ring, reader));
        assert_eq!(drops.load(Ordering::Relaxed), 12);
    });
}

#[test]
fn a_drop_that_panics_inside_a_batch_leaves_what_was_written_sent() {
    let drops = Arc::new(AtomicUsize::new(0));
    let value = |number| Thorny(number, &[2], Arc::clone(&drops));
    with_each_sender!(64, |ring| {
        drops.store(0, Ordering::Relaxed);
        let mut reader = ring.subscribe();
        ring.send_batch((0..64).map(value));
        assert_eq!(reader.drain(|_| {}), Ok(64));
        let batch = catch_unwind(AssertUnwindSafe(|| ring.send_batch((64..70).map(value))));
        assert_eq!(message(&*batch.unwrap_err()), "the drop of 2");
        // A shared sender had written all of them by then, the exclusive one what came before and
        // the one in its place.
        let mut received = Vec::new();
        let read = reader.drain(|value| received.push(value.0)).unwrap() as u64;
        assert!(received.into_iter().eq(64..64 + read));
        assert!([3, 6].contains(&read), "{read}");
        assert_eq!(ring.send(value(100)), 64 + read);
        assert_eq!(reader.drain(|value| assert_eq!(value.0, 100)), Ok(1));
        drop((ring, reader));
        assert_eq!(
            drops.load(Ordering::Relaxed) as u64,
            64 + 1 + if read == 3 { 3 } else { 6 }
        );
    });
}

#[test]
fn drops_that_panic_at_the_end_keep_no_other_value_from_being_dropped() {
    for lossy in 0..3 {
        let drops = Arc::new(AtomicUsize::new(0));
        let value = |number| Thorny(number, &[3], Arc::clone(&drops));
        with_each_sender!(16, |ring| {
            drops.store(0, Ordering::Relaxed);
            let readers: Vec<_> = (0..lossy)
                .map(|_| {
                    let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
                    builder.subscribe()
                })
                .collect();
            ring.send_batch((0..16).map(value));
            let end = catch_unwind(AssertUnwindSafe(|| drop((ring, readers))));
            assert_eq!(message(&*end.unwrap_err()), "the drop of 3");
            assert_eq!(drops.load(Ordering::Relaxed), 16);
        });
    }
}

#[test]
fn what_was_written_before_an_iterator_panics_is_sent() {
    let tally = Tally::new();
    for good in [0, 1, 7, 8, 20] {
        let mut ring = ExclusiveRingFeed::new(64).unwrap();
        let mut reader = ring.subscribe();
        let values = (0..100).map(|number| {
            assert!(number < good, "out of numbers");
            tally.value(number)
        });
        let batch = catch_unwind(AssertUnwindSafe(|| ring.send_batch(values)));
        assert_eq!(message(&*batch.unwrap_err()), "out of numbers");
        assert_eq!(ring.position(), good);
        let mut next = 0;
        let read = reader.drain(|value| {
            assert_eq!(value.number, next);
            next += 1;
        });
        let expected = if good == 0 {
            Err(TryRecvError::Empty)
        } else {
            Ok(good as usize)
        };
        assert_eq!(read, expected);
        assert_eq!(ring.send(tally.value(0)), good);
        assert_eq!(reader.try_recv().unwrap().number, 0);
    }
    assert_eq!(tally.live(), 0);
}

#[test]
fn an_iterator_that_panics_leaves_a_shared_ring_without_holes() {
    let tally = Tally::new();
    for good in [0, 1, 31, 32, 33, 64, 70] {
        let ring = RingFeed::new(128).unwrap();
        let mut reader = ring.subscribe();
        let values = (0..100).map(|number| {
            assert!(number < good, "out of numbers");
            tally.value(number)
        });
        let batch = catch_unwind(AssertUnwindSafe(|| ring.send_batch(values)));
        assert_eq!(message(&*batch.unwrap_err()), "out of numbers");
        // They are taken 32 at a time before any of these is sent.
        let sent = good / 32 * 32;
        assert_eq!(ring.position(), sent);
        assert_eq!(tally.live(), sent as i64);
        assert_eq!(ring.send(tally.value(1000)), sent);
        let mut numbers = Vec::new();
        assert!(reader.drain(|value| numbers.push(value.number)).is_ok());
        assert!(numbers.into_iter().eq((0..sent).chain([1000])));
    }
    assert_eq!(tally.live(), 0);
}

#[test]
fn an_iterator_of_a_batch_may_send_on_the_shared_ring_itself() {
    let ring = RingFeed::new(16).unwrap();
    let mut reader = ring.subscribe();
    let end = ring.send_batch((0..4).inspect(|number| {
        ring.send(100 + number);
    }));
    assert_eq!(end, 8);
    let mut received: Vec<_> = reader.try_iter().collect();
    received.sort_unstable();
    assert_eq!(received, [0, 1, 2, 3, 100, 101, 102, 103]);
}

#[test]
fn a_value_may_send_on_the_shared_ring_when_it_is_dropped() {
    struct Echo(u64, Option<fanfeed::WeakRingFeed<Echo>>);
    impl Drop for Echo {
        fn drop(&mut self) {
            if let Some(ring) = self.1.as_ref().and_then(fanfeed::WeakRingFeed::upgrade) {
                ring.send(Echo(self.0 + 100, None));
            }
        }
    }
    let ring = RingFeed::new(4).unwrap();
    let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
    let mut reader = builder.subscribe();
    let mut numbers = Vec::new();
    for number in 0..8 {
        ring.send(Echo(number, Some(ring.downgrade())));
        while reader.drain(|value| numbers.push(value.0)) != Err(TryRecvError::Empty) {}
    }
    // Each echo takes the place of a value that has one too.
    assert!(numbers.starts_with(&[0, 1, 2, 3]));
    assert!(numbers.iter().any(|number| *number >= 100));
    assert_eq!(ring.position(), numbers.len() as u64 + reader.missed());
}
