//! Readers that skip to the newest value.

use std::sync::Arc;
use std::thread;

use fanfeed::{RingFeed, TryRecvError, ring};

use crate::common::{join, watchdog};
use crate::{OVERFLOWS, blocked, leader_and_follower, lossy_reader, send_numbers};

#[test]
fn all_but_the_newest_value_are_passed_over() {
    for overflow in OVERFLOWS {
        with_each_sender!(64, |ring| {
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            assert_eq!(reader.skip_to_newest(), Err(TryRecvError::Empty));
            let (mut next, mut skipped) = (0, 0);
            for count in [1, 2, 9, 30, 50] {
                ring.send_batch(next..next + count);
                next += count;
                skipped += count - 1;
                assert_eq!(reader.skip_to_newest(), Ok(count - 1));
                assert_eq!(reader.skip_to_newest(), Ok(0));
                assert_eq!((reader.position(), reader.lag()), (next - 1, 1));
                assert_eq!(reader.stats().dropped, 0, "skipped is not missed");
                assert_eq!(reader.try_recv_with_position(), Ok((next - 1, next - 1)));
                assert_eq!(reader.skip_to_newest(), Err(TryRecvError::Empty));
                assert_eq!((reader.skipped(), reader.missed()), (skipped, 0));
            }
            let stats = reader.stats();
            assert_eq!((stats.delivered, stats.dropped), (next, 0));
        });
    }
}

#[test]
fn what_was_skipped_is_free_for_the_sender() {
    let _watchdog = watchdog();
    with_each_sender!(8, |ring| {
        let mut reader = ring.subscribe();
        ring.send_batch(0..8);
        let sender = blocked(reader.subscription(), move || {
            ring.send_batch(8..15);
            ring
        });
        assert_eq!(reader.skip_to_newest(), Ok(7));
        let ring = join(sender);
        assert!(reader.try_iter().eq(7..15));
        drop(ring);
        assert_eq!(reader.skip_to_newest(), Err(TryRecvError::Closed));
    });
}

#[test]
fn missed_values_are_reported_before_anything_is_skipped() {
    with_each_sender!(8, |ring| {
        let mut reader = lossy_reader(&ring.handle());
        ring.send_batch(0..20);
        assert_eq!(reader.skip_to_newest(), Err(TryRecvError::Lagged(12)));
        assert_eq!(reader.skip_to_newest(), Ok(7));
        assert_eq!((reader.skipped(), reader.missed()), (7, 12));
        // Overtaken after it has skipped.
        ring.send_batch(20..40);
        assert_eq!(reader.try_recv(), Err(TryRecvError::Lagged(13)));
        assert_eq!(reader.try_recv(), Ok(32));
        assert_eq!(reader.stats().dropped, 25);

        let builder = ring.subscriber().overflow(ring::Overflow::Disconnect);
        let mut fragile = builder.subscribe();
        ring.send_batch(0..20);
        assert_eq!(fragile.skip_to_newest(), Err(TryRecvError::Overflowed));
        assert_eq!(fragile.skipped(), 0);
    });
}

#[test]
fn nothing_is_skipped_after_an_unsubscribe() {
    for overflow in OVERFLOWS {
        with_each_sender!(8, |ring| {
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            ring.send_batch(0..5);
            reader.subscription().unsubscribe();
            assert_eq!(reader.skip_to_newest(), Err(TryRecvError::Closed));
            assert_eq!(reader.skipped(), 0);
        });
    }
}

#[test]
fn values_that_are_skipped_are_dropped_where_the_ring_drops_what_was_read() {
    let ring = RingFeed::builder(8).drop_when_read(true).build().unwrap();
    let mut reader = ring.subscribe();
    let value = Arc::new(());
    ring.send_batch([(); 5].map(|()| Arc::clone(&value)));
    assert_eq!(Arc::strong_count(&value), 6);
    assert_eq!(reader.skip_to_newest(), Ok(4));
    assert_eq!(Arc::strong_count(&value), 2);
}

#[test]
fn received_missed_and_skipped_are_together_what_was_sent() {
    let _watchdog = watchdog();
    for overflow in [ring::Overflow::Block, ring::Overflow::DropOldest] {
        with_each_sender!(64, |ring| {
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            let sender = send_numbers(ring, 50_000);
            let (mut next, mut received) = (0, 0);
            loop {
                if reader.wait().is_err() {
                    break;
                }
                match reader.skip_to_newest() {
                    Ok(skipped) => next += skipped,
                    Err(TryRecvError::Lagged(missed)) => next += missed,
                    Err(error) => panic!("{error:?}"),
                }
                match reader.try_recv_with_position() {
                    Ok(value) => {
                        assert_eq!(value, (next, next));
                        next += 1;
                        received += 1;
                    }
                    Err(TryRecvError::Lagged(missed)) => next += missed,
                    Err(error) => panic!("{error:?}"),
                }
                assert_eq!(reader.position(), next);
            }
            assert_eq!(received + reader.missed() + reader.skipped(), 50_000);
            assert!(received > 0);
            join(sender);
        });
    }
}

#[test]
fn a_follower_skips_to_what_its_leader_has_passed() {
    with_each_sender!(64, |ring| {
        let (mut leader, mut follower) = leader_and_follower(&ring.handle());
        ring.send_batch(0..10);
        assert_eq!(follower.skip_to_newest(), Err(TryRecvError::Empty));
        assert_eq!(leader.drain_up_to(6, |_| {}), Ok(6));
        assert_eq!(follower.skip_to_newest(), Ok(5));
        assert_eq!(follower.try_recv(), Ok(5));
        assert_eq!(leader.skip_to_newest(), Ok(3));
        assert_eq!(follower.skip_to_newest(), Ok(2));
        assert_eq!(follower.try_recv(), Ok(8));
        assert_eq!(follower.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn a_parked_follower_is_woken_when_its_leader_skips() {
    let _watchdog = watchdog();
    with_each_sender!(64, |ring| {
        let (mut leader, mut follower) = leader_and_follower(&ring.handle());
        ring.send_batch(0..10_u64);
        let thread = thread::spawn(move || follower.recv());
        assert_eq!(leader.skip_to_newest(), Ok(9));
        assert_eq!(join(thread), Ok(0));
    });
}
