//! A ring's exclusive sender and one or two strict readers: publishing and reading over several
//! laps, parking and waking on both ends.
//!
//! Modelled: one thread that sends and closes, and one or two that read by clones or by reference;
//! capacities 1, 2 and 4, so that slots are reused and, with 4, a segment has two. Timers do not
//! fire, so another thread must cause every wake-up. Bounds: two or three threads, one to six
//! values, two to four preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models ring_publish::
//! ```
//!
//! In a model a light fence is a full one. So the light fence of a publish hides the full fence
//! that follows if a reader is drowsy. The two are told apart by a reader that has been drowsy for
//! long. Also, the fence of a reader that joins the list hides the heavy fence that it made before,
//! when it became drowsy: a missing heavy fence shows only if the other is missing too.
use std::time::Duration;

use fanfeed::{ExclusiveRingFeed, RecvError, RecvTimeoutError, TryRecvError};
use fanfeed_loom_tests::{Ledger, Model, Tally, Why, without_fences};
use loom::thread;

#[derive(Debug, Clone, Copy)]
enum Reading {
    /// Clones, parking.
    Recv,
    /// Clones, without parking.
    Poll,
    /// By reference, parking.
    Drain,
}

/// So many values, and the end.
fn through(capacity: usize, values: u32, reading: Reading) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(capacity).unwrap();
    let mut reader = ring.subscribe();
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            for number in 0..values {
                assert_eq!(ring.send(ledger.token(number)), u64::from(number));
            }
        })
    };
    let mut tally = Tally::from(0);
    match reading {
        Reading::Recv => assert_eq!(tally.recv_all(&mut reader), RecvError::Closed),
        Reading::Poll => assert_eq!(tally.poll_all(&mut reader), TryRecvError::Closed),
        Reading::Drain => assert_eq!(tally.drain_all(&mut reader), RecvError::Closed),
    }
    sender.join().unwrap();
    assert_eq!((tally.values.len(), tally.missed), (values as usize, 0));
    drop(reader);
    ledger.assert_settled();
}

/// Nobody parks, so that no fence is needed.
fn without_parking(capacity: usize, values: u32, in_batches: bool) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(capacity).unwrap();
    let mut reader = ring.subscribe();
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            if in_batches {
                // As many as the ring holds: there is room.
                ring.send_batch((0..values).map(|number| ledger.token(number)));
                return;
            }
            for number in 0..values {
                let mut value = ledger.token(number);
                while let Err(full) = ring.try_send(value) {
                    value = full.into_inner();
                    thread::yield_now();
                }
            }
        })
    };
    let mut tally = Tally::from(0);
    assert_eq!(tally.poll_all(&mut reader), TryRecvError::Closed);
    sender.join().unwrap();
    assert_eq!((tally.values.len(), tally.missed), (values as usize, 0));
    drop(reader);
    ledger.assert_settled();
}

/// The reader parks at most once, and growing drowsy is the first that it does.
fn one_value() {
    let mut ring = ExclusiveRingFeed::new(1).unwrap();
    let mut reader = ring.subscribe();
    let sender = thread::spawn(move || {
        ring.send(7);
        ring
    });
    assert_eq!(reader.recv(), Ok(7));
    drop(sender.join().unwrap());
}

/// The reader has been drowsy for long.
fn one_value_for_a_drowsy_reader() {
    let mut ring = ExclusiveRingFeed::new(1).unwrap();
    let mut reader = ring.subscribe();
    let timeout = reader.wait_timeout(Duration::ZERO);
    assert_eq!(timeout, Err(RecvTimeoutError::Timeout));
    let sender = thread::spawn(move || {
        ring.send(7);
        ring
    });
    assert_eq!(reader.recv(), Ok(7));
    drop(sender.join().unwrap());
}

/// The ring ends beside a reader that has been drowsy for long.
fn a_close() {
    let mut ring = ExclusiveRingFeed::<u32>::new(1).unwrap();
    let mut reader = ring.subscribe();
    let timeout = reader.wait_timeout(Duration::ZERO);
    assert_eq!(timeout, Err(RecvTimeoutError::Timeout));
    let closer = thread::spawn(move || {
        ring.close();
        ring
    });
    assert_eq!(reader.recv(), Err(RecvError::Closed));
    drop(closer.join().unwrap());
}

