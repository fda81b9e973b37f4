//! A ring that goes on without its lossy readers: eviction during a read, orphans, spare segments,
//! rejoining.
//!
//! Modelled: an exclusive sender that laps one or two readers which drop the oldest, while they
//! read (their handlers let other threads run) or do not; capacities 1, 2 and 4, of which the last
//! has segments of two. A `Disconnect` reader that is overtaken. Strict and lossy readers on one
//! ring, also in one segment that the strict one has left in part. Values are tokens: none changes
//! while it is read, each is dropped once, and the received and the missed values add up to those
//! that were sent. Timers do not fire. Bounds: two or three threads, two to five values, two or
//! three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models ring_eviction::
//! ```
use fanfeed::{ExclusiveRingFeed, RecvError, TryRecvError, ring};
use fanfeed_loom_tests::{Ledger, Model, Tally, Token, Why};
use loom::thread::{self, JoinHandle};

fn lossy(ring: &ExclusiveRingFeed<Token>) -> ring::Receiver<Token> {
    let options = ring.subscriber().overflow(ring::Overflow::DropOldest);
    options.subscribe()
}

/// A thread that sends the numbers from `first` on and gives the ring back.
fn send(
    mut ring: ExclusiveRingFeed<Token>,
    ledger: &Ledger,
    first: u32,
    count: u32,
) -> JoinHandle<ExclusiveRingFeed<Token>> {
    let ledger = ledger.clone();
    thread::spawn(move || {
        for number in first..first + count {
            assert_eq!(ring.send(ledger.token(number)), u64::from(number));
        }
        ring
    })
}

/// Reads what there is, and lets others run in the midst of each value.
fn read_slowly(reader: &mut ring::Receiver<Token>, tally: &mut Tally) {
    let outcome = reader.drain(|value| {
        let before = value.number();
        thread::yield_now();
        assert_eq!(value.number(), before, "a value changed while it was read");
        tally.take(value);
    });
    match outcome {
        Err(TryRecvError::Lagged(count)) => tally.miss(count),
        Err(TryRecvError::Empty) | Ok(_) => {}
        Err(end) => panic!("{end:?}"),
    }
}

/// The sender laps the reader, which takes clones.
fn lapped(capacity: usize, count: u32) {
    let ledger = Ledger::new();
    let ring = ExclusiveRingFeed::new(capacity).unwrap();
    let mut reader = lossy(&ring);
    let sender = send(ring, &ledger, 0, count);
    let mut tally = Tally::from(0);
    for _ in 0..3 {
        let _ = tally.try_recv(&mut reader);
    }
    drop(sender.join().unwrap());
    assert_eq!(tally.poll_all(&mut reader), TryRecvError::Closed);
    assert_eq!(tally.all(), u64::from(count));
    assert_eq!(reader.missed(), tally.missed);
    assert_eq!(reader.stats().dropped, tally.missed);
    drop(reader);
    ledger.assert_settled();
}

/// A thread that claims so many slots at once, twice, with numbers from `first` on, then sends one
/// more value, and gives the ring back.
fn claim(
    mut ring: ExclusiveRingFeed<Token>,
    ledger: &Ledger,
    first: u32,
    count: usize,
) -> JoinHandle<ExclusiveRingFeed<Token>> {
    let ledger = ledger.clone();
    thread::spawn(move || {
        let mut end = first;
        for _ in 0..2 {
            ring.send_batch_with(count, |_, slot| {
                *slot = ledger.token(end);
                end += 1;
            });
        }
        ring.send(ledger.token(end));
        ring
    })
}

/// The sender claims as many slots as it can while the reader reads.
fn claimed_over_while_reading(capacity: usize, before: u32) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(capacity).unwrap();
    let mut reader = lossy(&ring);
    ring.send_batch((0..before).map(|number| ledger.token(number)));
    let count = ring.max_claim();
    let sender = claim(ring, &ledger, before, count);
    let mut tally = Tally::from(0);
    for _ in 0..3 {
        read_slowly(&mut reader, &mut tally);
    }
    drop(sender.join().unwrap());
    assert_eq!(tally.poll_all(&mut reader), TryRecvError::Closed);
    assert_eq!(tally.all(), u64::from(before) + 2 * count as u64 + 1);
    drop(reader);
    ledger.assert_settled();
}

