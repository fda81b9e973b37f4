//! Unsubscribing while a send is blocked.

use std::sync::mpsc as std_mpsc;

use crossbeam_channel::TryRecvError;
use fanfeed::Feed;

use crate::common::{PATIENCE, blocked_send, join, watchdog};

#[test]
fn a_send_that_was_blocked_on_it_goes_on() {
    let _watchdog = watchdog();
    for case in 0..4 {
        let feed = Feed::new();
        let mut far_ends: Vec<Box<dyn std::any::Any>> = Vec::new();
        let subscription = match case {
            0 => {
                let (receiver, handle) = feed.channel(1).unwrap().split();
                feed.send(0);
                far_ends.push(Box::new(receiver));
                handle
            }
            1 => {
                let (tx, rx) = crossbeam_channel::bounded(0);
                far_ends.push(Box::new(rx));
                feed.subscribe(tx)
            }
            2 => {
                let (tx, rx) = crossbeam_channel::bounded(1);
                tx.send(0).unwrap();
                far_ends.push(Box::new(rx));
                feed.subscribe(tx)
            }
            _ => {
                let (tx, rx) = std_mpsc::sync_channel(0);
                far_ends.push(Box::new(rx));
                feed.subscribe(tx)
            }
        };
        let roomy = feed.channel(4).unwrap();
        let senders = [
            blocked_send(&feed, &subscription, 1),
            blocked_send(&feed, &subscription, 2),
        ];
        subscription.unsubscribe();
        for sender in senders {
            assert_eq!(join(sender), 1, "case {case}");
        }
        assert_eq!(roomy.len(), 2);
    }
}

#[test]
fn another_full_subscriber_does_not_hold_the_unsubscribe() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut own = feed.channel(1).unwrap();
    feed.send(0);
    let (tx, zero) = crossbeam_channel::bounded(0);
    let zero_subscription = feed.subscribe(tx);
    let (tx, std_rx) = std_mpsc::sync_channel(0);
    let std_subscription = feed.subscribe(tx);
    let (tx, other_zero) = crossbeam_channel::bounded(0);
    let other_subscription = feed.subscribe(tx);
    let sender = blocked_send(&feed, &other_subscription, 1);

    zero_subscription.unsubscribe();
    assert_eq!(zero.try_recv(), Err(TryRecvError::Disconnected));
    std_subscription.unsubscribe();
    assert_eq!(std_rx.try_recv(), Err(std_mpsc::TryRecvError::Disconnected));
    assert!(!sender.is_finished());
    own.subscription().unsubscribe();
    assert_eq!(own.try_iter().collect::<Vec<_>>(), [0]);
    assert!(!sender.is_finished());
    // The send is still there for the last of them.
    assert_eq!(other_zero.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(join(sender), 1);
}

#[test]
fn a_subscriber_already_served_can_go_while_the_send_waits_for_another() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, served) = crossbeam_channel::bounded(1);
    let served_subscription = feed.subscribe(tx);
    let (tx, waited_for) = crossbeam_channel::bounded(0);
    let waited_for_subscription = feed.subscribe(tx);
    let sender = blocked_send(&feed, &waited_for_subscription, 1);
    assert_eq!(served.recv_timeout(PATIENCE), Ok(1));
    served_subscription.unsubscribe();
    assert_eq!(served.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(waited_for.recv_timeout(PATIENCE), Ok(1));
    // It had been reached, and is counted.
    assert_eq!(join(sender), 2);
}

#[test]
fn a_subscription_cancelled_before_its_turn_does_not_get_the_value() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let full = feed.channel(1).unwrap();
    let (tx, zero) = crossbeam_channel::bounded(0);
    let zero_subscription = feed.subscribe(tx);
    let filler = blocked_send(&feed, &zero_subscription, 0);
    assert_eq!(zero.recv_timeout(PATIENCE), Ok(0));
    assert_eq!(join(filler), 2);
    let sender = blocked_send(&feed, full.subscription(), 1);
    full.subscription().unsubscribe();
    assert_eq!(zero.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(join(sender), 1);
    assert_eq!(full.into_iter().collect::<Vec<_>>(), [0]);
}