/// Two readers, each of which waits for one value after the other.
fn two_readers() {
    let mut ring = ExclusiveRingFeed::new(2).unwrap();
    let mut readers = [ring.subscribe(), ring.subscribe()];
    for reader in &mut readers {
        let timeout = reader.wait_timeout(Duration::ZERO);
        assert_eq!(timeout, Err(RecvTimeoutError::Timeout));
    }
    let reading = readers.map(|mut reader| {
        thread::spawn(move || assert_eq!([reader.recv(), reader.recv()], [Ok(1), Ok(2)]))
    });
    ring.send(1);
    ring.send(2);
    for reader in reading {
        reader.join().unwrap();
    }
}

/// Published in stretches of a segment, read by reference.
fn a_batch(capacity: usize, values: u32) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(capacity).unwrap();
    let mut reader = ring.subscribe();
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            let end = ring.send_batch((0..values).map(|number| ledger.token(number)));
            assert_eq!(end, u64::from(values));
        })
    };
    let mut tally = Tally::from(0);
    assert_eq!(tally.drain_all(&mut reader), RecvError::Closed);
    sender.join().unwrap();
    assert_eq!((tally.values.len(), tally.missed), (values as usize, 0));
    drop(reader);
    ledger.assert_settled();
}

/// The ring is full when the reader begins.
fn a_full_ring(capacity: usize) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(capacity).unwrap();
    let mut reader = ring.subscribe();
    let full = capacity as u32;
    ring.send_batch((0..full).map(|number| ledger.token(number)));
    assert!(ring.try_send(ledger.token(full)).is_err());
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            ring.send(ledger.token(full));
            ring
        })
    };
    let mut tally = Tally::from(0);
    while tally.values.len() <= capacity {
        tally.recv(&mut reader).unwrap();
    }
    drop((sender.join().unwrap(), reader));
    ledger.assert_settled();
}

/// The sender writes to a slot that a drain has passed, while the drain goes on.
fn a_long_drain() {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    ring.send_batch([0, 1].map(|number| ledger.token(number)));
    let reading = thread::spawn(move || {
        let mut sum = 0;
        assert_eq!(reader.drain(|value| sum += value.number()), Ok(2));
        assert_eq!(sum, 1);
        reader
    });
    let mut value = ledger.token(2);
    while let Err(full) = ring.try_send(value) {
        value = full.into_inner();
        thread::yield_now();
    }
    drop((reading.join().unwrap(), ring));
    ledger.assert_settled();
}

/// Reading makes room, and the reader does nothing else.
fn room(capacity: usize) {
    let mut ring = ExclusiveRingFeed::new(capacity).unwrap();
    let mut reader = ring.subscribe();
    for number in 0..capacity {
        ring.send(number);
    }
    let sender = thread::spawn(move || {
        ring.send(capacity);
        ring
    });
    assert_eq!(reader.try_recv(), Ok(0));
    drop(sender.join().unwrap());
    assert_eq!(reader.try_iter().last(), Some(capacity));
}

/// A thread reads and hands its reader over. What the other one reads then is no handler that the
/// first one's send runs in.
fn a_reader_that_is_handed_over() {
    let mut ring = ExclusiveRingFeed::new(1).unwrap();
    let mut reader = ring.subscribe();
    ring.send(0);
    assert_eq!(reader.try_recv(), Ok(0));
    ring.send(1);
    let reading = thread::spawn(move || {
        let values: Vec<u32> = reader.iter().take(2).collect();
        assert_eq!(values, [1, 2]);
        reader
    });
    ring.send(2);
    drop((reading.join().unwrap(), ring));
}

#[test]
fn a_ring_of_one_loses_nothing() {
    Model::bound(3).holds(|| through(1, 2, Reading::Recv));
}

#[test]
fn a_ring_of_two_loses_nothing() {
    Model::bound(2).holds(|| through(2, 3, Reading::Recv));
}

#[test]
fn a_ring_of_one_that_is_polled_loses_nothing() {
    Model::bound(3).holds(|| through(1, 3, Reading::Poll));
}

#[test]
fn a_ring_of_two_that_is_polled_loses_nothing() {
    Model::bound(3).holds(|| through(2, 3, Reading::Poll));
}

#[test]
fn a_ring_of_two_that_is_drained_loses_nothing() {
    Model::bound(2).holds(|| through(2, 3, Reading::Drain));
}

#[test]
fn segments_of_two_lose_nothing() {
    Model::bound(2).holds(|| through(4, 5, Reading::Poll));
}

#[test]
fn a_parked_reader_is_woken() {
    Model::bound(4).holds(one_value);
}

#[test]
fn a_reader_that_is_drowsy_already_is_woken() {
    Model::bound(4).holds(one_value_for_a_drowsy_reader);
}

