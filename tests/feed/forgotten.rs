//! Forgotten handles ([`std::mem::forget`]): they cause nothing unsound, and only the effects that
//! the documentation lists.

// Some of them have no drop today. Forgetting them has to be harmless all the same.
#![allow(clippy::forget_non_drop)]

use std::mem::forget;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanfeed::{ExclusiveRingFeed, Feed, Overflow, RingFeed, Subscription, ring};

use crate::common::{Tally, blocked_send, eventually, join, watchdog};

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn a_forgotten_receiver_stays_subscribed_and_holds_senders_until_the_feed_is_closed() {
    let _watchdog = watchdog();
    let tally = Tally::new();
    let feed = Feed::new();
    let receiver = feed.channel(1).unwrap();
    let (receiver, subscription) = receiver.split();
    forget(receiver);
    assert_eq!(feed.send(tally.value(0)), 1);
    let undelivered = feed.send_timeout(tally.value(1), SHORT).unwrap_err();
    assert_eq!(undelivered.missed()[0].id, subscription.id());
    drop(undelivered);
    let sender = blocked_send(&feed, &subscription, tally.value(2));
    feed.close();
    assert_eq!(join(sender), 0);
    assert_eq!(tally.live(), 1, "what is in its channel stays there");
}

#[test]
fn a_forgotten_lossy_receiver_blocks_no_sender() {
    for (overflow, kept) in [
        (Overflow::DropOldest, 2),
        (Overflow::DropNewest, 2),
        (Overflow::Disconnect, 2),
    ] {
        let tally = Tally::new();
        let feed = Feed::new();
        let builder = feed.subscriber().capacity(2).overflow(overflow);
        forget(builder.channel().unwrap());
        for number in 0..10 {
            feed.send(tally.value(number));
        }
        assert_eq!(tally.live(), kept);
        let is_over = overflow == Overflow::Disconnect;
        assert_eq!(feed.subscriber_count(), usize::from(!is_over));
    }
}

#[test]
fn a_forgotten_subscription_goes_on_as_if_detached() {
    let feed = Feed::new();
    let (sender, receiver) = crossbeam_channel::bounded(4);
    forget(feed.subscribe(sender));
    assert_eq!(feed.send(1), 1);
    assert_eq!(receiver.recv(), Ok(1));
    drop(receiver);
    assert_eq!((feed.send(2), feed.subscriber_count()), (0, 0));
}

#[test]
fn a_forgotten_handle_keeps_its_feed_from_ending_by_itself() {
    let feed = Feed::<u8>::new();
    let mut receiver = feed.channel(1).unwrap();
    let weak = feed.downgrade();
    forget(feed.clone());
    drop(feed);
    assert!(receiver.recv_timeout(SHORT).unwrap_err().is_timeout());
    weak.upgrade().unwrap().close();
    assert!(receiver.recv().unwrap_err().is_closed());

    let ring = RingFeed::<u8>::new(1).unwrap();
    let (mut reader, weak) = (ring.subscribe(), ring.downgrade());
    forget(ring);
    assert!(reader.recv_timeout(SHORT).unwrap_err().is_timeout());
    weak.upgrade().unwrap().close();
    assert!(reader.recv().unwrap_err().is_closed());

    // Of an exclusive ring there is no other handle that could close it: its readers can be
    // unsubscribed.
    let ring = ExclusiveRingFeed::<u8>::new(1).unwrap();
    let (mut reader, subscription) = ring.subscribe().split();
    forget(ring);
    assert!(reader.recv_timeout(SHORT).unwrap_err().is_timeout());
    subscription.unsubscribe();
    assert!(reader.recv().unwrap_err().is_closed());
}

#[test]
fn a_forgotten_blocking_reader_holds_the_ring_until_it_is_unsubscribed_or_closed() {
    let _watchdog = watchdog();
    for closes in [false, true] {
        let ring = RingFeed::new(2).unwrap();
        let (reader, subscription) = ring.subscribe().split();
        forget(reader);
        ring.send_batch([0, 1]);
        assert!(ring.send_timeout(2, SHORT).unwrap_err().is_full());
        if closes {
            ring.close();
            assert!(ring.try_send(2).unwrap_err().is_closed());
        } else {
            subscription.unsubscribe();
            assert_eq!(ring.send_batch(2..20), 20);
        }
    }
}

#[test]
fn a_forgotten_lossy_reader_holds_nobody() {
    for overflow in [ring::Overflow::DropOldest, ring::Overflow::Disconnect] {
        let tally = Tally::new();
        let mut ring = ExclusiveRingFeed::new(8).unwrap();
        forget(ring.subscriber().overflow(overflow).subscribe());
        let mut other = ring.subscribe();
        for number in 0..100 {
            ring.send(tally.value(number));
            assert_eq!(other.drain(|value| assert_eq!(value.number, number)), Ok(1));
        }
        // The forgotten one keeps the ring's memory, and with it the values of the last lap.
        drop((ring, other));
        assert_eq!(tally.live(), 8);
    }
}

#[test]
fn forgotten_iterators_leave_their_receiver_as_it_is() {
    let feed = Feed::new();
    let ring = RingFeed::new(8).unwrap();
    let (mut receiver, mut reader) = (feed.channel(8).unwrap(), ring.subscribe());
    let sent = (0..4).map(|number| (feed.send(number), ring.send(number)));
    assert_eq!(sent.count(), 4);
    let mut iter = receiver.iter();
    assert_eq!(iter.next(), Some(0));
    forget(iter);
    let mut iter = receiver.try_iter();
    assert_eq!(iter.next(), Some(1));
    forget(iter);
    assert_eq!(receiver.recv(), Ok(2));
    let mut iter = reader.iter();
    assert_eq!(iter.next(), Some(0));
    forget(iter);
    let mut iter = reader.try_iter();
    assert_eq!(iter.next(), Some(1));
    forget(iter);
    assert_eq!(reader.recv(), Ok(2));
    // Those that own one are as the receiver itself.
    forget(receiver.into_iter());
    forget(reader.into_iter());
    assert_eq!((feed.subscriber_count(), ring.subscriber_count()), (1, 1));
}

