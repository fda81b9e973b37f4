//! A ring that several threads send on: claims, stamps, a tail that readers move, blocked senders.
//!
//! Modelled: two threads that send a value or two each, one by one, in a batch or in place, and up
//! to two readers that poll or park, strict and lossy; a ring that is closed meanwhile. Capacities
//! 1, 2, 4 and 8. Timers do not fire. Bounds: two or three threads, one to six values, one to three
//! preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models ring_senders::
//! ```
//!
//! Not modelled: a sender that finds room beside one that waits for another reader, which takes
//! four threads; a reader that is ahead of the tail while another reader moves it, which takes too
//! many preemptions to fail. `shuttle-tests/tests/ring.rs` has both.
//!
//! Where a model checks an ordering, the fences that a stream does not need are left out: see
//! `without_fences!`.
use fanfeed::{RingFeed, TryRecvError, ring};
use fanfeed_loom_tests::{Ledger, Model, Token, Why, without_fences};
use loom::thread::{self, JoinHandle};

/// A thread that sends these.
fn send(ring: &RingFeed<Token>, ledger: &Ledger, numbers: &'static [u32]) -> JoinHandle<()> {
    let (ring, ledger) = (ring.clone(), ledger.clone());
    thread::spawn(move || {
        for &number in numbers {
            ring.send(ledger.token(number));
        }
    })
}

