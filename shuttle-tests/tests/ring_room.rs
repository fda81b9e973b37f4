//! Senders that wait for room in a ring, of which some give up: each of the others goes on once
//! there is room.
//!
//! Programs: senders that wait without limit, give up at once (also inside a lossy reader's
//! handler) or at a deadline; sends on a feed that the ring is subscribed to, by threads, and by
//! futures that are polled once and kept, or dropped; two strict readers that read a part at a
//! time. Rings of 1, 2 and 4 slots.
//!
//! A sender that is forgotten waits for ever, which is a deadlock. Where there are no futures, no
//! timer fires.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release --test ring_room
//! ```
#![cfg(fanfeed_shuttle)]

use std::future::Future;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use fanfeed::{Feed, RingFeed, ring};
use fanfeed_shuttle_tests::{Schedules, Why};
use shuttle::thread::{self, JoinHandle};

fn full(capacity: usize) -> (RingFeed<u32>, [ring::Receiver<u32>; 2]) {
    let ring = RingFeed::new(capacity).unwrap();
    let readers = [(); 2].map(|()| ring.subscribe());
    for number in 0..ring.capacity() as u32 {
        ring.send(number);
    }
    (ring, readers)
}

/// A sender that waits for as long as it takes.
fn send(ring: &RingFeed<u32>) -> JoinHandle<()> {
    let ring = ring.clone();
    thread::spawn(move || {
        ring.send(100);
    })
}

/// A reader that reads these parts, each in one go, if they are there.
fn read<const N: usize>(
    mut reader: ring::Receiver<u32>,
    parts: [usize; N],
) -> JoinHandle<ring::Receiver<u32>> {
    thread::spawn(move || {
        for part in parts {
            let _ = reader.drain_up_to(part, |_| {});
        }
        reader
    })
}

/// Takes the remaining values, which makes room for every sender that still waits.
fn read_the_rest(readers: [JoinHandle<ring::Receiver<u32>>; 2]) -> [ring::Receiver<u32>; 2] {
    readers.map(|reader| {
        let mut reader = reader.join().unwrap();
        let _ = reader.drain(|_| {});
        reader
    })
}

/// Beside a sender that waits, one inside a lossy reader's handler looks, and gives up at once.
fn one_gives_up_in_a_handler() {
    let (ring, [one, other]) = full(4);
    let options = ring.subscriber().overflow(ring::Overflow::DropOldest);
    let mut lossy = options.subscribe();
    for _ in 0..4 {
        let _ = ring.try_send(9);
    }
    let sender = send(&ring);
    let readers = [read(one, [1]), read(other, [usize::MAX])];
    let _ = lossy.drain_up_to(1, |_| {
        let _ = ring.send_deadline(200, Instant::now());
    });
    let _ = lossy.drain_up_to(1, |_| {
        let _ = ring.send_deadline(201, Instant::now());
    });
    let readers = read_the_rest(readers);
    let _ = lossy.drain(|_| {});
    sender.join().unwrap();
    drop(readers);
}

/// One waits for two readers, of which the one that was in the way has gone on by the time that it
/// is named.
fn one_waits() {
    let (ring, [one, other]) = full(2);
    let sender = send(&ring);
    let readers = [read(one, [1]), read(other, [1])];
    sender.join().unwrap();
    drop(readers.map(|reader| reader.join().unwrap()));
}

/// Three stand in line, for two readers that take turns at being in the way.
fn a_line(capacity: usize) {
    let (ring, [one, other]) = full(capacity);
    let senders = [(); 3].map(|()| send(&ring));
    let readers = [read(one, [1, 1]), read(other, [1, 1])];
    let mut readers = read_the_rest(readers);
    // Each of them sent one: some have gone, and for the others room is made one by one.
    for _ in 0..3 {
        for reader in &mut readers {
            let _ = reader.drain(|_| {});
        }
        thread::yield_now();
    }
    drop(readers);
    for sender in senders {
        sender.join().unwrap();
    }
}