/// A reader joins while slots are claimed.
fn claimed_beside_a_join(overflow: ring::Overflow) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(4).unwrap();
    ring.send_batch((0..3).map(|number| ledger.token(number)));
    let handle = ring.handle();
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            ring.send_batch_with(2, |index, slot| *slot = ledger.token(3 + index as u32));
            ring.send(ledger.token(5));
        })
    };
    let options = handle.subscriber().overflow(overflow).history(4);
    let mut reader = options.subscribe();
    let mut tally = Tally::from_anywhere();
    assert_eq!(tally.recv_all(&mut reader), RecvError::Closed);
    if let Some(&last) = tally.values.last() {
        assert_eq!(last, 5);
    }
    if overflow == ring::Overflow::Block {
        assert_eq!(tally.missed, 0);
    }
    sender.join().unwrap();
    drop((reader, handle));
    ledger.assert_settled();
}

/// The sender waits until there is room for all, which a reader leaves place by place.
fn claimed_behind_a_strict_reader() {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    ring.send_batch((0..2).map(|number| ledger.token(number)));
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            ring.send_batch_with(2, |index, slot| *slot = ledger.token(2 + index as u32));
            ring
        })
    };
    let mut tally = Tally::from(0);
    for _ in 0..2 {
        tally.try_recv(&mut reader).unwrap();
    }
    let ring = sender.join().unwrap();
    for _ in 0..2 {
        tally.try_recv(&mut reader).unwrap();
    }
    drop((ring, reader));
    ledger.assert_settled();
}

/// The sender laps the reader while it reads.
fn lapped_while_reading(capacity: usize, count: u32) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(capacity).unwrap();
    let mut reader = lossy(&ring);
    let full = capacity as u32;
    ring.send_batch((0..full).map(|number| ledger.token(number)));
    let sender = send(ring, &ledger, full, count);
    let mut tally = Tally::from(0);
    for _ in 0..2 {
        read_slowly(&mut reader, &mut tally);
    }
    drop(sender.join().unwrap());
    assert_eq!(tally.poll_all(&mut reader), TryRecvError::Closed);
    assert_eq!(tally.all(), u64::from(full + count));
    drop(reader);
    ledger.assert_settled();
}

/// Two readers, which may be in the same segment, and in two that were taken from them.
fn two_readers(reads: usize, count: u32) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(1).unwrap();
    let (mut one, mut other) = (lossy(&ring), lossy(&ring));
    ring.send(ledger.token(0));
    let sender = send(ring, &ledger, 1, count);
    let reading = thread::spawn(move || {
        let mut tally = Tally::from(0);
        read_slowly(&mut other, &mut tally);
        (other, tally)
    });
    let mut tally = Tally::from(0);
    for _ in 0..reads {
        read_slowly(&mut one, &mut tally);
    }
    let (mut other, mut other_tally) = reading.join().unwrap();
    drop(sender.join().unwrap());
    for (reader, tally) in [(&mut one, &mut tally), (&mut other, &mut other_tally)] {
        assert_eq!(tally.poll_all(reader), TryRecvError::Closed);
        assert_eq!(tally.all(), u64::from(count) + 1);
    }
    drop((one, other));
    ledger.assert_settled();
}

/// The reader parks.
fn lapped_and_parked(capacity: usize, count: u32) {
    let ledger = Ledger::new();
    let ring = ExclusiveRingFeed::new(capacity).unwrap();
    let mut reader = lossy(&ring);
    let sender = send(ring, &ledger, 0, count);
    let mut tally = Tally::from(0);
    while tally.all() < u64::from(count) {
        tally.recv(&mut reader).unwrap();
    }
    drop((sender.join().unwrap(), reader));
    ledger.assert_settled();
}

/// The reader ends where it is overtaken; until then it misses nothing.
fn disconnected(capacity: usize, count: u32) {
    let ledger = Ledger::new();
    let ring = ExclusiveRingFeed::new(capacity).unwrap();
    let options = ring.subscriber().overflow(ring::Overflow::Disconnect);
    let mut reader = options.subscribe();
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || drop(send_all(ring, &ledger, count)))
    };
    let mut tally = Tally::from(0);
    let end = tally.recv_all(&mut reader);
    sender.join().unwrap();
    let received = tally.values.len() as u32;
    assert_eq!(end == RecvError::Overflowed, received < count);
    assert_eq!(tally.missed, 0);
    assert_eq!(
        reader.subscription().err().try_recv().is_ok(),
        end == RecvError::Overflowed
    );
    drop(reader);
    ledger.assert_settled();
}