fn recv(reader: &mut ring::Receiver<Token>, count: usize) -> Vec<u32> {
    let values = reader.iter().take(count);
    values.map(|value| value.number()).collect()
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

/// Two senders claim and stamp, in a segment that is open to them. The readers see one order.
fn stamps() {
    let ledger = Ledger::new();
    let ring = RingFeed::new(8).unwrap();
    ring.send(ledger.token(0));
    let (mut one, mut other) = (ring.subscribe(), ring.subscribe());
    let senders = [send(&ring, &ledger, &[10]), send(&ring, &ledger, &[20])];
    let values = recv(&mut one, 2);
    assert_all(&values, &[10, 20]);
    for sender in senders {
        sender.join().unwrap();
    }
    assert_eq!(recv(&mut other, 2), values);
    drop((ring, one, other));
    ledger.assert_settled();
}

/// As `stamps`, without parking.
fn stamps_that_are_polled() {
    let ledger = Ledger::new();
    let ring = RingFeed::new(8).unwrap();
    ring.send(ledger.token(0));
    let mut reader = ring.subscribe();
    let senders = [send(&ring, &ledger, &[10]), send(&ring, &ledger, &[20])];
    let mut values = Vec::new();
    while values.len() < 2 {
        match reader.try_recv() {
            Ok(value) => values.push(value.number()),
            Err(error) => {
                assert_eq!(error, TryRecvError::Empty);
                thread::yield_now();
            }
        }
    }
    assert_all(&values, &[10, 20]);
    for sender in senders {
        sender.join().unwrap();
    }
    drop((ring, reader));
    ledger.assert_settled();
}

/// As `stamps`, and one sends a batch, between whose values nothing comes.
fn a_batch_beside_a_value() {
    let ledger = Ledger::new();
    let ring = RingFeed::new(8).unwrap();
    ring.send(ledger.token(0));
    let mut reader = ring.subscribe();
    let batch = {
        let (ring, ledger) = (ring.clone(), ledger.clone());
        thread::spawn(move || ring.send_batch([ledger.token(10), ledger.token(11)]))
    };
    let sender = send(&ring, &ledger, &[20]);
    let values = recv(&mut reader, 3);
    assert_all(&values, &[10, 11, 20]);
    assert_ne!(values, [10, 20, 11]);
    let end = batch.join().unwrap();
    assert_eq!(end, if values[0] == 20 { 4 } else { 3 });
    sender.join().unwrap();
    drop((ring, reader));
    ledger.assert_settled();
}

/// A reader looks once while a batch is sent, and finds all of it or nothing.
fn a_batch_is_looked_at() {
    let ledger = Ledger::new();
    let ring = RingFeed::new(16).unwrap();
    let mut reader = ring.subscribe();
    let sender = {
        let (ring, ledger) = (ring.clone(), ledger.clone());
        thread::spawn(move || ring.send_batch([ledger.token(10), ledger.token(11)]))
    };
    let seen = reader.drain(|_| {}).unwrap_or(0);
    assert_ne!(seen, 1, "a part of the batch");
    sender.join().unwrap();
    drop((ring, reader));
    ledger.assert_settled();
}

/// Two senders write to the same slots, and nobody reads.
fn nobody_reads(capacity: usize, first: &'static [u32]) {
    let ledger = Ledger::new();
    let ring = RingFeed::new(capacity).unwrap();
    let sender = send(&ring, &ledger, first);
    ring.send(ledger.token(20));
    sender.join().unwrap();
    assert_eq!(ring.position(), 1 + first.len() as u64);
    drop(ring);
    ledger.assert_settled();
}

/// Two senders wait for a reader, and the reader for them.
fn a_reader(capacity: usize) {
    let ledger = Ledger::new();
    let ring = RingFeed::new(capacity).unwrap();
    let mut reader = ring.subscribe();
    let senders = [send(&ring, &ledger, &[10]), send(&ring, &ledger, &[20])];
    assert_all(&recv(&mut reader, 2), &[10, 20]);
    for sender in senders {
        sender.join().unwrap();
    }
    drop((ring, reader));
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

/// A sender moves the tail on when it opens a segment, and a reader reads by that.
fn a_sender_moves_the_tail() {
    let ring = RingFeed::new(2).unwrap();
    ring.send(0);
    let mut reader = ring.subscribe();
    let senders = [1, 2].map(|value| {
        let ring = ring.clone();
        thread::spawn(move || ring.try_send(value).is_ok())
    });
    let _ = reader.try_recv();
    let sent = senders.map(|sender| sender.join().unwrap());
    assert!(sent.into_iter().any(|sent| sent));
    drop((reader, ring));
}

/// A reader that joins begins at what was claimed, and the tail is behind that until somebody moves
/// it. While it looks, another one moves the tail, and not as far.
fn a_reader_ahead_of_the_tail() {
    let ring = RingFeed::new(4).unwrap();
    let mut other = ring.subscribe();
    let sender = {
        let ring = ring.clone();
        thread::spawn(move || {
            ring.send(1);
            ring.send(2);
        })
    };
    let follower = thread::spawn(move || {
        let value = other.try_recv();
        assert!(value == Ok(1) || value == Err(TryRecvError::Empty));
        other
    });
    let mut ahead = ring.subscribe();
    if ring.position() < 2 {
        // What is claimed after it joined is for it.
        assert!(ahead.recv().is_ok());
    }
    sender.join().unwrap();
    drop((follower.join().unwrap(), ahead, ring));
}

/// Two senders wait for a reader, which makes room for both in one step.
fn room_for_two(parked: bool) {
    let ring = RingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    ring.send_batch([0, 1]);
    // Senders stamp, and readers move the tail: so that both values are taken in one go.
    assert_eq!(ring.subscribe().try_recv(), Err(TryRecvError::Empty));
    let senders = [2, 3].map(|value| {
        let ring = ring.clone();
        thread::spawn(move || ring.send(value))
    });
    if parked {
        // The senders go first.
        thread::yield_now();
    }
    assert_eq!(reader.drain_up_to(2, |_| {}), Ok(2));
    let mut positions = senders.map(|sender| sender.join().unwrap());
    positions.sort_unstable();
    assert_eq!(positions, [2, 3]);
    drop((reader, ring));
}

/// A sender waits for two readers, each of which reads one value: the first to be looked at, then
/// the other.
fn two_in_the_way() {
    let ring = RingFeed::new(1).unwrap();
    let (mut one, mut other) = (ring.subscribe(), ring.subscribe());
    ring.send(0);
    let sender = {
        let ring = ring.clone();
        thread::spawn(move || ring.send(1))
    };
    let reader = thread::spawn(move || {
        assert_eq!(other.try_recv(), Ok(0));
        other
    });
    assert_eq!(one.try_recv(), Ok(0));
    assert_eq!(sender.join().unwrap(), 1);
    drop((ring, one, reader.join().unwrap()));
}

/// The sender laps a lossy reader, of a ring that two may send on.
fn a_lossy_reader(capacity: usize) {
    let ledger = Ledger::new();
    let ring = RingFeed::new(capacity).unwrap();
    let options = ring.subscriber().overflow(ring::Overflow::DropOldest);
    let mut reader = options.subscribe();
    let senders = [send(&ring, &ledger, &[10]), send(&ring, &ledger, &[20])];
    let (mut received, mut missed) = (0, 0);
    let mut read = |reader: &mut ring::Receiver<Token>| {
        let outcome = reader.drain(|value| {
            let number = value.number();
            thread::yield_now();
            assert_eq!(value.number(), number);
            received += 1;
        });
        match outcome {
            Ok(_) => {}
            Err(TryRecvError::Lagged(count)) => missed += count,
            Err(end) => return Err(end),
        }
        Ok(())
    };
    let _ = read(&mut reader);
    for sender in senders {
        sender.join().unwrap();
    }
    drop(ring);
    while read(&mut reader) != Err(TryRecvError::Closed) {}
    assert_eq!(received + missed, 2);
    drop(reader);
    ledger.assert_settled();
}

/// The ring ends while a sender waits for room.
fn a_close() {
    let ledger = Ledger::new();
    let ring = RingFeed::new(1).unwrap();
    let mut reader = ring.subscribe();
    ring.send(ledger.token(10));
    let senders = [send(&ring, &ledger, &[11]), send(&ring, &ledger, &[12])];
    ring.close();
    for sender in senders {
        sender.join().unwrap();
    }
    assert_eq!(recv(&mut reader, 2), [10]);
    drop((reader, ring));
    ledger.assert_settled();
}

/// The ring ends beside two that send: what they were told was sent arrives.
fn a_close_beside_sends() {
    let ledger = Ledger::new();
    let ring = RingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    let sender = {
        let (ring, ledger) = (ring.clone(), ledger.clone());
        thread::spawn(move || {
            let sent = [10, 11].map(|number| ring.try_send(ledger.token(number)).is_ok());
            sent.into_iter().filter(|&sent| sent).count()
        })
    };
    let closer = {
        let ring = ring.clone();
        thread::spawn(move || ring.close())
    };
    let arrived = recv(&mut reader, 3).len();
    assert_eq!(sender.join().unwrap(), arrived);
    closer.join().unwrap();
    drop((reader, ring));
    ledger.assert_settled();
}

/// In place, beside one that sends.
fn in_place() {
    let ring = RingFeed::<u32>::new(8).unwrap();
    ring.send(0);
    let mut reader = ring.subscribe();
    let writer = {
        let ring = ring.clone();
        thread::spawn(move || ring.send_with(|place| *place = 10))
    };
    let sender = {
        let ring = ring.clone();
        thread::spawn(move || ring.send(20))
    };
    let values: Vec<_> = reader.iter().take(2).collect();
    let positions = [writer.join().unwrap(), sender.join().unwrap()];
    assert!(matches!(
        (&values[..], positions),
        ([10, 20], [1, 2]) | ([20, 10], [2, 1])
    ));
    drop(ring);
}

#[test]
fn all_readers_see_one_order() {
    Model::bound(2).holds(stamps);
}

#[test]
fn a_batch_stays_together() {
    Model::bound(2).holds(a_batch_beside_a_value);
}

#[test]
fn a_batch_appears_at_once() {
    Model::bound(4)
        .few("one thread stamps twice, and the other looks once")
        .holds(a_batch_is_looked_at);
    Model::bound(2)
        .because(Why::Says("a part of the batch"))
        .fails_with("batch_is_stamped_forwards", a_batch_is_looked_at);
}

#[test]
fn senders_take_turns_at_a_slot() {
    Model::bound(3).holds_with(without_fences!(), || nobody_reads(1, &[10]));
    Model::bound(2).holds_with(without_fences!(), || nobody_reads(4, &[10, 11, 12, 13, 14]));
}

#[test]
fn two_senders_of_a_ring_of_one_lose_nothing() {
    Model::bound(1).holds(|| a_reader(1));
}

#[test]
fn two_senders_of_a_ring_of_two_lose_nothing() {
    Model::bound(2).holds(|| a_reader(2));
}

#[test]
fn a_reader_reads_by_the_tail_that_another_moved() {
    Model::bound(3).holds_with(without_fences!(), two_readers);
}

#[test]
fn a_reader_reads_by_the_tail_that_a_sender_moved() {
    Model::bound(3).holds_with(without_fences!(), a_sender_moves_the_tail);
}

#[test]
fn a_sender_has_to_move_the_tail_in_order() {
    Model::bound(3).because(Why::Race).fails_with(
        without_fences!("tail_is_kept_near_relaxed"),
        a_sender_moves_the_tail,
    );
}

#[test]
fn a_reader_ahead_of_the_tail_is_woken() {
    Model::bound(2).holds(a_reader_ahead_of_the_tail);
}

#[test]
fn room_is_for_all_senders() {
    Model::bound(1).holds(|| room_for_two(false));
}

#[test]
fn two_senders_lap_a_reader() {
    Model::bound(2).holds(|| a_lossy_reader(1));
}

#[test]
fn a_close_releases_a_sender() {
    Model::bound(3).holds(a_close);
}

#[test]
fn a_close_beside_sends_loses_nothing() {
    Model::bound(2).holds(a_close_beside_sends);
}

#[test]
fn a_value_written_in_place_is_complete() {
    Model::bound(2).holds(in_place);
}

#[test]
fn a_stamp_needs_no_fences() {
    Model::bound(2).holds_with(without_fences!(), stamps_that_are_polled);
}

#[test]
fn a_value_has_to_be_stamped() {
    Model::bound(2).because(Why::Race).fails_with(
        without_fences!("stamp_is_stored_relaxed"),
        stamps_that_are_polled,
    );
}

#[test]
fn a_writer_has_to_see_that_another_stamped() {
    Model::bound(2).because(Why::Race).fails_with(
        without_fences!("stamp_is_stored_relaxed"),
        || {
            nobody_reads(1, &[10]);
        },
    );
}

#[test]
fn the_tail_has_to_be_moved_in_order() {
    Model::bound(3)
        .because(Why::Race)
        .fails_with(without_fences!("tail_follows_relaxed"), two_readers);
}

#[test]
fn the_limit_has_to_be_moved_in_order() {
    Model::bound(3).because(Why::Race).fails_with(
        without_fences!("limit_is_moved_relaxed"),
        || {
            nobody_reads(4, &[10, 11, 12, 13, 14]);
        },
    );
}

#[test]
fn an_end_must_not_overlook_a_sender() {
    // An end looks for readers too, behind a fence of its own, which comes first.
    let both = "end_looks_for_waiters_without_fence end_looks_for_readers_without_fence";
    Model::bound(3)
        .because(Why::Deadlock)
        .fails_with(both, a_close);
}

#[test]
fn a_sender_waits_for_one_reader_after_the_other() {
    Model::bound(2).holds(two_in_the_way);
}

#[test]
fn a_sender_must_look_again_at_the_reader_that_it_has_named() {
    Model::bound(3)
        .because(Why::Deadlock)
        .fails_with("name_is_not_looked_at_again", two_in_the_way);
}

#[test]
fn a_sender_has_to_name_in_order() {
    Model::bound(3)
        .because(Why::Deadlock)
        .fails_with("sender_parks_without_heavy_fence", two_in_the_way);
}

#[test]
fn the_first_in_line_has_to_watch() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("first_in_line_does_not_watch", || room_for_two(true));
}

#[test]
fn a_sender_that_leaves_must_wake_the_next() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("room_is_kept_to_oneself", || room_for_two(true));
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("watch_is_not_handed_on", || room_for_two(true));
}
