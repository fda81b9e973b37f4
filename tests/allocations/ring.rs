//! Rings and their readers.

use std::task::Waker;
use std::time::{Duration, Instant};

use fanfeed::{Carrier as _, ExclusiveRingFeed, RingFeed, Room, ring};

use crate::{allocations, bytes};

/// Reads in every way that there is.
fn read_all(readers: &mut [ring::Receiver<u64>]) {
    for reader in readers {
        let _ = reader.try_recv();
        let _ = reader.recv_timeout(Duration::ZERO);
        let _ = reader.drain_up_to(2, |_| {});
        let _ = reader.wait_timeout(Duration::ZERO);
        let _ = reader.drain(|_| {});
        let _ = reader.try_iter().count();
    }
}

#[test]
fn sending_on_a_ring_and_reading_it_allocate_nothing() {
    let deadline = Instant::now() + Duration::from_secs(60);
    for count in [1, 8, 64, 200] {
        let mut ring = ExclusiveRingFeed::new(16).unwrap();
        let shared = RingFeed::new(16).unwrap();
        let mut readers: Vec<_> = (0..count).map(|_| ring.subscribe()).collect();
        readers.extend((0..count).map(|_| shared.subscribe()));
        // Full all the time, and overtaken again and again.
        let lossy = |builder: fanfeed::ring::SubscriberBuilder<'_, u64>| {
            let builder = builder.overflow(ring::Overflow::DropOldest);
            builder.subscribe()
        };
        let _idle = [lossy(ring.subscriber()), lossy(shared.subscriber())];
        // The first wait makes what the thread needs for waiting, and the first write in place what
        // it needs for that.
        shared.send_with(|slot| *slot = 0);
        let mut lossy = [lossy(ring.subscriber()), lossy(shared.subscriber())];
        read_all(&mut readers);
        read_all(&mut lossy);
        let allocated = allocations(|| {
            for value in 0..50 {
                ring.send(value);
                ring.try_send(value).unwrap();
                ring.send_timeout(value, Duration::MAX).unwrap();
                ring.send_deadline(value, deadline).unwrap();
                ring.send_with(|slot| *slot = value);
                ring.send_batch([value; 5]);
                ring.send_slice(&[value; 5]);
                shared.send(value);
                shared.try_send(value).unwrap();
                shared.send_timeout(value, Duration::MAX).unwrap();
                shared.send_deadline(value, deadline).unwrap();
                shared.send_with(|slot| *slot = value);
                read_all(&mut readers);
                if value % 7 == 0 {
                    read_all(&mut lossy);
                }
            }
        });
        assert_eq!(allocated, 0, "{count} readers");
    }
}

#[test]
fn a_lossy_reader_that_is_overtaken_while_it_reads_allocates_nothing() {
    let mut ring = ExclusiveRingFeed::new(16).unwrap();
    let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
    let mut reader = builder.subscribe();
    ring.send(0);
    let allocated = allocations(|| {
        for _ in 0..20 {
            let _ = reader.drain_up_to(1, |_| {
                for value in 0..50 {
                    ring.try_send(value).unwrap();
                }
            });
        }
    });
    assert_eq!(allocated, 0);
    assert!(reader.missed() > 0);
}

#[test]
fn a_batch_on_a_shared_ring_allocates_as_it_says() {
    let ring = RingFeed::new(256).unwrap();
    ring.send_batch(0..256_u64);
    assert_eq!(allocations(|| assert_eq!(ring.send_batch([1, 2]), 258)), 1);
    assert_eq!(allocations(|| assert_eq!(ring.send_batch(0..100), 358)), 1);
    let ring = RingFeed::new(256).unwrap();
    let values = || {
        (0..64)
            .map(|_| std::sync::Arc::<u64>::default())
            .collect::<Vec<_>>()
    };
    let (first_lap, later) = (values(), values());
    assert_eq!(
        allocations(|| assert_eq!(ring.send_batch(first_lap), 64)),
        1
    );
    for _ in 0..3 {
        ring.send_batch(values());
    }
    // Old values are kept until those that took their places have been published.
    let allocated = allocations(|| assert_eq!(ring.send_batch(later), 320));
    assert_eq!(allocated, 3);
}

