//! Readers that join and leave while a ring's sender runs, or waits for them.
//!
//! Modelled: an exclusive sender, and readers that join with and without history, strict and lossy;
//! that are dropped, and unsubscribed from another thread while they read; a seat that another
//! reader takes. Capacities 1, 2 and 4. A reader that joins gets every value whose send begins
//! after that. Timers do not fire. Bounds: two or three threads, one to four values, two or three
//! preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models ring_join_and_leave::
//! ```
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fanfeed::{ExclusiveRingFeed, RecvError, TryRecvError, ring};
use fanfeed_loom_tests::{Ledger, Model, Tally, Token, Why};
use loom::thread::{self, JoinHandle};

/// A thread that sends one more than the ring holds, and gives the ring back.
fn send_one(
    mut ring: ExclusiveRingFeed<Token>,
    ledger: &Ledger,
    number: u32,
) -> JoinHandle<ExclusiveRingFeed<Token>> {
    let ledger = ledger.clone();
    thread::spawn(move || {
        assert_eq!(ring.send(ledger.token(number)), u64::from(number));
        ring
    })
}

/// A ring of one with its value, and its strict reader.
fn full(ledger: &Ledger) -> (ExclusiveRingFeed<Token>, ring::Receiver<Token>) {
    let mut ring = ExclusiveRingFeed::new(1).unwrap();
    let reader = ring.subscribe();
    ring.send(ledger.token(0));
    (ring, reader)
}

/// A reader joins while values are sent, a few of which are there before.
fn a_join(capacity: usize, overflow: ring::Overflow, history: u64, before: u32, beside: u32) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(capacity).unwrap();
    for number in 0..before {
        ring.send(ledger.token(number));
    }
    let handle = ring.handle();
    // No part of what is modelled: how many sends have begun; and at last, that the ring ends.
    let begun = Arc::new(AtomicU32::new(before));
    let sender = {
        let (ledger, begun) = (ledger.clone(), Arc::clone(&begun));
        thread::spawn(move || {
            for number in before..before + beside {
                begun.store(number + 1, Ordering::Relaxed);
                ring.send(ledger.token(number));
            }
            begun.store(u32::MAX, Ordering::Relaxed);
        })
    };
    let options = handle.subscriber().overflow(overflow).history(history);
    let mut reader = options.subscribe();
    let begun = begun.load(Ordering::Relaxed);
    let mut tally = Tally::from_anywhere();
    assert_eq!(tally.recv_all(&mut reader), RecvError::Closed);
    sender.join().unwrap();
    let all = u64::from(before + beside);
    if let Some(&last) = tally.values.last() {
        assert_eq!(u64::from(last), all - 1);
    }
    assert!(tally.all() >= all.saturating_sub(u64::from(begun)));
    if overflow == ring::Overflow::Block {
        assert_eq!(tally.missed, 0);
    }
    if overflow == ring::Overflow::Block && begun != u32::MAX {
        let kept = u64::from(before).min(history).min(capacity as u64 / 2);
        assert!(tally.all() >= kept.min(all), "history is missing");
    }
    drop((reader, handle));
    ledger.assert_settled();
}

fn a_dropped_reader() {
    let ledger = Ledger::new();
    let (ring, reader) = full(&ledger);
    let sender = send_one(ring, &ledger, 1);
    drop(reader);
    drop(sender.join().unwrap());
    ledger.assert_settled();
}

/// One of two readers in the way; the other one reads.
fn a_dropped_reader_beside_another() {
    let ledger = Ledger::new();
    let (ring, reader) = full(&ledger);
    let mut other = ring.handle().subscriber().history(1).subscribe();
    let sender = send_one(ring, &ledger, 1);
    let dropping = thread::spawn(move || drop(reader));
    let mut tally = Tally::from(0);
    while tally.values.len() < 2 {
        tally.recv(&mut other).unwrap();
    }
    dropping.join().unwrap();
    drop((sender.join().unwrap(), other));
    ledger.assert_settled();
}

fn an_unsubscribe() {
    let ledger = Ledger::new();
    let (ring, mut reader) = full(&ledger);
    let sender = send_one(ring, &ledger, 1);
    reader.subscription().unsubscribe();
    let ring = sender.join().unwrap();
    assert_eq!(reader.recv().unwrap_err(), RecvError::Closed);
    assert_eq!(ring.subscriber_count(), 0);
    drop((ring, reader));
    ledger.assert_settled();
}

/// From another thread, while the reader reads and the sender waits for it.
fn an_unsubscribe_beside_a_drain(overflow: ring::Overflow) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(1).unwrap();
    let options = ring.subscriber().overflow(overflow);
    let (mut reader, subscription) = options.subscribe().split();
    ring.send(ledger.token(0));
    let sender = send_one(ring, &ledger, 1);
    let canceller = thread::spawn(move || subscription.unsubscribe());
    let mut tally = Tally::from(0);
    let _ = tally.drain(&mut reader);
    canceller.join().unwrap();
    let ring = sender.join().unwrap();
    loop {
        match tally.try_recv(&mut reader) {
            // What was missed before may be told.
            Ok(()) => assert_ne!(tally.missed, 0, "a value came after the end"),
            Err(end) => break assert_eq!(end, TryRecvError::Closed),
        }
    }
    drop((ring, reader));
    ledger.assert_settled();
}

