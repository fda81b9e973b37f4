//! Readers as subscriptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fanfeed::{
    ExclusiveRingFeed, RecvError, RingFeed, Subscription, SubscriptionScope, TryRecvError, ring,
};

use crate::common::{PATIENCE, eventually, join, watchdog};
use crate::{OVERFLOWS, blocked, send_numbers};

#[track_caller]
fn assert_closed(reader: &mut ring::Receiver<u64>) {
    for _ in 0..2 {
        assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(reader.recv(), Err(RecvError::Closed));
        assert_eq!(reader.wait(), Err(RecvError::Closed));
        assert_eq!(reader.drain(|_| {}), Err(TryRecvError::Closed));
        assert_eq!(reader.try_iter().next(), None);
        assert_eq!(reader.iter().next(), None);
        assert!(reader.recv_timeout(PATIENCE).unwrap_err().is_closed());
        assert!(reader.wait_timeout(PATIENCE).unwrap_err().is_closed());
    }
    assert_eq!(reader.lag(), 0);
    assert!(reader.is_closed());
}

#[test]
fn nothing_more_is_read_once_it_is_unsubscribed() {
    for overflow in OVERFLOWS {
        with_each_sender!(8, |ring| {
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            let errors = reader.subscription().err();
            ring.send_batch(0..8);
            assert_eq!(reader.try_recv(), Ok(0));
            assert!(!reader.subscription().is_closed());
            reader.subscription().unsubscribe();
            assert!(reader.subscription().is_closed());
            assert_eq!(ring.subscriber_count(), 0);
            // Its slots are free.
            for value in 8..30 {
                assert_eq!(ring.try_send(value), Ok(value));
            }
            assert_closed(&mut reader);
            assert!(errors.recv().is_err());
            reader.subscription().unsubscribe();
            reader.subscription().closed().wait();
        });
    }
}

#[test]
fn misses_are_not_told_once_it_is_unsubscribed() {
    let ring = RingFeed::new(8).unwrap();
    let options = ring.subscriber().overflow(ring::Overflow::DropOldest);
    let mut reader = options.subscribe();
    ring.send(0);
    let read = reader.drain(|_| {
        // Overtakes the reader, which finds out when it has read.
        ring.send_batch(1..20);
    });
    assert_eq!(read, Ok(1));
    reader.subscription().unsubscribe();
    assert_eq!(reader.wait(), Err(RecvError::Closed));
    assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(reader.missed(), 0);
}

#[test]
fn a_receiver_and_the_handle_split_from_it_each_end_the_subscription() {
    with_each_sender!(4, |ring| {
        let (reader, subscription) = ring.subscribe().split();
        assert_eq!(reader.subscription().id(), subscription.id());
        drop(reader);
        assert!(subscription.is_closed());

        let (mut reader, subscription) = ring.subscribe().split();
        ring.send(1);
        drop(subscription);
        assert_closed(&mut reader);

        let (mut reader, subscription) = ring.subscribe().split();
        subscription.detach();
        ring.send(2);
        assert_eq!(reader.try_recv(), Ok(2));
        assert_eq!(ring.subscriber_count(), 1);
    });
}

#[test]
fn unsubscribing_lets_the_blocked_sender_go_on() {
    let _watchdog = watchdog();
    with_each_sender!(4, |ring| {
        let (mut reader, subscription) = ring.subscribe().split();
        ring.send_batch(0..4);
        let sender = blocked(&subscription, move || ring.send(4));
        thread::spawn(move || subscription.unsubscribe());
        assert_eq!(join(sender), 4);
        eventually(|| reader.is_closed());
        assert_closed(&mut reader);
    });
}

#[test]
fn a_drain_under_way_goes_on_to_its_end_and_only_then_are_its_slots_free() {
    let mut ring = ExclusiveRingFeed::new(8).unwrap();
    let (mut reader, subscription) = ring.subscribe().split();
    ring.send_batch(0..8);
    let mut values = Vec::new();
    let drained = reader.drain_up_to(6, |value| {
        values.push(*value);
        if values.len() == 1 {
            subscription.unsubscribe();
            assert!(subscription.is_closed());
            assert!(ring.try_send(8).is_err_and(|error| error.is_full()));
        }
    });
    assert!(drained.is_ok());
    assert_eq!(values[0], 0);
    for value in 8..100 {
        assert_eq!(ring.try_send(value), Ok(value));
    }
    assert_closed(&mut reader);
}