#[test]
fn a_forgotten_undelivered_value_is_leaked_and_blocks_no_send() {
    let tally = Tally::new();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(tally.value(0));
    forget(feed.try_send(tally.value(1)).unwrap_err());
    assert_eq!(receiver.recv().unwrap().number, 0);
    assert_eq!(
        (feed.send(tally.value(2)), receiver.stats().dropped),
        (1, 0)
    );
    receiver.subscription().unsubscribe();
    drop(feed);
    assert_eq!(receiver.iter().count(), 1);
    assert_eq!(tally.live(), 1);
}

#[test]
fn forgotten_options_and_ways_to_subscribe_only_leak() {
    let feed = Feed::<u8>::new();
    let mut receiver = feed.channel(1).unwrap();
    forget(feed.subscriber().name("leaked").capacity(7));
    forget(feed.downgrade());
    drop(feed);
    assert!(receiver.recv().unwrap_err().is_closed());
    let ring = RingFeed::<u8>::new(1).unwrap();
    let mut reader = ring.subscribe();
    forget(ring.handle());
    forget(ring.downgrade());
    forget(ring.subscriber().name("leaked"));
    drop(ring);
    assert!(reader.recv().unwrap_err().is_closed());
}

#[test]
fn a_forgotten_producer_runs_on_and_a_forgotten_token_blocks_no_thread() {
    let _watchdog = watchdog();
    let rounds = Arc::new(AtomicUsize::new(0));
    let (tokens, token) = crossbeam_channel::bounded(1);
    let subscription = Subscription::spawn({
        let rounds = Arc::clone(&rounds);
        move |token| {
            forget(token.clone());
            tokens.send(token.clone()).unwrap();
            while !token.wait_timeout(Duration::from_millis(1)) {
                rounds.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), std::io::Error>(())
        }
    });
    let token = token.recv().unwrap();
    subscription.unsubscribe();
    assert!(token.is_cancelled() && token.channel().recv().is_err());

    let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
    let (ended, end) = crossbeam_channel::bounded::<()>(0);
    forget(Subscription::spawn(move |token| {
        let _ = stopped.recv();
        assert!(!token.is_cancelled());
        drop(ended);
        Ok::<(), std::io::Error>(())
    }));
    drop(stop);
    assert!(
        end.recv_timeout(Duration::from_secs(20))
            .unwrap_err()
            .is_disconnected()
    );
}

#[test]
fn a_forgotten_scope_and_a_forgotten_wait_end_nothing() {
    let feed = Feed::new();
    let mut receiver = feed.channel(4).unwrap();
    let scope = fanfeed::SubscriptionScope::new();
    scope.track(feed.subscribe_fn(|_| ())).unwrap().detach();
    forget(scope);
    forget(receiver.subscription().closed());
    assert_eq!(feed.send(1), 2);
    assert_eq!(receiver.recv(), Ok(1));
    feed.close();
    assert!(receiver.is_closed());
}

#[allow(deprecated)]
#[test]
fn a_forgotten_subscription_of_a_mux_holds_posts_until_it_is_stopped() {
    let _watchdog = watchdog();
    let mux = Arc::new(fanfeed::TypeMux::new());
    let builder = mux.subscriber::<(u8,)>().capacity(1);
    let (forgotten, subscription) = builder.channel().unwrap().split();
    forget(forgotten);
    assert_eq!(mux.post(1_u8).unwrap(), 1);
    let post = std::thread::spawn({
        let mux = Arc::clone(&mux);
        move || mux.post(2_u8).unwrap()
    });
    eventually(|| subscription.stats().blocked == 1);
    mux.stop();
    assert_eq!(join(post), 0);
}

#[cfg(feature = "async")]
mod futures {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_forgotten_receive_costs_no_value() {
        let feed = Feed::new();
        let ring = RingFeed::new(4).unwrap();
        let (mut receiver, mut reader) = (feed.channel(4).unwrap(), ring.subscribe());
        for number in 0..3 {
            let mut receive = receiver.recv_async();
            assert!((&mut receive).now_or_never().is_none());
            forget(receive);
            let mut receive = reader.recv_async();
            assert!((&mut receive).now_or_never().is_none());
            forget(receive);
            feed.send(number);
            ring.send(number);
            assert_eq!(
                (receiver.try_recv(), reader.try_recv()),
                (Ok(number), Ok(number))
            );
        }
        drop(reader);
        assert_eq!(ring.send_batch(0..20), 23);
    }

    #[test]
    fn a_forgotten_send_reaches_no_more_subscribers_and_delays_no_other_send() {
        let _watchdog = watchdog();
        let feed = Feed::new();
        let (mut receiver, subscription) = feed.channel(1).unwrap().split();
        feed.send(0);
        let mut send = feed.send_async(1);
        assert!((&mut send).now_or_never().is_none());
        // It stands first in the queue for room, and is woken in vain.
        forget(send);
        let sender = blocked_send(&feed, &subscription, 2);
        assert_eq!(receiver.recv(), Ok(0));
        assert_eq!(receiver.recv(), Ok(2));
        assert_eq!(join(sender), 1);
        // Its subscription can be ended.
        subscription.unsubscribe();
    }
}
