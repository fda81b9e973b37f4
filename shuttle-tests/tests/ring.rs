//! A ring with several senders, and readers of every kind: one order, conservation, and no waiter
//! forgotten.
//!
//! Programs: threads that send one by one, in batches, in place, or not at all if there is no room;
//! readers that wait or poll, of which some lag, some are disconnected, some join late and some
//! leave; a close in the middle of a send; the ring of one sender. Rings of 1, 2, 4 and 8 slots,
//! over several laps.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release --test ring
//! ```
#![cfg(fanfeed_shuttle)]

use std::time::Duration;

use fanfeed::{ExclusiveRingFeed, RecvError, RingFeed, TryRecvError, TrySendError, ring};
use fanfeed_shuttle_tests::{Ledger, Order, Schedules, Stream, Token, Why};
use shuttle::thread::{self, JoinHandle};

/// A thread with a ring, and the books.
fn spawn<R: Send + 'static>(
    ring: &RingFeed<Token>,
    ledger: &Ledger,
    order: &Order,
    f: impl FnOnce(RingFeed<Token>, Ledger, Order) -> R + Send + 'static,
) -> JoinHandle<R> {
    let (ring, ledger, order) = (ring.clone(), ledger.clone(), order.clone());
    thread::spawn(move || f(ring, ledger, order))
}

fn reader(ring: &RingFeed<Token>, overflow: ring::Overflow) -> ring::Receiver<Token> {
    ring.subscriber().overflow(overflow).subscribe()
}

/// Sends these one by one.
fn send(numbers: [u32; 3]) -> impl FnOnce(RingFeed<Token>, Ledger, Order) + Send {
    move |ring, ledger, order| {
        for number in numbers {
            order.told(ring.send(ledger.token(number)), [number]);
        }
    }
}

/// Sends these in one go. Returns where the batch ends; those of a batch need not stand together.
fn send_batch(numbers: [u32; 3]) -> impl FnOnce(RingFeed<Token>, Ledger, Order) -> u64 + Send {
    move |ring, ledger, _| ring.send_batch(numbers.map(|number| ledger.token(number)))
}

/// Two that send and one that tries to, three readers that wait, and one that polls.
fn everyone(capacity: usize) {
    let (ledger, order) = (Ledger::new(), Order::new());
    let ring = RingFeed::new(capacity).unwrap();
    let mut blocking = reader(&ring, ring::Overflow::Block);
    let mut lossy = reader(&ring, ring::Overflow::DropOldest);
    let mut cut_off = reader(&ring, ring::Overflow::Disconnect);
    let mut senders = vec![
        spawn(&ring, &ledger, &order, send([10, 11, 12])),
        spawn(&ring, &ledger, &order, send([20, 21, 22])),
    ];
    senders.push(spawn(&ring, &ledger, &order, |ring, ledger, order| {
        match ring.try_send(ledger.token(30)) {
            Ok(position) => order.told(position, [30]),
            Err(error) => assert!(matches!(error, TrySendError::Full(_))),
        }
        if let Ok(position) = ring.send_timeout(ledger.token(31), Duration::ZERO) {
            order.told(position, [31]);
        }
    }));
    drop(ring);
    let lossy = thread::spawn(move || {
        let mut stream = Stream::new();
        assert_eq!(stream.drain_all(&mut lossy), RecvError::Closed);
        assert_eq!(lossy.missed(), stream.missed());
        stream
    });
    let cut_off = thread::spawn(move || {
        let mut stream = Stream::new();
        let end = stream.recv_all(&mut cut_off);
        (stream, end)
    });
    let mut stream = Stream::new();
    assert_eq!(stream.recv_all(&mut blocking), RecvError::Closed);
    drop(blocking);
    for sender in senders {
        sender.join().unwrap();
    }
    order.assert_is(&stream);
    assert_eq!(stream.missed(), 0);
    let lossy = lossy.join().unwrap();
    assert_eq!(
        lossy.values().len() as u64 + lossy.missed(),
        order.count() as u64
    );
    order.assert_has(&lossy);
    let (stream, end) = cut_off.join().unwrap();
    assert_eq!(stream.missed(), 0);
    match end {
        RecvError::Closed => order.assert_is(&stream),
        end => {
            assert_eq!(end, RecvError::Overflowed);
            assert_eq!(order.assert_has(&stream).0.unwrap_or(0), 0);
        }
    }
    ledger.assert_settled();
}