#[test]
fn a_sender_that_is_blocked_on_a_drain_goes_on_when_an_unsubscribed_reader_ends_it() {
    let _watchdog = watchdog();
    with_each_sender!(8, |ring| {
        let (mut reader, subscription) = ring.subscribe().split();
        ring.send_batch(0..8);
        let begun = Arc::new(AtomicBool::new(false));
        let go_on = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
            move || {
                let drained = reader.drain_up_to(1, |value| {
                    begun.store(true, Ordering::Release);
                    eventually(|| go_on.load(Ordering::Acquire));
                    assert_eq!(*value, 0);
                });
                assert_eq!(drained, Ok(1));
                assert_closed(&mut reader);
                reader
            }
        });
        eventually(|| begun.load(Ordering::Acquire));
        // It does not wait for the drain.
        subscription.unsubscribe();
        let sender = blocked(&subscription, move || ring.send_batch(8..20));
        assert!(!sender.is_finished());
        go_on.store(true, Ordering::Release);
        // Its receiver is still there.
        let _reader = join(thread);
        assert_eq!(join(sender), 20);
    });
}

#[test]
fn unsubscribing_at_any_moment_of_a_drain_frees_the_ring() {
    let _watchdog = watchdog();
    for round in 0..100 {
        with_each_sender!(2, |ring| {
            let (mut reader, subscription) = ring.subscribe().split();
            let reading = thread::spawn(move || {
                let mut next = 0;
                while reader.wait().is_ok() {
                    let _ = reader.drain(|value| {
                        assert_eq!(*value, next);
                        next += 1;
                    });
                }
                // Held until the sender is through.
                reader
            });
            let sender = send_numbers(ring, 50);
            for _ in 0..round {
                std::hint::spin_loop();
            }
            subscription.unsubscribe();
            let _reader = join(reading);
            join(sender);
        });
    }
}

#[test]
fn a_forgotten_receiver_holds_the_ring_until_it_is_unsubscribed() {
    with_each_sender!(4, |ring| {
        let (reader, subscription) = ring.subscribe().split();
        std::mem::forget(reader);
        ring.send_batch(0..4);
        assert!(ring.try_send(4).is_err_and(|error| error.is_full()));
        assert_eq!(ring.subscriber_count(), 1);
        subscription.unsubscribe();
        for value in 4..20 {
            assert_eq!(ring.try_send(value), Ok(value));
        }
    });
}

// ---- What it tells ----

#[test]
fn its_end_can_be_waited_for() {
    let _watchdog = watchdog();
    with_each_sender!(4, |ring| {
        ring.send(0);
        let (reader, subscription) = ring.subscribe().split();
        let mut closed = subscription.closed();
        assert!(!closed.wait_timeout(Duration::from_millis(1)));
        let waiter = thread::spawn(move || closed.wait_timeout(PATIENCE));
        drop(reader);
        assert!(join(waiter));

        let reader = ring.subscribe();
        let mut closed = reader.subscription().closed();
        let waiter = thread::spawn(move || closed.wait_timeout(PATIENCE));
        drop(ring);
        assert!(join(waiter));
        assert!(reader.is_closed());
    });
}

#[test]
fn it_bears_the_name_it_was_given() {
    with_each_sender!(4, |ring| {
        ring.send(0);
        let named = ring.subscriber().name("first").subscribe();
        assert_eq!(named.subscription().name(), Some("first"));
        let unnamed = ring.subscribe();
        assert_eq!(unnamed.subscription().name(), None);
        assert_ne!(named.subscription().id(), unnamed.subscription().id());
    });
}