#[test]
fn a_reader_of_a_ring_costs_at_most_264_bytes_and_a_lossy_one_an_eighth_of_the_ring_more() {
    // Seats come in lots that double; this many fill theirs.
    const READERS: usize = 1016;
    let own = size_of::<ring::Receiver<u64>>() as i64;
    for capacity in [8, 1024] {
        for overflow in [ring::Overflow::Block, ring::Overflow::DropOldest] {
            let ring = RingFeed::<u64>::new(capacity).unwrap();
            let mut readers = Vec::with_capacity(READERS);
            let subscribe = || {
                for _ in 0..READERS {
                    readers.push(ring.subscriber().overflow(overflow).subscribe());
                }
            };
            let (held, ()) = bytes(subscribe);
            let each = own + held / READERS as i64;
            let segment = match overflow {
                ring::Overflow::Block => 0,
                // Of each slot the value and a byte; and what a segment needs besides.
                _ => (capacity / 8) as i64 * 9 + 128,
            };
            assert!(
                each <= 264 + segment,
                "{each} bytes, of which {own} by itself"
            );
        }
    }
}

#[test]
fn readers_that_come_and_go_leave_nothing_behind_in_a_ring() {
    let ring = RingFeed::new(64).unwrap();
    let churn = || {
        let held: Vec<_> = (0..200)
            .map(|_| {
                let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
                (ring.subscribe(), builder.name("one of many").subscribe())
            })
            .collect();
        ring.send(1);
        drop(held);
    };
    churn();
    let (grown, ()) = bytes(|| (0..20).for_each(|_| churn()));
    assert_eq!(grown, 0);
}

#[test]
fn a_send_that_gives_up_leaves_nothing_behind_in_a_ring() {
    let ring = RingFeed::new(4).unwrap();
    let _reader = ring.subscribe();
    ring.send_batch(0..4_u64);
    let give_up = || {
        // Mostly long enough for the sender to enter the line of waiting senders.
        for _ in 0..20 {
            assert!(ring.send_timeout(4, Duration::from_micros(200)).is_err());
        }
    };
    // The line is made when somebody comes to stand in it for the first time.
    assert_eq!(ring.poll_room(Waker::noop()), Room::Waking);
    ring.forget_waker(Waker::noop());
    give_up();
    let (grown, ()) = bytes(|| (0..5).for_each(|_| give_up()));
    assert_eq!(grown, 0);
}

#[test]
fn spare_segments_of_lossy_readers_go_with_them() {
    let ring = RingFeed::new(1 << 10).unwrap();
    let mut strict = ring.subscribe();
    let options = ring.subscriber().overflow(ring::Overflow::DropOldest);
    let mut visit = |count: usize| {
        let mut readers: Vec<_> = (0..count).map(|_| options.clone().subscribe()).collect();
        for number in 0..2000_u64 {
            ring.send([number; 16]);
            let _ = strict.drain(|_| {});
        }
        // One after the other, they keep segments of their own while they read.
        for reader in &mut readers {
            let _ = reader.drain_up_to(1, |_| {
                for number in 0..2000_u64 {
                    ring.send([number; 16]);
                    let _ = strict.drain(|_| {});
                }
            });
        }
        drop(readers);
        // The sender is to be done with what it left to them.
        for number in 0..2000_u64 {
            ring.send([number; 16]);
            let _ = strict.drain(|_| {});
        }
    };
    visit(10);
    let (grown, ()) = bytes(|| visit(10));
    assert_eq!(grown, 0);
    // Nor are there more than live lossy readers.
    let (held, readers) = bytes(|| [(); 2].map(|()| options.clone().subscribe()));
    let segment = (1 << 7) * (size_of::<[u64; 16]>() as i64 + 1);
    assert!((2 * segment..3 * segment).contains(&held), "{held} bytes");
    drop(readers);
}

#[test]
fn nothing_is_left_of_a_ring_when_everything_was_dropped() {
    let run = || {
        let mut ring = ExclusiveRingFeed::new(16).unwrap();
        let shared = RingFeed::new(16).unwrap();
        let lossy = |builder: fanfeed::ring::SubscriberBuilder<'_, Vec<u64>>| {
            builder.overflow(ring::Overflow::DropOldest).subscribe()
        };
        let mut readers = Vec::new();
        for round in 0..100 {
            readers.push(lossy(ring.subscriber()));
            readers.push(lossy(shared.subscriber()));
            ring.send(vec![round]);
            shared.send_batch([vec![round], vec![round, round]]);
            ring.send_with(|values| values.push(round));
            for reader in &mut readers {
                let _ = reader.drain_up_to(1, |_| drop(ring.try_send(vec![round])));
            }
            readers.swap_remove(readers.len() / 2);
        }
        drop((ring, shared));
        readers.len()
    };
    run();
    let (held, ()) = bytes(|| (0..50).for_each(|_| assert_ne!(run(), 0)));
    assert_eq!(held, 0, "bytes");
}