/// Lossy readers hold values while senders go round the ring; one of them leaves, and one comes.
fn overtaken(capacity: usize) {
    let (ledger, order) = (Ledger::new(), Order::new());
    let ring = RingFeed::new(capacity).unwrap();
    let readers = [(); 3].map(|()| reader(&ring, ring::Overflow::DropOldest));
    let senders =
        [[10, 11, 12], [20, 21, 22]].map(|numbers| spawn(&ring, &ledger, &order, send(numbers)));
    let late = spawn(&ring, &ledger, &order, |ring, _, _| {
        let options = ring.subscriber().overflow(ring::Overflow::DropOldest);
        let mut reader = options.history(2).subscribe();
        let mut stream = Stream::new();
        let _ = stream.drain(&mut reader);
        stream
    });
    drop(ring);
    let mut index = 0;
    let readers = readers.map(|mut reader| {
        index += 1;
        let leaves = index == 1;
        thread::spawn(move || {
            let mut stream = Stream::new();
            if leaves {
                let _ = stream.drain(&mut reader);
            } else {
                assert_eq!(stream.drain_all(&mut reader), RecvError::Closed);
            }
            (stream, leaves)
        })
    });
    for sender in senders {
        sender.join().unwrap();
    }
    for reader in readers {
        let (stream, leaves) = reader.join().unwrap();
        order.assert_has(&stream);
        if !leaves {
            assert_eq!(stream.values().len() as u64 + stream.missed(), 6);
        }
    }
    order.assert_has(&late.join().unwrap());
    ledger.assert_settled();
}

/// Beside a reader that reads everything, two readers join with what the ring still holds, read a
/// little, and leave.
fn visitors(capacity: usize) {
    let (ledger, order) = (Ledger::new(), Order::new());
    let ring = RingFeed::new(capacity).unwrap();
    let mut resident = ring.subscribe();
    let senders =
        [[10, 11, 12], [20, 21, 22]].map(|numbers| spawn(&ring, &ledger, &order, send(numbers)));
    let visitors = [ring::Overflow::Block, ring::Overflow::DropOldest].map(|overflow| {
        spawn(&ring, &ledger, &order, move |ring, _, _| {
            let streams = [0, u64::MAX].map(|history| {
                let options = ring.subscriber().overflow(overflow).history(history);
                let (mut reader, subscription) = options.subscribe().split();
                assert_ne!(ring.subscriber_count(), 0);
                let mut stream = Stream::new();
                let _ = stream.drain(&mut reader);
                subscription.unsubscribe();
                assert_eq!(reader.try_recv().unwrap_err(), TryRecvError::Closed);
                stream
            });
            (overflow, streams)
        })
    });
    drop(ring);
    let mut stream = Stream::new();
    assert_eq!(stream.drain_all(&mut resident), RecvError::Closed);
    drop(resident);
    for sender in senders {
        sender.join().unwrap();
    }
    order.assert_is(&stream);
    for visitor in visitors {
        let (overflow, streams) = visitor.join().unwrap();
        for stream in streams {
            order.assert_has(&stream);
            assert!(overflow == ring::Overflow::DropOldest || stream.missed() == 0);
        }
    }
    ledger.assert_settled();
}

/// The ring ends beside senders and readers: every value sent before that arrives.
fn a_close() {
    let (ledger, order) = (Ledger::new(), Order::new());
    let ring = RingFeed::new(2).unwrap();
    let readers = [(); 2].map(|()| reader(&ring, ring::Overflow::Block));
    let senders = [[10, 11, 12], [20, 21, 22]].map(|numbers| {
        spawn(&ring, &ledger, &order, move |ring, ledger, order| {
            for number in numbers {
                match ring.send_deadline(ledger.token(number), std::time::Instant::now()) {
                    Ok(position) => order.told(position, [number]),
                    Err(TrySendError::Full(_)) => thread::yield_now(),
                    Err(TrySendError::Closed(_)) => assert!(ring.is_closed()),
                }
            }
        })
    });
    let closer = spawn(&ring, &ledger, &order, |ring, _, _| ring.close());
    drop(ring);
    let readers = readers.map(|mut reader| {
        thread::spawn(move || {
            let mut stream = Stream::new();
            assert_eq!(stream.recv_all(&mut reader), RecvError::Closed);
            stream
        })
    });
    for sender in senders {
        sender.join().unwrap();
    }
    closer.join().unwrap();
    for reader in readers {
        order.assert_is(&reader.join().unwrap());
    }
    ledger.assert_settled();
}