#[test]
fn its_figures_tell_what_was_sent_to_it() {
    let _watchdog = watchdog();
    with_each_sender!(8, |ring| {
        ring.send_batch(0..3);
        let (mut reader, subscription) = ring.subscribe().split();
        let stats = subscription.stats();
        assert_eq!((stats.delivered, stats.depth), (0, Some(0)));
        ring.send_batch(3..11);
        let stats = reader.stats();
        assert_eq!(
            (stats.delivered, stats.dropped, stats.depth, stats.blocked),
            (8, 0, Some(8), 0)
        );
        let sender = blocked(&subscription, move || {
            ring.send(11);
            ring
        });
        assert_eq!(reader.try_recv(), Ok(3));
        let ring = join(sender);
        let stats = subscription.stats();
        assert_eq!(
            (stats.delivered, stats.depth, stats.blocked),
            (9, Some(8), 1)
        );
        assert!(stats.blocked_for > Duration::ZERO);
        assert!(reader.try_iter().eq(4..12));
        drop(reader);
        // The figures outlive the reader, even if another reader has its seat.
        let last = subscription.stats();
        assert_eq!(
            (last.delivered, last.dropped, last.depth, last.blocked),
            (9, 0, Some(0), 1)
        );
        assert_eq!(last.blocked_for, stats.blocked_for);
        let heir = ring.subscribe();
        drop(ring);
        assert_eq!(subscription.stats(), last);
        assert_eq!((heir.stats().delivered, heir.stats().blocked), (0, 0));
    });
}

#[test]
fn what_is_sent_after_its_end_is_not_counted() {
    for overflow in OVERFLOWS {
        with_each_sender!(8, |ring| {
            let builder = ring.subscriber().overflow(overflow);
            let (reader, subscription) = builder.subscribe().split();
            ring.send_batch(0..3);
            subscription.unsubscribe();
            ring.send_batch(3..40);
            let stats = reader.stats();
            assert_eq!((stats.delivered, stats.dropped), (3, 0), "{overflow:?}");
            drop(reader);
            ring.send(40);
            assert_eq!(subscription.stats().delivered, 3);
        });
    }
}

#[test]
fn a_disconnected_reader_counts_nothing_after_its_end_either() {
    with_each_sender!(8, |ring| {
        let builder = ring.subscriber().overflow(ring::Overflow::Disconnect);
        let mut reader = builder.subscribe();
        ring.send_batch(0..5);
        assert!(reader.try_iter().eq(0..5));
        ring.send_batch(5..14);
        let at_its_end = reader.stats();
        ring.send_batch(14..100);
        assert_eq!(reader.stats(), at_its_end);
    });
}

// ---- Together with others ----

#[test]
fn a_scope_ends_the_readers_it_tracks() {
    let _watchdog = watchdog();
    with_each_sender!(4, |ring| {
        let scope = SubscriptionScope::new();
        let mut readers = Vec::new();
        for _ in 0..5 {
            let (reader, subscription) = ring.subscribe().split();
            scope.track(subscription).unwrap().detach();
            readers.push(reader);
        }
        assert_eq!(scope.count(), 5);
        drop(readers.pop());
        assert_eq!(scope.count(), 4);
        ring.send_batch(0..4);
        let sender = blocked(readers[3].subscription(), move || ring.send(4));
        scope.close();
        assert_eq!(join(sender), 4);
        readers.iter_mut().for_each(assert_closed);
        assert_eq!(scope.count(), 0);
    });
}

#[test]
fn readers_are_joined_with_subscriptions_of_other_kinds() {
    with_each_sender!(2, |ring| {
        let feed = fanfeed::Feed::<u64>::new();
        let (channel, of_feed) = feed.channel(2).unwrap().split();
        let builder = ring.subscriber().overflow(ring::Overflow::Disconnect);
        let (_reader, of_ring) = builder.subscribe().split();
        let both = Subscription::join([of_feed, of_ring]);
        assert!(!both.is_closed());
        ring.send_batch(0..3_u64);
        // The first that fails ends the others.
        assert!(both.err().recv().unwrap().is_overflowed());
        assert!(channel.is_closed() && both.is_closed());
    });
}
