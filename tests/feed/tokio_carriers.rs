//! Tokio's `broadcast` and `watch` senders behind a feed.

use fanfeed::Feed;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{broadcast, watch};

#[test]
fn a_broadcast_channel_takes_every_value_and_tells_its_receivers_what_they_lost() {
    let feed = Feed::new();
    let (sender, mut receiver) = broadcast::channel(2);
    let subscription = feed.subscribe(sender);
    for value in 0..5 {
        assert_eq!(feed.try_send(value).unwrap(), 1);
    }
    assert_eq!(subscription.stats().depth, Some(2));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Lagged(3)));
    assert_eq!(receiver.try_recv(), Ok(3));
    assert_eq!(receiver.try_recv(), Ok(4));
    subscription.unsubscribe();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn a_broadcast_channel_without_receivers_lives_while_another_sender_can_make_one() {
    let feed = Feed::new();
    let (sender, receiver) = broadcast::channel(2);
    let subscription = feed.subscribe(sender.clone());
    drop(receiver);
    assert_eq!(feed.send(1), 1);
    let mut late = sender.subscribe();
    assert_eq!(feed.send(2), 1);
    assert_eq!(late.try_recv(), Ok(2));
    // A weak sender keeps nothing alive.
    let weak = sender.downgrade();
    drop(sender);
    assert_eq!(feed.send(3), 1);
    assert!(!subscription.is_closed());
    drop(late);
    assert_eq!(feed.send(4), 0);
    assert!(subscription.is_closed());
    assert!(weak.upgrade().is_none());
}

#[test]
fn two_carriers_of_a_broadcast_channel_keep_each_other_subscribed() {
    let feed = Feed::new();
    let (sender, receiver) = broadcast::channel(2);
    let carriers = [feed.subscribe(sender.clone()), feed.subscribe(sender)];
    drop(receiver);
    assert_eq!(feed.send(1), 2);
    carriers[0].unsubscribe();
    assert_eq!(feed.send(2), 0);
    assert!(carriers[1].is_closed());
}

#[test]
fn a_watch_channel_keeps_the_latest_value_also_without_receivers() {
    let feed = Feed::new();
    let (sender, receiver) = watch::channel(0);
    let subscription = feed.subscribe(sender.clone());
    assert_eq!(feed.send_batch([1, 2]), 2);
    assert_eq!(*receiver.borrow(), 2);
    drop(receiver);
    assert_eq!(feed.send(3), 1);
    let late = sender.subscribe();
    assert_eq!(*late.borrow(), 3);
    drop(sender);
    assert_eq!(feed.send(4), 1);
    assert_eq!(*late.borrow(), 4);
    drop(late);
    assert_eq!(feed.send(5), 0);
    assert!(subscription.is_closed());
}

#[tokio::test]
async fn a_waiting_watch_receiver_sees_the_value_and_the_end() {
    let feed = Feed::new();
    let (sender, mut receiver) = watch::channel(0);
    let subscription = feed.subscribe(sender);
    let task = tokio::spawn(async move {
        receiver.changed().await.unwrap();
        let value = *receiver.borrow_and_update();
        (value, receiver.changed().await.is_err())
    });
    tokio::task::yield_now().await;
    feed.send(7);
    tokio::task::yield_now().await;
    drop(subscription);
    assert_eq!(task.await.unwrap(), (7, true));
}
