//! A feed does at least what go-ethereum's `event` package does, as its `feed_test.go` checks it.
//!
//! Its channels are Go's: `make(chan int)` is a crossbeam channel of capacity 0. Where its tests
//! only run an operation, these tests also check the result.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};

use crate::common::{PATIENCE, blocked_send, eventually, join, watchdog};
use crossbeam_channel::{bounded, select};
use fanfeed::{Feed, Subscription};

/// Thousands of threads with the usual stacks would reserve gigabytes of addresses.
fn spawn_small<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    let builder = thread::Builder::new().stack_size(256 * 1024);
    builder.spawn(f).expect("a thread starts")
}

/// `TestFeed`.
#[test]
fn a_thousand_subscribers_each_receive_one_value() {
    const SUBSCRIBERS: usize = 1000;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let ready = Arc::new(Barrier::new(SUBSCRIBERS + 1));
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| {
            let (feed, ready) = (feed.clone(), Arc::clone(&ready));
            spawn_small(move || {
                let (tx, rx) = bounded(0);
                let subscription = feed.subscribe(tx);
                ready.wait();
                let received = rx.recv_timeout(PATIENCE);
                subscription.unsubscribe();
                // Nothing else comes, and the channel has ended.
                (received, rx.iter().count(), subscription.stats().delivered)
            })
        })
        .collect();
    ready.wait();
    assert_eq!(feed.send(1), SUBSCRIBERS);
    for subscriber in subscribers {
        assert_eq!(join(subscriber), (Ok(1), 0, 1));
    }
    assert_eq!(feed.subscriber_count(), 0);
    assert_eq!(feed.send(2), 0);
}

/// `TestFeedSubscribeSameChannel`.
#[test]
fn one_channel_subscribed_three_times_gets_three_copies() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = bounded(0);
    let one = feed.subscribe(tx.clone());
    let two = feed.subscribe(tx.clone());
    let three = feed.subscribe(tx);
    let expect = |value: u64, copies: usize| {
        let sending = feed.clone();
        let sender = thread::spawn(move || sending.send(value));
        for _ in 0..copies {
            assert_eq!(rx.recv_timeout(PATIENCE), Ok(value));
        }
        assert_eq!(join(sender), copies);
        assert!(rx.is_empty());
    };
    expect(1, 3);
    one.unsubscribe();
    expect(2, 2);
    three.unsubscribe();
    expect(3, 1);
    two.unsubscribe();
    expect(4, 0);
}

/// `TestFeedSubscribeBlockedPost`.
#[test]
fn two_thousand_sends_are_blocked_while_another_subscribes() {
    const SENDS: usize = 2000;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, first) = bounded(0);
    let first_subscription = feed.subscribe(tx);
    let senders: Vec<_> = (0..SENDS)
        .map(|_| {
            let feed = feed.clone();
            spawn_small(move || feed.send(99))
        })
        .collect();
    eventually(|| first_subscription.stats().blocked == SENDS as u64);
    let (tx, second) = bounded(0);
    let second_subscription = feed.subscribe(tx);
    let mut received = [0; 2];
    while received[0] < SENDS {
        select! {
            recv(first) -> value => {
                assert_eq!(value, Ok(99));
                received[0] += 1;
            }
            recv(second) -> value => {
                assert_eq!(value, Ok(99));
                received[1] += 1;
            }
            default(PATIENCE) => panic!("received {received:?}"),
        }
    }
    for sender in senders {
        assert_eq!(join(sender), 1);
    }
    // All sends had begun before the second subscribed.
    assert_eq!(received[1], 0);
    assert_eq!(first_subscription.stats().delivered, SENDS as u64);
    assert_eq!(second_subscription.stats().delivered, 0);
}

/// `TestFeedSubscribeBlockedPost` as it is written: the sends begin while the other subscribes.
#[test]
fn sends_that_begin_while_another_subscribes_reach_it_or_not() {
    const SENDS: usize = 200;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, first) = bounded(0);
    let _first = feed.subscribe(tx);
    let senders: Vec<_> = (0..SENDS)
        .map(|_| {
            let feed = feed.clone();
            spawn_small(move || feed.send(99))
        })
        .collect();
    let (tx, second) = bounded(0);
    let second_subscription = feed.subscribe(tx);
    let mut received = [0; 2];
    eventually(|| {
        received[0] += first.try_iter().count();
        received[1] += second.try_iter().count();
        senders.iter().all(JoinHandle::is_finished)
    });
    let reached: usize = senders.into_iter().map(join).sum();
    assert_eq!(received[0], SENDS);
    assert_eq!(reached, received[0] + received[1]);
    assert_eq!(second_subscription.stats().delivered, received[1] as u64);
}

