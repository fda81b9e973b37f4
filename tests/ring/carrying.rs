//! A ring as a channel of a feed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use fanfeed::{Carrier, CarrierOverflow, Feed, RecvError, RingFeed, Room, ring};

use crate::common::tasks::counting_waker;
use crate::common::{PATIENCE, blocked_send, eventually, join, watchdog};
use crate::{Copies, account_for};

#[test]
fn a_feed_serves_a_thousand_readers_of_a_ring_and_a_few_channels() {
    let feed = Feed::new();
    let mut channels = [(); 3].map(|()| feed.channel(64).unwrap());
    let ring = RingFeed::new(64).unwrap();
    let mut readers: Vec<_> = (0..1000).map(|_| ring.subscribe()).collect();
    let subscription = feed.subscribe(ring.clone());
    for value in 0..50 {
        assert_eq!(feed.send(value), 4);
    }
    for reader in &mut readers {
        assert!(reader.try_iter().eq(0..50));
    }
    for channel in &mut channels {
        assert!(channel.try_iter().eq(0..50));
    }
    let stats = subscription.stats();
    assert_eq!((stats.delivered, stats.depth), (50, Some(0)));
    drop(readers.split_off(1));
    feed.send(50);
    assert_eq!(subscription.stats().depth, Some(1));
    assert_eq!(readers[0].recv(), Ok(50));
}

#[test]
fn a_full_ring_refuses_a_try_and_keeps_no_channel_from_its_value() {
    let feed = Feed::new();
    let mut channel = feed.channel(8).unwrap();
    let ring = RingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    let subscription = feed.subscribe(ring);
    feed.send_batch([0, 1]);
    let undelivered = feed.try_send(2).unwrap_err();
    assert_eq!(undelivered.delivered(), 1);
    drop(undelivered);
    assert_eq!(subscription.stats().depth, Some(2));
    assert_eq!(reader.recv(), Ok(0));
    assert_eq!(feed.try_send(3).unwrap(), 2);
    assert_eq!(channel.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(reader.try_iter().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(subscription.stats().dropped, 1);
}

#[test]
fn a_send_on_the_feed_waits_until_a_reader_of_the_ring_makes_room() {
    let _watchdog = watchdog();
    for capacity in [1, 8] {
        let feed = Feed::new();
        let ring = RingFeed::new(capacity).unwrap();
        let mut readers = [ring.subscribe(), ring.subscribe()];
        let subscription = feed.subscribe(ring);
        feed.send_batch(0..capacity as u64);
        for value in 0..20 {
            let sender = blocked_send(&feed, &subscription, capacity as u64 + value);
            assert_eq!(readers[0].recv(), Ok(value));
            assert!(!sender.is_finished());
            assert_eq!(readers[1].recv(), Ok(value));
            assert_eq!(join(sender), 1);
        }
        // One that leaves makes room too.
        let sender = blocked_send(&feed, &subscription, 1000);
        drop(readers);
        assert_eq!(join(sender), 1);
    }
}

#[test]
fn a_send_that_waits_for_a_ring_goes_on_when_its_subscription_ends() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let ring = RingFeed::new(1).unwrap();
    let mut reader = ring.subscribe();
    let subscription = feed.subscribe(ring);
    feed.send(0);
    let sender = blocked_send(&feed, &subscription, 1);
    subscription.unsubscribe();
    assert_eq!(join(sender), 0);
    // The feed had the last handle of the ring.
    assert_eq!(
        (reader.recv(), reader.recv()),
        (Ok(0), Err(RecvError::Closed))
    );
}

#[test]
fn a_ring_that_is_closed_ends_its_subscription_to_the_feed() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let ring = RingFeed::new(1).unwrap();
    let mut reader = ring.subscribe();
    let subscription = feed.subscribe(ring.clone());
    feed.send(0);
    let sender = blocked_send(&feed, &subscription, 1);
    ring.close();
    assert_eq!(join(sender), 0);
    assert_eq!(feed.send(2), 0);
    assert!(subscription.is_closed());
    assert!(subscription.err().recv().is_err());
    assert_eq!(
        (reader.recv(), reader.recv()),
        (Ok(0), Err(RecvError::Closed))
    );
}