/// Senders that wait in a full ring are released by its end, and by readers that leave.
fn releases(closes: bool) {
    let (ledger, order) = (Ledger::new(), Order::new());
    let ring = RingFeed::new(1).unwrap();
    let (reader, other) = (ring.subscribe(), ring.subscribe());
    let senders = [[10, 11, 12], [20, 21, 22]]
        .map(|numbers| spawn(&ring, &ledger, &order, send_batch(numbers)));
    let leaver = thread::spawn(move || drop(other));
    if closes {
        ring.close();
    } else {
        reader.subscription().unsubscribe();
    }
    for sender in senders {
        sender.join().unwrap();
    }
    leaver.join().unwrap();
    drop((ring, reader));
    ledger.assert_settled();
}

/// Two send into a full ring, which two readers empty before they do anything else: there is room
/// for both, and nobody else to wake them.
fn room_for_all() {
    let ring = RingFeed::new(2).unwrap();
    let readers = [(); 2].map(|()| ring.subscribe());
    ring.send_batch([0, 1]);
    let senders = [2, 3].map(|value| {
        let ring = ring.clone();
        thread::spawn(move || ring.send(value))
    });
    let readers = readers.map(|mut reader| {
        thread::spawn(move || {
            assert_eq!([reader.recv(), reader.recv()], [Ok(0), Ok(1)]);
            reader
        })
    });
    let mut positions = senders.map(|sender| sender.join().unwrap());
    positions.sort_unstable();
    assert_eq!(positions, [2, 3]);
    for reader in readers {
        assert_eq!(reader.join().unwrap().lag(), 2);
    }
}

/// Three batches at once, of which each comes in its order.
fn batches(capacity: usize) {
    let (ledger, order) = (Ledger::new(), Order::new());
    let ring = RingFeed::new(capacity).unwrap();
    let mut readers = [(); 2].map(|()| reader(&ring, ring::Overflow::Block));
    let senders = [[10, 11, 12], [20, 21, 22], [30, 31, 32]]
        .map(|numbers| spawn(&ring, &ledger, &order, send_batch(numbers)));
    drop(ring);
    let [one, other] = &mut readers;
    let mut stream = Stream::new();
    let mut second = Stream::new();
    // One thread for both: neither must keep the other from what is there.
    while stream.recv(one).is_ok() {
        let _ = second.drain(other);
    }
    assert_eq!(second.recv_all(other), RecvError::Closed);
    let values = stream.values();
    assert_eq!(values, second.values());
    assert_eq!(values.len(), 9);
    for sender in 1..=3 {
        assert!(
            values
                .iter()
                .filter(|&&value| value / 10 == sender)
                .is_sorted()
        );
    }
    for (sender, last) in senders.into_iter().zip([12, 22, 32]) {
        let end = sender.join().unwrap() as usize;
        assert_eq!(values[end - 1], last, "the batch ends elsewhere");
    }
    drop(readers);
    ledger.assert_settled();
}

/// A reader that joins begins at what was claimed, and the tail is behind that until somebody moves
/// it. While this reader looks, another one moves the tail, and not as far.
fn ahead_of_the_tail() {
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
    });
    let mut ahead = ring.subscribe();
    if ring.position() < 2 {
        // What is claimed after it joined is for it.
        assert!(ahead.recv().is_ok());
    }
    sender.join().unwrap();
    follower.join().unwrap();
}

