//! How a feed calls a user's carrier and closures.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use fanfeed::{Feed, Room};

use super::{Shelf, shelf};
use crate::common::{blocked_send, eventually, join, watchdog};

#[test]
fn a_carrier_that_wakes_is_not_tried_on_a_fast_timer() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = shelf(1, Room::Waking);
    let (other_tx, other_rx) = shelf(1, Room::Unknown);
    let (shelf, other_shelf) = (Arc::clone(&rx.0), Arc::clone(&other_rx.0));
    let subscription = feed.subscribe(tx);
    feed.send(0);
    let other_feed = Feed::new();
    let other = other_feed.subscribe(other_tx);
    other_feed.send(0);
    let other_sender = blocked_send(&other_feed, &other, 1);
    let sender = blocked_send(&feed, &subscription, 1);
    let before = [&shelf, &other_shelf].map(|shelf| shelf.tries.load(Ordering::Relaxed));
    let tries = |index: usize, shelf: &Shelf| shelf.tries.load(Ordering::Relaxed) - before[index];
    // The timer of carriers that cannot tell has tried the other one so often since.
    eventually(|| tries(1, &other_shelf) >= 200);
    let tries = tries(0, &shelf);
    assert!(tries < 50, "tried {tries} times");
    assert_eq!((other_rx.recv(), other_rx.recv()), (Some(0), Some(1)));
    assert_eq!(join(other_sender), 1);
    assert_eq!(rx.recv(), Some(0));
    assert_eq!(rx.recv(), Some(1));
    assert_eq!(join(sender), 1);
}

#[test]
fn a_carrier_is_told_when_a_send_no_longer_waits_for_it() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = shelf(1, Room::Waking);
    let shelf = Arc::clone(&rx.0);
    let subscription = feed.subscribe(tx);
    let waiting = || shelf.wakers.lock().unwrap().len();
    feed.send(0);
    // One gives up, one is served, one is released.
    for _ in 0..3 {
        let limit = std::time::Duration::from_millis(5);
        assert!(feed.send_timeout(9, limit).is_err());
        assert_eq!(waiting(), 0);
    }
    let sender = blocked_send(&feed, &subscription, 1);
    eventually(|| waiting() == 1);
    // Makes room without waking anybody: the send finds it by itself.
    assert_eq!(shelf.values.lock().unwrap().pop_front(), Some(0));
    assert_eq!(join(sender), 1);
    assert_eq!(waiting(), 0);
    let sender = blocked_send(&feed, &subscription, 2);
    eventually(|| waiting() == 1);
    subscription.unsubscribe();
    assert_eq!(join(sender), 0);
    drop(rx);
}

#[test]
fn a_carrier_that_cannot_tell_is_tried_until_it_has_room() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = shelf(1, Room::Unknown);
    let shelf = Arc::clone(&rx.0);
    let subscription = feed.subscribe(tx);
    feed.send(0);
    let sender = blocked_send(&feed, &subscription, 1);
    let before = shelf.tries.load(Ordering::Relaxed);
    // At the pace of the timer for own channels so many would take more than half a minute.
    eventually(|| shelf.tries.load(Ordering::Relaxed) > before + 100);
    // Room that nobody announces.
    assert_eq!(shelf.values.lock().unwrap().pop_front(), Some(0));
    assert_eq!(join(sender), 1);
}

#[test]
fn the_closure_is_called_with_every_value_on_the_sending_thread() {
    let feed = Feed::new();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let subscription = feed.subscriber().name("closure").subscribe_fn({
        let calls = Arc::clone(&calls);
        move |value: &u64| calls.lock().unwrap().push((*value, thread::current().id()))
    });
    assert_eq!(feed.send(1), 1);
    let other = thread::spawn({
        let feed = feed.clone();
        move || {
            feed.send(2);
            thread::current().id()
        }
    });
    let other = join(other);
    assert_eq!(
        *calls.lock().unwrap(),
        [(1, thread::current().id()), (2, other)]
    );
    assert_eq!(subscription.stats().delivered, 2);
    assert_eq!(subscription.stats().depth, None);
    subscription.unsubscribe();
    assert_eq!(Arc::strong_count(&calls), 1, "the closure was dropped");
    assert_eq!(feed.send(3), 0);
}

#[test]
fn closures_are_served_after_channels() {
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::bounded(1);
    let saw_it_first = Arc::new(AtomicBool::new(true));
    let _closure = feed.subscribe_fn({
        let (rx, first) = (rx.clone(), Arc::clone(&saw_it_first));
        move |_: &u64| first.store(rx.is_empty(), Ordering::Relaxed)
    });
    let _channel = feed.subscribe(tx);
    feed.send(1);
    assert!(!saw_it_first.load(Ordering::Relaxed));
}
