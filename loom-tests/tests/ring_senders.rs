//! A ring that several threads send on: claims, stamps, a tail that readers move, blocked senders, holes.
//!
//! Modelled: two threads that send a value or two each, by themselves, in a batch or in place, one or two readers that
//! poll or park; capacities 1, 2 and 4. Timers do not fire. Bounds: three or four threads, two to four values, two or
//! three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test ring_senders
//! ```
//!
//! Where an ordering has to be shown the fences that a stream does not need are left out: see `without_fences!`.
#![cfg(fanfeed_loom)]

use std::panic::{self, AssertUnwindSafe};

use fanfeed::{RingFeed, RingReceiver, TryRecvError};
use fanfeed_loom_tests::{Ledger, Model, Token, without_fences};
use loom::thread::{self, JoinHandle};

/// A thread that sends these, and drops its handle.
fn send(ring: &RingFeed<Token>, ledger: &Ledger, numbers: &'static [u32]) -> JoinHandle<()> {
    let (ring, ledger) = (ring.clone(), ledger.clone());
    thread::spawn(move || {
        for &number in numbers {
            ring.send(ledger.token(number));
        }
    })
}

fn recv_all(reader: &mut RingReceiver<Token>) -> Vec<u32> {
    reader.iter().map(|value| value.number()).collect()
}

/// Without parking.
fn poll_all(reader: &mut RingReceiver<Token>) -> Vec<u32> {
    let mut values = Vec::new();
    loop {
        match reader.try_recv() {
            Ok(value) => values.push(value.number()),
            Err(TryRecvError::Empty) => thread::yield_now(),
            Err(end) => {
                assert_eq!(end, TryRecvError::Closed);
                return values;
            }
        }
    }
}

/// Asserts that these came, 10 before 11.
#[track_caller]
fn assert_all(values: &[u32], all: &[u32]) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    assert_eq!(sorted, all);
    let of_first: Vec<_> = values.iter().filter(|&&value| value < 20).collect();
    assert!(of_first.is_sorted(), "out of order: {values:?}");
}

/// Two senders; the reader takes what comes.
fn two_senders(capacity: usize, first: &'static [u32], parks: bool) {
    let ledger = Ledger::new();
    let ring = RingFeed::new(capacity).unwrap();
    let mut reader = ring.subscribe();
    let senders = [send(&ring, &ledger, first), send(&ring, &ledger, &[20])];
    drop(ring);
    let values = if parks {
        recv_all(&mut reader)
    } else {
        poll_all(&mut reader)
    };
    assert_all(&values, &[first, &[20]].concat());
    for sender in senders {
        sender.join().unwrap();
    }
    drop(reader);
    ledger.assert_settled();
}

/// Both readers see the same.
fn one_order() {
    let ledger = Ledger::new();
    let ring = RingFeed::new(2).unwrap();
    let (mut one, mut other) = (ring.subscribe(), ring.subscribe());
    let senders = [send(&ring, &ledger, &[10]), send(&ring, &ledger, &[20])];
    drop(ring);
    let values = poll_all(&mut one);
    assert_eq!(poll_all(&mut other), values);
    for sender in senders {
        sender.join().unwrap();
    }
    assert_all(&values, &[10, 20]);
    drop((one, other));
    ledger.assert_settled();
}

/// Batches come in stretches; within one nothing comes between.
fn batches() {
    let ledger = Ledger::new();
    let ring = RingFeed::new(4).unwrap();
    let mut reader = ring.subscribe();
    let batch = {
        let (ring, ledger) = (ring.clone(), ledger.clone());
        thread::spawn(move || ring.send_batch([ledger.token(10), ledger.token(11)]))
    };
    let other = send(&ring, &ledger, &[20]);
    drop(ring);
    let values = poll_all(&mut reader);
    assert_all(&values, &[10, 11, 20]);
    assert!(values != [10, 20, 11] || batch.join().unwrap() == 3);
    other.join().unwrap();
    drop(reader);
    ledger.assert_settled();
}