fn send_all(
    mut ring: ExclusiveRingFeed<Token>,
    ledger: &Ledger,
    count: u32,
) -> ExclusiveRingFeed<Token> {
    for number in 0..count {
        ring.send(ledger.token(number));
    }
    ring
}

/// A strict reader, a lossy one, and a sender that waits for the first and not for the second.
fn mixed(capacity: usize, count: u32) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(capacity).unwrap();
    let mut strict = ring.subscribe();
    let mut late = lossy(&ring);
    ring.send(ledger.token(0));
    let sender = send(ring, &ledger, 1, count);
    let reading = thread::spawn(move || {
        let mut tally = Tally::from(0);
        read_slowly(&mut late, &mut tally);
        (late, tally)
    });
    let mut tally = Tally::from(0);
    while tally.values.len() < count as usize + 1 {
        tally.recv(&mut strict).unwrap();
    }
    let (mut late, mut late_tally) = reading.join().unwrap();
    drop(sender.join().unwrap());
    assert_eq!(late_tally.poll_all(&mut late), TryRecvError::Closed);
    assert_eq!(late_tally.all(), u64::from(count) + 1);
    drop((strict, late));
    ledger.assert_settled();
}

/// A strict reader has left a part of a segment, in which a lossy one reads. The sender may fill
/// that part.
fn in_part(count: u32) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(4).unwrap();
    let mut strict = ring.subscribe();
    let mut late = lossy(&ring);
    ring.send_batch((0..4).map(|number| ledger.token(number)));
    let mut tally = Tally::from(0);
    tally.try_recv(&mut strict).unwrap();
    let reading = thread::spawn(move || {
        let mut tally = Tally::from(0);
        read_slowly(&mut late, &mut tally);
        (late, tally)
    });
    let sent = ring.try_send(ledger.token(4));
    assert!(sent.is_ok(), "the lossy reader holds the sender");
    let sender = send(ring, &ledger, 5, count);
    while tally.values.len() < count as usize + 5 {
        tally.recv(&mut strict).unwrap();
    }
    let (mut late, mut late_tally) = reading.join().unwrap();
    drop(sender.join().unwrap());
    assert_eq!(late_tally.poll_all(&mut late), TryRecvError::Closed);
    assert_eq!(late_tally.all(), u64::from(count) + 5);
    drop((strict, late));
    ledger.assert_settled();
}

/// As `in_part`, of numbers: a reader that finds another memory in place of its values does not
/// crash.
fn in_part_of_numbers() {
    let mut ring = ExclusiveRingFeed::new(4).unwrap();
    let mut strict = ring.subscribe();
    let options = ring.subscriber().overflow(ring::Overflow::DropOldest);
    let mut late = options.subscribe();
    ring.send_batch(100..104);
    assert_eq!(strict.try_recv(), Ok(100));
    let reading = thread::spawn(move || {
        let _ = late.try_recv();
        late
    });
    assert_eq!(ring.send(104), 4);
    let rest: Vec<u32> = strict.iter().take(4).collect();
    assert_eq!(
        rest,
        [101, 102, 103, 104],
        "a strict reader reads something else"
    );
    drop((reading.join().unwrap(), strict, ring));
}

/// A reader that is cut off while it reads what the ring goes on without.
fn unsubscribed_while_lapped() {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(1).unwrap();
    let (mut reader, subscription) = lossy(&ring).split();
    ring.send(ledger.token(0));
    let sender = send(ring, &ledger, 1, 2);
    let canceller = thread::spawn(move || subscription.unsubscribe());
    let mut tally = Tally::from(0);
    let outcome = reader.drain(|value| {
        thread::yield_now();
        tally.take(value);
    });
    assert!(matches!(
        outcome,
        Ok(1) | Err(TryRecvError::Lagged(_) | TryRecvError::Closed)
    ));
    canceller.join().unwrap();
    assert!(matches!(
        reader.drain(|_| panic!("a value came after the end")),
        Err(TryRecvError::Lagged(_) | TryRecvError::Closed)
    ));
    drop((sender.join().unwrap(), reader));
    ledger.assert_settled();
}

