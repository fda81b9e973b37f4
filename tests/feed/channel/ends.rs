//! How an own channel ends.

use fanfeed::{Feed, Overflow, RecvError};

use crate::common::{Tally, blocked_send, join, watchdog};

use super::channel;

#[test]
fn dropping_the_receiver_ends_its_subscription_and_drops_what_is_in_it() {
    let tally = Tally::new();
    let feed = Feed::new();
    let receiver = feed.channel(4).unwrap();
    feed.send(tally.value(1));
    feed.send(tally.value(2));
    assert_eq!((feed.subscriber_count(), tally.live()), (1, 2));
    drop(receiver);
    assert_eq!((feed.subscriber_count(), tally.live()), (0, 0));
    assert_eq!(feed.send(tally.value(3)), 0);
    // The same with another handle of the subscription.
    let (receiver, _subscription) = feed.channel(4).unwrap().split();
    feed.send(tally.value(4));
    drop(receiver);
    assert_eq!(tally.live(), 0);
}

#[test]
fn dropping_a_full_receiver_lets_the_blocked_send_go_on() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let receiver = feed.channel(1).unwrap();
    let mut other = feed.channel(4).unwrap();
    feed.send(1);
    let sender = blocked_send(&feed, receiver.subscription(), 2);
    drop(receiver);
    assert_eq!(join(sender), 1);
    assert_eq!(other.try_iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_receiver_and_the_handle_split_from_it_each_end_the_subscription() {
    let feed = Feed::new();
    let (mut receiver, subscription) = feed.channel(4).unwrap().split();
    assert_eq!(receiver.subscription().id(), subscription.id());
    feed.send(1);
    subscription.unsubscribe();
    assert_eq!(feed.send(2), 0);
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(receiver.recv(), Err(RecvError::Closed));

    let (mut receiver, subscription) = feed.channel(4).unwrap().split();
    feed.send(3);
    drop(subscription);
    assert_eq!(feed.send(4), 0);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [3]);

    let (receiver, subscription) = feed.channel(4).unwrap().split();
    drop(receiver);
    assert!(subscription.is_closed());

    let (receiver, subscription) = feed.channel(4).unwrap().split();
    subscription.detach();
    assert_eq!(feed.send(5), 1);
    assert_eq!(receiver.len(), 1);
}

#[test]
fn what_was_sent_before_an_unsubscribe_can_be_received_after_it() {
    let feed = Feed::new();
    for overflow in [Overflow::Block, Overflow::DropNewest, Overflow::DropOldest] {
        let mut receiver = channel(&feed, 4, overflow);
        feed.send_batch(0..3);
        receiver.subscription().unsubscribe();
        assert!(receiver.is_closed());
        feed.send(3);
        assert_eq!(receiver.len(), 3);
        assert_eq!(
            receiver.iter().collect::<Vec<_>>(),
            [0, 1, 2],
            "{overflow:?}"
        );
        assert_eq!(receiver.recv(), Err(RecvError::Closed));
    }
}