/// One reader moves the tail, the other one reads by it.
fn two_readers() {
    let ring = RingFeed::new(2).unwrap();
    let (mut one, mut other) = (ring.subscribe(), ring.subscribe());
    let sender = {
        let ring = ring.clone();
        thread::spawn(move || ring.send(7))
    };
    let reader = thread::spawn(move || {
        let value = other.try_recv();
        assert!(value == Ok(7) || value == Err(TryRecvError::Empty));
    });
    let value = loop {
        match one.try_recv() {
            Err(TryRecvError::Empty) => thread::yield_now(),
            value => break value,
        }
    };
    assert_eq!(value, Ok(7));
    assert_eq!(sender.join().unwrap(), 0);
    reader.join().unwrap();
    drop(ring);
}

/// A reader that joins begins at what was claimed, and the tail is behind that until somebody moves it. While it looks,
/// another one moves the tail, and not as far.
fn a_reader_ahead_of_the_tail() {
    let ring = RingFeed::new(2).unwrap();
    let mut other = ring.subscribe();
    ring.send(0);
    let mut reader = ring.subscribe();
    let sender = {
        let ring = ring.clone();
        thread::spawn(move || ring.send(1))
    };
    let follower = thread::spawn(move || {
        assert_eq!(other.try_recv(), Ok(0));
        other
    });
    assert_eq!(reader.wait(), Ok(()));
    assert_eq!(reader.try_recv(), Ok(1));
    sender.join().unwrap();
    drop((follower.join().unwrap(), ring));
}

/// Two senders wait for two readers, who make room for both in one go each.
fn room_for_two() {
    let ring = RingFeed::new(2).unwrap();
    let (mut one, mut other) = (ring.subscribe(), ring.subscribe());
    ring.send_batch([0, 1]);
    let senders = [2, 3].map(|value| {
        let ring = ring.clone();
        thread::spawn(move || ring.send(value))
    });
    let reader = thread::spawn(move || {
        assert_eq!(other.drain_up_to(2, |_| {}), Ok(2));
        other
    });
    assert_eq!(one.drain_up_to(2, |_| {}), Ok(2));
    let mut positions = senders.map(|sender| sender.join().unwrap());
    positions.sort_unstable();
    assert_eq!(positions, [2, 3]);
    drop((reader.join().unwrap(), ring));
}

/// Writing in place panics. What is resumed does not run the hook, by which a model would fail.
fn a_hole() {
    let ring = RingFeed::<Option<Token>>::new(2).unwrap();
    let ledger = Ledger::new();
    let mut reader = ring.subscribe();
    let writer = {
        let (ring, ledger) = (ring.clone(), ledger.clone());
        thread::spawn(move || {
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
                ring.send_with(|place| {
                    *place = Some(ledger.token(0));
                    panic::resume_unwind(Box::new(()));
                })
            }));
            assert!(outcome.is_err());
        })
    };
    let sender = {
        let (ring, ledger) = (ring.clone(), ledger.clone());
        thread::spawn(move || {
            ring.send_with(|place| *place = Some(ledger.token(1)));
            ring.send(Some(ledger.token(2)));
        })
    };
    drop(ring);
    let values: Vec<_> = reader.iter().map(|value| value.unwrap().number()).collect();
    assert_eq!(values, [1, 2]);
    writer.join().unwrap();
    sender.join().unwrap();
    assert_eq!(reader.stats().delivered, 2);
    drop(reader);
    ledger.assert_settled();
}

#[test]
fn two_senders_of_a_ring_of_one_lose_nothing() {
    Model::bound(2).holds(|| two_senders(1, &[10], true));
}

#[test]
fn two_senders_of_a_ring_of_two_lose_nothing() {
    Model::bound(2).holds(|| two_senders(2, &[10], true));
}

#[test]
fn two_senders_that_wait_lose_nothing() {
    Model::bound(2).holds(|| two_senders(2, &[10, 11], false));
}

#[test]
fn all_readers_see_one_order() {
    Model::bound(2).holds(one_order);
}

#[test]
fn a_batch_stays_together() {
    Model::bound(2).holds(batches);
}

#[test]
fn a_reader_reads_by_the_tail_that_another_moved() {
    Model::bound(3).holds_with(without_fences!(), two_readers);
}

#[test]
fn a_reader_ahead_of_the_tail_is_woken() {
    Model::bound(3).holds(a_reader_ahead_of_the_tail);
}

#[test]
fn room_is_for_all_senders() {
    Model::bound(2).holds(room_for_two);
}

#[test]
fn a_hole_is_passed() {
    Model::bound(2).holds(a_hole);
}
