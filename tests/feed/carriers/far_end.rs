//! The far end of a channel that the caller brought along: it goes away, or does not keep up.

use std::sync::mpsc as std_mpsc;

use fanfeed::{CarrierOverflow, Feed, Room, Subscription};

use super::{Wrapped, shelf};
use crate::common::{blocked_send, join, watchdog};

#[test]
fn a_subscription_whose_receivers_are_gone_ends_without_an_error() {
    let feed = Feed::new();
    let (crossbeam, crossbeam_rx) = crossbeam_channel::bounded(4);
    let (zero, zero_rx) = crossbeam_channel::bounded(0);
    let (std_tx, std_rx) = std_mpsc::channel();
    let (sync, sync_rx) = std_mpsc::sync_channel(4);
    let (user, user_rx) = shelf(4, Room::Unknown);
    let (wrapped, wrapped_rx) = crossbeam_channel::unbounded();
    let second_rx = crossbeam_rx.clone();
    let subscriptions = [
        feed.subscribe(crossbeam),
        feed.subscribe(zero),
        feed.subscribe(std_tx),
        feed.subscribe(sync),
        feed.subscribe(user),
        feed.subscribe(Wrapped(wrapped)),
    ];
    let errors: Vec<_> = subscriptions.iter().map(Subscription::err).collect();
    drop((crossbeam_rx, zero_rx, std_rx, sync_rx, user_rx, wrapped_rx));
    // One of two receivers of the first is left.
    assert_eq!(feed.send(1), 1);
    assert_eq!(feed.subscriber_count(), 1);
    assert_eq!(second_rx.recv(), Ok(1));
    drop(second_rx);
    assert_eq!(feed.send(2), 0);
    assert_eq!(feed.subscriber_count(), 0);
    for (subscription, errors) in subscriptions.iter().zip(errors) {
        assert!(subscription.is_closed());
        assert!(errors.recv().is_err());
    }
}

#[test]
fn a_blocked_send_goes_on_when_the_receivers_go() {
    let _watchdog = watchdog();
    for case in 0..6 {
        let feed = Feed::new();
        let far_end: Box<dyn Send>;
        let subscription = match case {
            0 => {
                let (tx, rx) = crossbeam_channel::bounded(0);
                far_end = Box::new(rx);
                feed.subscribe(tx)
            }
            1 => {
                let (tx, rx) = crossbeam_channel::bounded(0);
                far_end = Box::new(rx);
                feed.subscribe(Wrapped(tx))
            }
            2 => {
                let (tx, rx) = std_mpsc::sync_channel(0);
                far_end = Box::new(rx);
                feed.subscribe(tx)
            }
            3 => {
                let (tx, rx) = shelf(0, Room::Unknown);
                far_end = Box::new(rx);
                feed.subscribe(tx)
            }
            4 => {
                let (tx, rx) = shelf(0, Room::Waking);
                far_end = Box::new(rx);
                feed.subscribe(tx)
            }
            _ => {
                let (rx, handle) = feed.channel(1).unwrap().split();
                feed.send(0);
                far_end = Box::new(rx);
                handle
            }
        };
        let sender = blocked_send(&feed, &subscription, 1);
        assert!(!sender.is_finished(), "case {case}");
        drop(far_end);
        assert_eq!(join(sender), 0, "case {case}");
        assert!(subscription.is_closed(), "case {case}");
    }
}

// ---- Overflow ----

#[test]
fn a_foreign_carrier_that_drops_the_newest_counts_what_it_missed() {
    let feed = Feed::new();
    let subscriber = || feed.subscriber().overflow(CarrierOverflow::DropNewest);
    let (tx, crossbeam_rx) = crossbeam_channel::bounded(3);
    let crossbeam = subscriber().subscribe(tx);
    let (tx, std_rx) = std_mpsc::sync_channel(3);
    let std_sync = subscriber().subscribe(tx);
    let (tx, user_rx) = shelf(3, Room::Waking);
    let user = subscriber().subscribe(tx);
    let (tx, _zero_rx) = crossbeam_channel::bounded(0);
    let zero = subscriber().subscribe(tx);
    for value in 0..10 {
        assert_eq!(feed.send(value), if value < 3 { 3 } else { 0 });
    }
    for subscription in [&crossbeam, &std_sync, &user] {
        let stats = subscription.stats();
        assert_eq!((stats.delivered, stats.dropped), (3, 7));
        assert_eq!(stats.blocked, 0);
    }
    assert_eq!((zero.stats().delivered, zero.stats().dropped), (0, 10));
    assert_eq!(crossbeam.stats().depth, Some(3));
    assert_eq!(user.stats().depth, Some(3));
    assert_eq!(std_sync.stats().depth, None, "it cannot tell");
    assert_eq!(crossbeam_rx.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(std_rx.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(user_rx.recv(), Some(0));
    assert_eq!(feed.send(10), 3);
    assert_eq!(crossbeam_rx.recv(), Ok(10));
}

#[test]
fn a_foreign_carrier_that_overflows_under_disconnect_ends_with_an_error() {
    let feed = Feed::new();
    let subscriber = || feed.subscriber().overflow(CarrierOverflow::Disconnect);
    let (tx, crossbeam_rx) = crossbeam_channel::bounded(2);
    let crossbeam = subscriber().subscribe(tx);
    let (tx, std_rx) = std_mpsc::sync_channel(2);
    let std_sync = subscriber().subscribe(tx);
    let (tx, user_rx) = shelf(2, Room::Waking);
    let user = subscriber().subscribe(tx);
    assert_eq!(feed.send(0), 3);
    assert_eq!(feed.send(1), 3);
    assert_eq!(feed.send(2), 0);
    assert_eq!(feed.send(3), 0);
    assert_eq!(feed.subscriber_count(), 0);
    for subscription in [&crossbeam, &std_sync, &user] {
        assert!(subscription.is_closed());
        assert!(subscription.err().recv().unwrap().is_overflowed());
        assert!(subscription.err().recv().is_err());
        let stats = subscription.stats();
        assert_eq!((stats.delivered, stats.dropped), (2, 1));
    }
    // What was in the channels is still there, and they have ended.
    assert_eq!(crossbeam_rx.iter().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(std_rx.iter().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(
        [user_rx.recv(), user_rx.recv(), user_rx.recv()],
        [Some(0), Some(1), None]
    );
}
