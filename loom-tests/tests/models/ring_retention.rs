//! A ring that drops values once they were read: which thread drops a value, beside readers,
//! senders and readers that join.
//!
//! Modelled: two strict readers that pass values, or a strict and a lossy one; one that leaves
//! during a send; one that joins while another reads; readers that leave a ring that has ended; a
//! shared ring that is closed during a send. Capacities 1, 2 and 4. Values are tokens: none is
//! dropped while it is read, none twice, and all values that were read are dropped before the ring
//! is. Bounds: two or three threads, one to three values, two or three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models ring_retention::
//! ```
use fanfeed::{ExclusiveRingFeed, RingFeed, ring};
use fanfeed_loom_tests::{Ledger, Model, Token, Why, without_fences};
use loom::thread;

fn ring(capacity: usize) -> ExclusiveRingFeed<Token> {
    let options = RingFeed::builder(capacity).drop_when_read(true);
    options.build_exclusive().unwrap()
}

/// Reads what there is, and lets others run in the midst of each value.
fn read(reader: &mut ring::Receiver<Token>) -> usize {
    let read = reader.drain(|value| {
        let before = value.number();
        thread::yield_now();
        assert_eq!(value.number(), before, "a value changed while it was read");
    });
    read.unwrap_or(0)
}

/// Two readers pass values at the same time. The last one drops them.
fn two_readers(overflow: ring::Overflow) {
    let ledger = Ledger::new();
    let mut ring = ring(4);
    let mut one = ring.subscribe();
    let mut other = ring.subscriber().overflow(overflow).subscribe();
    ring.send_batch((0..2).map(|number| ledger.token(number)));
    // One is behind, so the other need not look until the first has moved on.
    assert_eq!(other.drain_up_to(1, |_| {}), Ok(1));
    let reading = thread::spawn(move || {
        assert_eq!(read(&mut other), 1);
        other
    });
    assert_eq!(read(&mut one), 2);
    let other = reading.join().unwrap();
    ledger.assert_settled();
    drop((one, other, ring));
}

/// The only reader leaves while a value is sent.
fn the_last_one_leaves() {
    let ledger = Ledger::new();
    let mut ring = ring(2);
    let reader = ring.subscribe();
    let leaving = thread::spawn(move || drop(reader));
    ring.send(ledger.token(0));
    leaving.join().unwrap();
    ledger.assert_settled();
    drop(ring);
}

/// The sender goes on into slots that a reader empties.
fn a_lap() {
    let ledger = Ledger::new();
    let mut ring = ring(1);
    let mut reader = ring.subscribe();
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            for number in 0..2 {
                ring.send(ledger.token(number));
            }
            ring
        })
    };
    let mut taken = 0;
    while taken < 2 {
        reader.wait().unwrap();
        taken += read(&mut reader);
    }
    let ring = sender.join().unwrap();
    ledger.assert_settled();
    drop((reader, ring));
}

/// A reader joins, with what another one has not read yet, while that one reads it.
fn one_joins() {
    let ledger = Ledger::new();
    let mut ring = ring(2);
    let mut reader = ring.subscribe();
    ring.send(ledger.token(0));
    let reading = thread::spawn(move || {
        assert_eq!(read(&mut reader), 1);
        reader
    });
    let mut late = ring.subscriber().history(2).subscribe();
    let taken = read(&mut late);
    assert!(taken <= 1);
    let reader = reading.join().unwrap();
    ledger.assert_settled();
    drop((reader, late, ring));
}

/// Two readers leave a ring that has ended, with what they have not read.
fn both_leave() {
    let ledger = Ledger::new();
    let mut ring = ring(2);
    let [one, other] = [(); 2].map(|()| ring.subscribe());
    ring.send(ledger.token(0));
    drop(ring);
    let leaving = thread::spawn(move || drop(one));
    drop(other);
    leaving.join().unwrap();
    ledger.assert_settled();
}

/// A shared ring is closed beside a send that claims the slot of a lap before. The reader leaves
/// before that, or beside it.
fn closed_beside_a_send(reader_leaves_first: bool) {
    let ledger = Ledger::new();
    let ring = RingFeed::new(1).unwrap();
    let mut reader = ring.subscribe();
    ring.send(ledger.token(0));
    assert_eq!(read(&mut reader), 1);
    let reader = (!reader_leaves_first).then_some(reader);
    let sending = {
        let (ring, value) = (ring.clone(), ledger.token(1));
        thread::spawn(move || {
            ring.send(value);
            ring
        })
    };
    ring.close();
    drop(reader);
    let other = sending.join().unwrap();
    // Though both handles are left.
    ledger.assert_settled();
    drop((ring, other));
}

#[test]
fn the_last_of_two_readers_drops_what_both_have_read() {
    Model::bound(8).holds(|| two_readers(ring::Overflow::Block));
}

#[test]
fn a_lossy_reader_counts_too() {
    Model::bound(8).holds(|| two_readers(ring::Overflow::DropOldest));
}

#[test]
fn a_value_is_dropped_though_its_only_reader_leaves_meanwhile() {
    Model::bound(3).holds(the_last_one_leaves);
}

#[test]
fn slots_that_are_emptied_are_written_again() {
    Model::bound(2).holds(a_lap);
}

#[test]
fn a_reader_that_joins_finds_values_or_a_later_position() {
    Model::bound(3).holds(one_joins);
}

#[test]
fn a_reader_has_to_fence_before_it_looks_whether_it_was_the_last() {
    Model::bound(3)
        .because(Why::Says("values that were not dropped"))
        .fails_with(without_fences!("value_is_passed_without_fence"), || {
            two_readers(ring::Overflow::Block);
        });
}

#[test]
fn a_look_has_to_be_fenced() {
    Model::bound(3)
        .because(Why::Says("values that were not dropped"))
        .fails_with("retention_looks_without_fence", || {
            two_readers(ring::Overflow::Block);
        });
}

#[test]
fn a_look_has_to_be_repeated() {
    Model::bound(3)
        .because(Why::Says("values that were not dropped"))
        .fails_with("retention_looks_once", || {
            two_readers(ring::Overflow::Block);
        });
}

#[test]
fn readers_leave_a_ring_that_has_ended() {
    Model::bound(3).holds(both_leave);
}

#[test]
fn no_thread_drops_read_values_in_a_ring_that_is_freed() {
    Model::bound(3)
        .because(Why::Race)
        .fails_with("ring_is_freed_beside_retention", both_leave);
}

#[test]
fn a_ring_that_is_closed_beside_a_send_keeps_no_value() {
    Model::bound(8)
        .few("closing takes the gate's lock and the registry's, and a sender one atomic step before it stamps")
        .holds(|| closed_beside_a_send(true));
    Model::bound(8).holds(|| closed_beside_a_send(false));
}

#[test]
fn no_sender_passes_the_gate_of_a_closed_ring() {
    Model::bound(2)
        .because(Why::Says("a segment is used after the ring was freed"))
        .fails_with("gate_opens_after_the_end", || closed_beside_a_send(true));
}