/// Two readers empty a full ring, and nothing else happens: there is room for all three senders,
/// whichever comes first.
fn room_for_all() {
    let (ring, [one, other]) = full(4);
    let senders = [(); 3].map(|()| send(&ring));
    let readers = [one, other].map(|reader| read(reader, [2, 2]));
    let readers = read_the_rest(readers);
    for sender in senders {
        sender.join().unwrap();
    }
    drop(readers);
}

/// One of those in line gives up when its time is up, and another waits on.
fn one_gives_up_in_line(capacity: usize) {
    let (ring, [one, other]) = full(capacity);
    let quitter = {
        let ring = ring.clone();
        thread::spawn(move || ring.send_timeout(7, Duration::from_millis(1)).is_ok())
    };
    let sender = send(&ring);
    let readers = [read(one, [1, 1]), read(other, [1])];
    let mut readers = read_the_rest(readers);
    quitter.join().unwrap();
    for reader in &mut readers {
        let _ = reader.drain(|_| {});
    }
    sender.join().unwrap();
    drop(readers);
}

/// Futures of a feed that carries to the ring stand in line: they are polled once, and dropped, or
/// kept and never polled again.
fn futures(are_kept: bool) {
    let (ring, [one, other]) = full(2);
    let feed = Feed::new();
    let subscription = feed.subscribe(ring.clone());
    let kept = {
        let feed = feed.clone();
        thread::spawn(move || {
            let mut futures = [5, 6].map(|number| Box::pin(feed.send_async(number)));
            let mut context = Context::from_waker(Waker::noop());
            for future in &mut futures {
                let _ = future.as_mut().poll(&mut context);
            }
            thread::yield_now();
            are_kept.then_some(futures)
        })
    };
    let sender = send(&ring);
    let feeder = thread::spawn(move || feed.send(8));
    let readers = [read(one, [1, 1]), read(other, [2])];
    let mut readers = read_the_rest(readers);
    let kept = kept.join().unwrap();
    for _ in 0..2 {
        for reader in &mut readers {
            let _ = reader.drain(|_| {});
        }
        thread::yield_now();
    }
    sender.join().unwrap();
    feeder.join().unwrap();
    drop((kept, readers, subscription));
}

#[test]
fn a_sender_is_woken_though_one_gives_up_in_a_handler() {
    Schedules::new().hold(one_gives_up_in_a_handler);
}

#[test]
fn a_sender_waits_for_one_reader_after_the_other() {
    Schedules::new().hold(one_waits);
}

#[test]
fn all_in_line_are_woken_in_turn() {
    for capacity in [1, 2] {
        Schedules::new().hold(move || a_line(capacity));
    }
}

#[test]
fn room_is_for_all_in_line() {
    Schedules::new().hold(room_for_all);
}

#[test]
fn a_sender_is_woken_though_one_gives_up_in_line() {
    for capacity in [1, 2] {
        Schedules::new()
            .with_timers()
            .hold(move || one_gives_up_in_line(capacity));
    }
}

#[test]
fn senders_are_woken_though_futures_are_not_polled_again() {
    for are_kept in [false, true] {
        Schedules::new()
            .with_timers()
            .hold(move || futures(are_kept));
    }
}

#[test]
fn mutants_of_waiting_for_room_are_found() {
    Schedules::new()
        .because(Why::Deadlock)
        .find("room_is_kept_to_oneself", room_for_all);
    Schedules::new()
        .because(Why::Deadlock)
        .find("first_in_line_does_not_watch", || a_line(1));
    Schedules::new()
        .because(Why::Deadlock)
        .find("watch_is_not_handed_on", || a_line(1));
    Schedules::new()
        .because(Why::Deadlock)
        .find("watch_ends_with_a_wake_up_in_vain", || a_line(1));
    Schedules::new()
        .because(Why::Deadlock)
        .find("name_is_not_looked_at_again", one_waits);
}