#[test]
fn a_batch_loses_nothing() {
    Model::bound(2).holds(|| a_batch(2, 3));
}

#[test]
fn a_batch_in_segments_of_two_loses_nothing() {
    Model::bound(2).holds(|| a_batch(4, 5));
}

#[test]
fn a_parked_sender_is_woken() {
    Model::bound(4).holds(|| room(1));
}

#[test]
fn a_parked_sender_of_a_ring_of_two_is_woken() {
    Model::bound(3).holds(|| room(2));
}

#[test]
fn a_full_ring_goes_on() {
    Model::bound(3).holds(|| a_full_ring(1));
}

#[test]
fn a_stream_needs_no_fences() {
    Model::bound(3).holds_with(without_fences!(), || without_parking(1, 3, false));
    Model::bound(2).holds_with(without_fences!(), || without_parking(2, 4, false));
    Model::bound(3).holds_with(without_fences!(), || without_parking(4, 4, true));
}

#[test]
fn a_value_has_to_be_published() {
    Model::bound(2).because(Why::Race).fails_with(
        without_fences!("tail_is_published_relaxed"),
        || {
            without_parking(1, 3, false);
        },
    );
}

#[test]
fn a_batch_has_to_be_published() {
    Model::bound(2).because(Why::Race).fails_with(
        without_fences!("tail_is_published_relaxed"),
        || {
            without_parking(4, 4, true);
        },
    );
}

#[test]
fn a_slot_has_to_be_given_back() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with(without_fences!("reader_stops_relaxed"), || {
            without_parking(1, 3, false);
        });
}

#[test]
fn a_long_drain_gives_slots_back() {
    Model::bound(3).holds_with(without_fences!(), a_long_drain);
}

#[test]
fn a_slot_has_to_be_given_back_in_a_long_drain() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with(without_fences!("slots_are_freed_relaxed"), a_long_drain);
}

#[test]
fn a_pin_must_not_hide_that_slots_are_free() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with(without_fences!("pin_is_stored_relaxed"), || {
            without_parking(2, 4, false);
        });
}

#[test]
fn a_sender_has_to_look_for_drowsy_readers_in_order() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("sender_publishes_without_light_fence", one_value);
}

#[test]
fn a_sender_has_to_look_for_parked_readers_in_order() {
    let both = "sender_publishes_without_light_fence sender_rouses_without_fence";
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with(both, one_value_for_a_drowsy_reader);
}

/// The order of the light fence is needed only while a reader becomes drowsy.
#[test]
fn a_drowsy_reader_needs_no_light_fence() {
    Model::bound(4).holds_with(
        "sender_publishes_without_light_fence",
        one_value_for_a_drowsy_reader,
    );
}

#[test]
fn a_reader_has_to_fence_before_it_parks() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("list_is_joined_without_fence", one_value);
}

#[test]
fn a_reader_that_is_drowsy_has_to_fence_before_it_parks() {
    let both = "list_is_joined_without_fence reader_grows_drowsy_without_heavy_fence";
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with(both, one_value_for_a_drowsy_reader);
}

#[test]
fn a_close_wakes_a_parked_reader() {
    Model::bound(4).holds(a_close);
}

#[test]
fn a_close_has_to_look_for_parked_readers_in_order() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("end_looks_for_readers_without_fence", a_close);
}

#[test]
fn readers_that_are_woken_together_wait_again() {
    Model::bound(2).holds(two_readers);
}

#[test]
fn a_reader_that_was_woken_must_not_take_another_one_out_of_the_list() {
    Model::bound(2)
        .because(Why::Says("index out of bounds"))
        .fails_with("place_of_an_earlier_round_is_left", two_readers);
}

#[test]
fn a_reader_has_to_look_for_senders_in_order() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("reader_moves_without_light_fence", || room(1));
}

#[test]
fn a_sender_has_to_fence_before_it_parks() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("sender_parks_without_heavy_fence", || room(1));
}

/// The queue's own fence is for readers.
#[test]
fn a_sender_needs_no_other_fence_to_park() {
    Model::bound(4).holds_with("waiter_joins_without_fence", || room(1));
}

#[test]
fn a_reader_can_be_handed_over() {
    Model::bound(3).holds(a_reader_that_is_handed_over);
}

#[test]
fn the_reading_thread_must_be_loaded_after_the_pin() {
    Model::bound(2)
        .because(Why::Says("a send from inside a handler"))
        .fails_with(
            "reading_thread_is_looked_at_before_the_pin",
            a_reader_that_is_handed_over,
        );
}