/// One sender of its own, readers of all kinds, and one that comes late.
fn exclusive(capacity: usize) {
    let ledger = Ledger::new();
    let mut ring = ExclusiveRingFeed::new(capacity).unwrap();
    let handle = ring.handle();
    let readers = [
        ring::Overflow::Block,
        ring::Overflow::Block,
        ring::Overflow::DropOldest,
        ring::Overflow::Disconnect,
    ]
    .map(|overflow| {
        let mut reader = ring.subscriber().overflow(overflow).subscribe();
        thread::spawn(move || {
            let mut stream = Stream::new();
            let end = stream.drain_all(&mut reader);
            (overflow, stream, end)
        })
    });
    let late = thread::spawn(move || {
        let mut reader = handle.subscriber().history(2).subscribe();
        drop(handle);
        let mut stream = Stream::new();
        let end = stream.recv_all(&mut reader);
        (ring::Overflow::Block, stream, end)
    });
    let order = Order::new();
    for number in 0..3 {
        order.told(ring.send(ledger.token(number)), [number]);
    }
    ring.send_batch((3..6).map(|number| ledger.token(number)));
    order.told(3, 3..6);
    if let Ok(position) = ring.try_send(ledger.token(6)) {
        order.told(position, [6]);
    }
    drop(ring);
    for reader in readers {
        let (overflow, stream, end) = reader.join().unwrap();
        match overflow {
            ring::Overflow::Block => order.assert_is(&stream),
            ring::Overflow::DropOldest => {
                let all = stream.values().len() as u64 + stream.missed();
                assert_eq!(all, order.count() as u64);
                order.assert_has(&stream);
            }
            ring::Overflow::Disconnect => {
                assert_eq!(order.assert_has(&stream).0.unwrap_or(0), 0);
                assert!(end == RecvError::Overflowed || stream.values().len() == order.count());
            }
        }
    }
    let (_, stream, end) = late.join().unwrap();
    assert_eq!((stream.missed(), end), (0, RecvError::Closed));
    if let (Some(_), end) = order.assert_has(&stream) {
        assert_eq!(end, order.count() as u64);
    }
    ledger.assert_settled();
}

#[test]
fn all_readers_see_one_order_in_a_ring_of_one() {
    Schedules::new().hold(|| everyone(1));
}

#[test]
fn all_readers_see_one_order_in_a_larger_ring() {
    Schedules::new().hold(|| everyone(4));
}

#[test]
fn lossy_readers_keep_what_they_read_in_a_small_ring() {
    Schedules::new().hold(|| overtaken(2));
}

#[test]
fn lossy_readers_keep_what_they_read() {
    Schedules::new().hold(|| overtaken(4));
}

#[test]
fn readers_come_and_go_in_a_small_ring() {
    Schedules::new().hold(|| visitors(2));
}

#[test]
fn readers_come_and_go() {
    Schedules::new().hold(|| visitors(8));
}

#[test]
fn a_close_loses_nothing_that_was_sent() {
    Schedules::new().hold(a_close);
}

#[test]
fn a_close_releases_senders() {
    Schedules::new().hold(|| releases(true));
}

#[test]
fn leaving_readers_release_senders() {
    Schedules::new().hold(|| releases(false));
}

#[test]
fn every_waiting_sender_finds_room() {
    Schedules::new().hold(room_for_all);
}

#[test]
fn batches_come_in_order_in_a_ring_of_one() {
    Schedules::new().hold(|| batches(1));
}

#[test]
fn batches_come_in_order() {
    Schedules::new().hold(|| batches(4));
}

#[test]
fn the_ring_of_one_sender_keeps_the_same_promises_with_one_place() {
    Schedules::new().hold(|| exclusive(1));
}

#[test]
fn the_ring_of_one_sender_keeps_the_same_promises() {
    Schedules::new().hold(|| exclusive(4));
}

#[test]
fn mutants_of_lossy_readers_are_found() {
    Schedules::new()
        .because(Why::SaysOneOf(&[
            "not the order",
            "values that were not dropped",
        ]))
        .find("segment_is_looked_up_after_the_pin", || overtaken(4));
    Schedules::new()
        .because(Why::Says("not the order"))
        .find("orphan_rejoins_without_a_look", || overtaken(2));
    Schedules::new()
        .because(Why::Says("right: Closed"))
        .find("misses_are_told_after_the_end", || visitors(2));
}

#[test]
fn a_reader_ahead_of_the_tail_is_woken() {
    Schedules::new().hold(ahead_of_the_tail);
}