/// `TestFeedUnsubscribeBlockedPost`.
#[test]
fn two_thousand_channels_come_and_go_under_two_hundred_blocked_sends() {
    const SENDS: usize = 200;
    const CHANNELS: usize = 2000;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, _never_read) = bounded(0);
    let blocking = feed.subscribe(tx);
    let senders: Vec<_> = (0..SENDS)
        .map(|_| {
            let feed = feed.clone();
            spawn_small(move || feed.send(99))
        })
        .collect();
    eventually(|| blocking.stats().blocked == SENDS as u64);
    let channels: Vec<_> = (0..CHANNELS)
        .map(|_| {
            let (tx, rx) = bounded(SENDS);
            (feed.subscribe(tx), rx)
        })
        .collect();
    assert_eq!(feed.subscriber_count(), CHANNELS + 1);
    for (subscription, rx) in &channels {
        subscription.unsubscribe();
        assert!(
            rx.iter().next().is_none(),
            "disconnected, and it got nothing"
        );
    }
    assert_eq!(feed.subscriber_count(), 1);
    assert!(senders.iter().all(|sender| !sender.is_finished()));
    blocking.unsubscribe();
    for sender in senders {
        assert_eq!(join(sender), 0);
    }
    assert_eq!(feed.subscriber_count(), 0);
}

/// The same where the sends are blocked on all the channels that go.
#[test]
fn many_full_channels_can_go_while_sends_are_blocked_on_them() {
    const SENDS: usize = 20;
    const CHANNELS: usize = 200;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let channels: Vec<_> = (0..CHANNELS)
        .map(|_| {
            let (tx, rx) = bounded(0);
            (feed.subscribe(tx), rx)
        })
        .collect();
    let senders: Vec<_> = (0..SENDS)
        .map(|_| {
            let feed = feed.clone();
            spawn_small(move || feed.send(99))
        })
        .collect();
    eventually(|| {
        let mut blocked = channels.iter().map(|(full, _)| full.stats().blocked);
        blocked.all(|blocked| blocked == SENDS as u64)
    });
    for (subscription, rx) in &channels {
        assert!(senders.iter().all(|sender| !sender.is_finished()));
        subscription.unsubscribe();
        assert!(rx.iter().next().is_none());
    }
    for sender in senders {
        assert_eq!(join(sender), 0);
    }
}

/// `TestFeedUnsubscribeSentChan`.
#[test]
fn a_channel_already_served_is_unsubscribed_while_the_send_goes_on() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, first) = bounded(0);
    let first_subscription = feed.subscribe(tx);
    let (tx, second) = bounded(0);
    let second_subscription = feed.subscribe(tx);
    let sender = blocked_send(&feed, &second_subscription, 0);
    assert_eq!(first.recv_timeout(PATIENCE), Ok(0));
    first_subscription.unsubscribe();
    assert!(!sender.is_finished());
    assert_eq!(second.recv_timeout(PATIENCE), Ok(0));
    assert_eq!(join(sender), 2);

    // The next goes to the second alone.
    let sender = blocked_send(&feed, &second_subscription, 1);
    assert_eq!(second.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(join(sender), 1);
    assert!(first.recv().is_err());
}

/// `TestFeedUnsubscribeFromInbox`.
#[test]
fn subscriptions_that_never_saw_a_send_can_be_unsubscribed() {
    let feed = Feed::<u64>::new();
    let (tx, rx) = bounded(0);
    let (other_tx, other_rx) = bounded(0);
    let subscriptions = [
        feed.subscribe(tx.clone()),
        feed.subscribe(tx.clone()),
        feed.subscribe(other_tx),
    ];
    assert_eq!(feed.subscriber_count(), 3);
    subscriptions.iter().for_each(Subscription::unsubscribe);
    assert_eq!(feed.subscriber_count(), 0);
    assert_eq!(feed.send(1), 0);
    drop(tx);
    assert!(rx.recv().is_err() && other_rx.recv().is_err());
}

/// `BenchmarkFeedSend1000`, for its result.
#[test]
fn a_thousand_readers_each_get_all_of_many_values() {
    const READERS: usize = 1000;
    const VALUES: usize = 20;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let received = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (tx, rx) = bounded(10);
            let subscription = feed.subscribe(tx);
            let received = Arc::clone(&received);
            spawn_small(move || {
                for value in 0..VALUES {
                    assert_eq!(rx.recv_timeout(PATIENCE), Ok(value));
                    received.fetch_add(1, Ordering::Relaxed);
                }
                drop(subscription);
            })
        })
        .collect();
    for value in 0..VALUES {
        assert_eq!(feed.send(value), READERS);
    }
    readers.into_iter().for_each(join);
    assert_eq!(received.load(Ordering::Relaxed), READERS * VALUES);
}