#[test]
fn the_end_of_the_feed_is_the_end_of_the_ring_it_holds() {
    let _watchdog = watchdog();
    for closes in [false, true] {
        let feed = Feed::new();
        let ring = RingFeed::new(4).unwrap();
        let mut reader = ring.subscribe();
        let waiting = ring.handle().subscribe();
        feed.subscribe(ring).detach();
        let thread = thread::spawn(move || waiting.into_iter().collect::<Vec<_>>());
        feed.send_batch([1, 2]);
        if closes {
            feed.close();
        } else {
            drop(feed);
        }
        eventually(|| reader.is_closed());
        assert_eq!(reader.iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(join(thread), [1, 2]);
    }
}

#[test]
fn a_ring_can_be_sent_on_directly_as_well() {
    let feed = Feed::new();
    let ring = RingFeed::new(8).unwrap();
    let mut reader = ring.subscribe();
    let _subscription = feed.subscribe(ring.clone());
    feed.send('a');
    assert_eq!(ring.send('b'), 1);
    feed.send('c');
    assert_eq!(reader.try_iter().collect::<String>(), "abc");
}

#[test]
fn a_ring_of_lossy_readers_is_never_full() {
    let feed = Feed::new();
    let ring = RingFeed::new(4).unwrap();
    let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
    let mut reader = builder.subscribe();
    feed.subscribe(ring).detach();
    for value in 0..100 {
        assert_eq!(feed.try_send(value).unwrap(), 1);
    }
    assert_eq!(reader.recv(), Err(RecvError::Lagged(96)));
    assert!(reader.try_iter().eq(96..100));
}

#[test]
fn a_feed_may_drop_what_does_not_fit_into_the_ring() {
    let feed = Feed::new();
    let ring = RingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    let builder = feed.subscriber().overflow(CarrierOverflow::DropNewest);
    let subscription = builder.subscribe(ring);
    feed.send_batch(0..5);
    let stats = subscription.stats();
    assert_eq!((stats.delivered, stats.dropped), (2, 3));
    assert!(reader.try_iter().eq(0..2));
}

#[test]
fn many_threads_send_on_a_feed_through_a_small_ring() {
    const EACH: u64 = 500;
    let _watchdog = watchdog();
    for capacity in [1, 4] {
        let feed = Feed::new();
        let ring = RingFeed::new(capacity).unwrap();
        let mut reader = ring.subscribe();
        let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
        let mut lossy = builder.subscribe();
        let subscription = feed.subscribe(ring);
        let mut channel = feed.channel(capacity).unwrap();
        let senders: Vec<_> = (0..3)
            .map(|sender| {
                let feed = feed.clone();
                thread::spawn(move || {
                    for number in 0..EACH {
                        assert_eq!(feed.send((sender, number)), 2);
                    }
                })
            })
            .collect();
        let in_channel = thread::spawn(move || channel.iter().count() as u64);
        let lossy = thread::spawn(move || lossy.iter().count() as u64 + lossy.missed());
        let mut next = [0; 3];
        for _ in 0..3 * EACH {
            let (sender, number) = reader.recv_timeout(PATIENCE).expect("a value in time");
            assert_eq!(number, next[sender]);
            next[sender] += 1;
        }
        senders.into_iter().for_each(join);
        assert_eq!(subscription.stats().delivered, 3 * EACH);
        drop(feed);
        assert_eq!(join(in_channel), 3 * EACH);
        assert_eq!(join(lossy), 3 * EACH);
    }
}

#[test]
fn batches_go_through_a_ring_in_order() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let ring = RingFeed::new(16).unwrap();
    let mut reader = ring.subscribe();
    feed.subscribe(ring).detach();
    let thread = thread::spawn(move || account_for(&mut reader, Copies::number));
    for batch in 0..50 {
        feed.send_batch((100 * batch..100 * (batch + 1)).map(Copies::of));
    }
    drop(feed);
    assert_eq!(join(thread).received, 5_000);
}

#[test]
fn a_poll_for_room_of_a_ring_is_answered_at_once_or_woken() {
    let ring = RingFeed::new(2).unwrap();
    let mut readers = [ring.subscribe(), ring.subscribe()];
    let (count, waker) = counting_waker();
    let woken = || count.0.load(Ordering::SeqCst);
    let poll = || ring.poll_room(&waker);

    assert!(matches!(poll(), Room::Ready), "empty");
    ring.send(0);
    assert!(matches!(poll(), Room::Ready), "half full");
    ring.send(1);
    assert!(matches!(poll(), Room::Waking));
    assert!(matches!(poll(), Room::Waking), "a second time");
    assert_eq!(readers[0].recv(), Ok(0));
    // Not yet: the other one still holds the slot.
    if woken() == 1 {
        assert!(matches!(poll(), Room::Waking));
    }
    let before = woken();
    assert_eq!(readers[1].recv(), Ok(0));
    assert_eq!(woken(), before + 1);
    assert!(matches!(poll(), Room::Ready));

    ring.send(2);
    assert!(matches!(poll(), Room::Waking));
    let before = woken();
    ring.close();
    assert_eq!(woken(), before + 1);
    assert!(matches!(poll(), Room::Ready), "the end is told by a try");
}

#[test]
fn a_ring_forgets_a_waker_when_told_to() {
    let ring = RingFeed::new(1).unwrap();
    let mut reader = ring.subscribe();
    let (count, waker) = counting_waker();
    ring.send(0);
    let held = Arc::strong_count(&count);
    assert!(matches!(ring.poll_room(&waker), Room::Waking));
    assert!(Arc::strong_count(&count) > held);
    ring.forget_waker(&waker);
    assert_eq!(Arc::strong_count(&count), held);
    assert_eq!(reader.recv(), Ok(0));
    assert_eq!(count.0.load(Ordering::SeqCst), 0);
}