/// The ring is gone, and a reader has its last values.
fn a_reader_that_outlives_the_ring() {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(2).unwrap();
    let mut reader = lossy(&ring);
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            ring.send_batch((0..3).map(|number| ledger.token(number)));
        })
    };
    let mut tally = Tally::from(0);
    read_slowly(&mut reader, &mut tally);
    sender.join().unwrap();
    drop(reader);
    ledger.assert_settled();
}

#[test]
fn slots_are_claimed_where_a_reader_reads() {
    Model::bound(3).holds(|| claimed_over_while_reading(2, 1));
    Model::bound(3).holds(|| claimed_over_while_reading(4, 3));
}

#[test]
fn readers_join_while_slots_are_claimed() {
    Model::bound(1).holds(|| claimed_beside_a_join(ring::Overflow::Block));
    Model::bound(2).holds(|| claimed_beside_a_join(ring::Overflow::DropOldest));
}

#[test]
fn a_claim_waits_for_a_reader_to_leave_room_for_all() {
    Model::bound(2).holds(claimed_behind_a_strict_reader);
}

#[test]
fn a_ring_of_one_goes_on_without_its_reader() {
    Model::bound(3).holds(|| lapped(1, 3));
}

#[test]
fn a_ring_of_two_goes_on_without_its_reader() {
    Model::bound(3).holds(|| lapped(2, 4));
}

#[test]
fn a_ring_of_four_goes_on_without_its_reader() {
    Model::bound(2).holds(|| lapped(4, 7));
}

#[test]
fn a_value_stays_while_it_is_read() {
    Model::bound(3).holds(|| lapped_while_reading(1, 2));
}

#[test]
fn an_orphan_rejoins_where_values_still_are() {
    Model::bound(2).holds(|| lapped_while_reading(1, 3));
}

#[test]
fn a_segment_stays_while_it_is_read() {
    Model::bound(4).holds(|| lapped_while_reading(4, 3));
}

#[test]
fn two_readers_keep_a_segment_each() {
    Model::bound(2).holds(|| two_readers(2, 2));
}

#[test]
fn a_parked_reader_is_told_what_it_missed() {
    Model::bound(2).holds(|| lapped_and_parked(1, 2));
}

#[test]
fn a_reader_that_disconnects_ends_where_it_is_overtaken() {
    Model::bound(2).holds(|| disconnected(1, 2));
}

#[test]
fn strict_and_lossy_readers_share_a_ring() {
    Model::bound(2).holds(|| mixed(1, 1));
}

#[test]
fn a_lossy_reader_holds_no_sender_that_fills_a_part_of_its_segment() {
    let model = Model::bound(6).few("one value is sent while one is read");
    model.holds(|| in_part(0));
}

#[test]
fn a_segment_that_was_left_in_part_is_passed_and_given_back() {
    Model::bound(1).holds(|| in_part(2));
}

#[test]
fn a_segment_that_was_left_in_part_has_to_stay_for_strict_readers() {
    Model::bound(1)
        .because(Why::Says("a strict reader reads something else"))
        .fails_with("left_segment_is_given_back_unpassed", in_part_of_numbers);
}

#[test]
fn a_reader_is_cut_off_while_it_is_lapped() {
    Model::bound(2).holds(unsubscribed_while_lapped);
}

#[test]
fn a_reader_outlives_the_ring() {
    Model::bound(4).holds(a_reader_that_outlives_the_ring);
}

#[test]
fn an_orphan_has_to_look_where_it_rejoins() {
    Model::bound(2)
        .because(Why::Says("out of order"))
        .fails_with("orphan_rejoins_without_a_look", || {
            lapped_while_reading(1, 2);
        });
}

#[test]
fn an_orphan_has_to_look_again_where_it_has_moved_up() {
    Model::bound(2)
        .because(Why::Says("out of order"))
        .fails_with("orphan_rejoins_after_one_look", || {
            lapped_while_reading(1, 3);
        });
}

#[test]
fn a_lossy_reader_has_to_leave_in_order() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("lossy_reader_leaves_relaxed", unsubscribed_while_lapped);
}

#[test]
fn the_last_orphan_has_to_give_the_segment_back() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("any_orphan_gives_the_segment_back", || two_readers(2, 2));
}