/// A parked reader is unsubscribed.
fn an_unsubscribe_of_a_parked_reader() {
    let ring = ExclusiveRingFeed::<u32>::new(1).unwrap();
    let (mut reader, subscription) = ring.subscribe().split();
    let canceller = thread::spawn(move || subscription.unsubscribe());
    assert_eq!(reader.recv(), Err(RecvError::Closed));
    canceller.join().unwrap();
    drop(ring);
}

/// The sender waits for a reader that leaves, and whose seat is taken by one in the same place.
fn another_in_the_seat() {
    let ledger = Ledger::new();
    let (ring, reader) = full(&ledger);
    let handle = ring.handle();
    let sender = send_one(ring, &ledger, 1);
    drop(reader);
    let mut reader = handle.subscriber().history(1).subscribe();
    let mut tally = Tally::from_anywhere();
    while tally.values.last() != Some(&1) {
        tally.recv(&mut reader).unwrap();
    }
    drop((sender.join().unwrap(), reader, handle));
    ledger.assert_settled();
}

/// Two readers join one after the other, while the sender announces a floor, finds the first below
/// it, and takes the floor back. Nobody waits.
fn joins_at_a_floor_that_comes_down() {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(2).unwrap();
    for number in 0..2 {
        ring.send(ledger.token(number));
    }
    let handle = ring.handle();
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            for _ in 0..2 {
                let _ = ring.try_send(ledger.token(ring.position() as u32));
            }
        })
    };
    let mut readers = [(); 2].map(|()| handle.subscriber().history(2).subscribe());
    for reader in &mut readers {
        let mut tally = Tally::from_anywhere();
        assert_eq!(tally.recv_all(reader), RecvError::Closed);
        assert_eq!(tally.missed, 0);
    }
    sender.join().unwrap();
    drop((readers, handle));
    ledger.assert_settled();
}

#[test]
fn readers_join_at_a_floor_that_comes_down() {
    Model::bound(2).holds(joins_at_a_floor_that_comes_down);
}

#[test]
fn a_floor_that_comes_down_has_to_be_announced_in_order() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("gate_opens_without_fence", joins_at_a_floor_that_comes_down);
}

#[test]
fn a_strict_reader_joins_a_running_ring() {
    Model::bound(2).holds(|| a_join(1, ring::Overflow::Block, 0, 1, 2));
    Model::bound(2).holds(|| a_join(2, ring::Overflow::Block, 0, 1, 2));
}

#[test]
fn a_strict_reader_joins_with_history() {
    Model::bound(2).holds(|| a_join(2, ring::Overflow::Block, 2, 2, 1));
    Model::bound(2).holds(|| a_join(4, ring::Overflow::Block, 4, 3, 2));
}

#[test]
fn a_lossy_reader_joins_with_history() {
    Model::bound(2).holds(|| a_join(2, ring::Overflow::DropOldest, 2, 2, 2));
    Model::bound(2).holds(|| a_join(4, ring::Overflow::DropOldest, 4, 3, 3));
}

#[test]
fn a_dropped_reader_releases_a_sender() {
    Model::bound(3).holds(a_dropped_reader);
}

#[test]
fn one_of_two_readers_that_is_dropped_releases_a_sender() {
    Model::bound(2).holds(a_dropped_reader_beside_another);
}

#[test]
fn an_unsubscribe_releases_a_sender() {
    Model::bound(3).holds(an_unsubscribe);
}

#[test]
fn an_unsubscribe_waits_for_a_drain() {
    Model::bound(2).holds(|| an_unsubscribe_beside_a_drain(ring::Overflow::Block));
}

#[test]
fn an_unsubscribe_waits_for_a_drain_of_a_lossy_reader() {
    Model::bound(2).holds(|| an_unsubscribe_beside_a_drain(ring::Overflow::DropOldest));
}

#[test]
fn an_unsubscribe_wakes_its_reader() {
    Model::bound(3).holds(an_unsubscribe_of_a_parked_reader);
}

#[test]
fn a_sender_is_not_confused_by_another_in_the_seat() {
    Model::bound(2).holds(another_in_the_seat);
}

#[test]
fn a_reader_has_to_join_in_order() {
    Model::bound(2)
        .because(Why::Says("out of order"))
        .fails_with("reader_joins_without_fence", || {
            a_join(2, ring::Overflow::Block, 2, 2, 1);
        });
}

#[test]
fn a_reader_has_to_join_where_the_gate_looks() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("reader_joins_unmarked", || {
            a_join(2, ring::Overflow::Block, 2, 2, 1);
        });
}

#[test]
fn a_gate_has_to_open_in_order() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("gate_opens_without_fence", || {
            a_join(2, ring::Overflow::Block, 2, 2, 1);
        });
}

#[test]
fn a_reader_that_moves_up_has_to_tell() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("reader_moves_up_unnoticed", another_in_the_seat);
}

#[test]
fn a_reader_has_to_pin_in_order() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("reader_pins_without_light_fence", || {
            an_unsubscribe_beside_a_drain(ring::Overflow::Block);
        });
}

#[test]
fn a_reader_has_to_be_cut_off_in_order() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("reader_is_cut_off_without_heavy_fence", || {
            an_unsubscribe_beside_a_drain(ring::Overflow::Block);
        });
}

#[test]
fn a_reader_has_to_leave_in_order() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("reader_moves_without_light_fence", a_dropped_reader);
}

#[test]
fn a_sender_has_to_fence_before_it_parks() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("sender_parks_without_heavy_fence", a_dropped_reader);
}
