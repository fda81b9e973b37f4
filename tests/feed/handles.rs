//! Handles of feeds, strong and weak, and the names of subscriptions.

use std::sync::LazyLock;
use std::thread;

use fanfeed::{Feed, RecvError};

use crate::common::{PATIENCE, join, watchdog};

#[test]
fn clones_of_a_feed_share_its_subscribers() {
    let feed = Feed::new();
    let other = feed.clone();
    let mut receiver = other.channel(4).unwrap();
    assert_eq!(feed.send(1), 1);
    drop(other);
    assert_eq!(feed.send(2), 1);
    assert!(!receiver.is_closed());
    drop(feed);
    assert!(receiver.is_closed());
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
}

#[test]
fn a_weak_handle_does_not_keep_the_feed_alive() {
    let feed = Feed::new();
    let weak = feed.downgrade();
    let mut receiver = feed.channel(4).unwrap();
    let upgraded = weak.clone().upgrade().expect("the feed is alive");
    assert_eq!(upgraded.send(1), 1);
    drop(feed);
    assert_eq!(weak.upgrade().expect("a handle is left").send(2), 1);
    assert!(!receiver.is_closed());
    drop(upgraded);
    assert!(weak.upgrade().is_none());
    assert!(receiver.is_closed());
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_closed_feed_can_be_upgraded_to_and_stays_closed() {
    let feed = Feed::<u8>::new();
    let weak = feed.downgrade();
    assert!(!feed.is_closed());
    feed.close();
    assert!(weak.upgrade().expect("the handle is there").is_closed());
}

#[test]
fn receivers_and_subscriptions_keep_no_feed_alive() {
    let feed = Feed::<u8>::new();
    let weak = feed.downgrade();
    let receiver = feed.channel(1).unwrap();
    let (tx, _rx) = crossbeam_channel::unbounded();
    let subscription = feed.subscribe(tx);
    let closed = subscription.closed();
    drop(feed);
    assert!(weak.upgrade().is_none());
    assert!(receiver.is_closed() && subscription.is_closed());
    closed.wait();
}

#[test]
fn a_feed_can_live_in_a_static() {
    static FEED: LazyLock<Feed<u32>> = LazyLock::new(Feed::default);
    let _watchdog = watchdog();
    let mut receiver = FEED.channel(1).unwrap();
    let sender = thread::spawn(|| (0..50).map(|value| FEED.send(value)).sum::<usize>());
    for value in 0..50 {
        assert_eq!(receiver.recv_timeout(PATIENCE), Ok(value));
    }
    assert_eq!(join(sender), 50);
}

#[test]
fn names_and_numbers_tell_subscriptions_apart() {
    let feed = Feed::<u8>::new();
    let (tx, _rx) = crossbeam_channel::unbounded();
    let named = feed.subscriber().name("crossbeam").subscribe(tx);
    let closure = feed
        .subscriber()
        .name(String::from("closure"))
        .subscribe_fn(|_| {});
    let own = feed.subscriber().name("own").capacity(1).channel().unwrap();
    let nameless = feed.channel(1).unwrap();
    assert_eq!(named.name(), Some("crossbeam"));
    assert_eq!(closure.name(), Some("closure"));
    assert_eq!(own.subscription().name(), Some("own"));
    assert_eq!(nameless.subscription().name(), None);
    let ids = [
        named.id(),
        closure.id(),
        own.subscription().id(),
        nameless.subscription().id(),
    ];
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
}
