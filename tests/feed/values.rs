//! How often a value is cloned, and when values are dropped.

use std::cell::Cell;
use std::sync::Arc;
use std::thread;

use fanfeed::{Feed, Overflow, Subscription};

use crate::common::{Counted, PATIENCE, Tally, blocked_send, eventually, join, watchdog};

/// Sends one value to subscribers made by `subscribe`, and returns how many clones that took.
fn clones_for(subscribe: impl FnOnce(&Feed<Counted>) -> Vec<Subscription>) -> usize {
    let tally = Tally::new();
    let feed = Feed::new();
    let subscriptions = subscribe(&feed);
    feed.send(tally.value(1));
    drop(subscriptions);
    tally.clones()
}

#[test]
fn the_last_subscriber_gets_the_original() {
    for count in [1, 2, 5, 64, 65, 130] {
        let clones = clones_for(|feed| {
            (0..count)
                .map(|_| {
                    let (tx, rx) = crossbeam_channel::unbounded();
                    std::mem::forget(rx);
                    feed.subscribe(tx)
                })
                .collect()
        });
        assert_eq!(clones, count - 1, "for {count} subscribers");
    }
}

#[test]
fn closures_take_no_clones() {
    for count in [1, 3, 70] {
        let clones = clones_for(|feed| (0..count).map(|_| feed.subscribe_fn(|_| {})).collect());
        assert_eq!(clones, 0);
    }
    // A channel beside a closure needs one of its own: the closure is called with the original
    // afterwards.
    let clones = clones_for(|feed| {
        let (tx, rx) = crossbeam_channel::unbounded();
        std::mem::forget(rx);
        vec![feed.subscribe_fn(|_| {}), feed.subscribe(tx)]
    });
    assert_eq!(clones, 1);
}

#[test]
fn a_value_that_one_refuses_is_offered_to_the_next() {
    let tally = Tally::new();
    let feed = Feed::new();
    let mut kept = Vec::new();
    for _ in 0..10 {
        let builder = feed.subscriber().capacity(1);
        kept.push(builder.overflow(Overflow::DropNewest).channel().unwrap());
    }
    let (tx, gone) = crossbeam_channel::unbounded();
    let _gone = feed.subscribe(tx);
    let last = feed.channel(2).unwrap();
    assert_eq!(feed.send(tally.value(0)), 12);
    assert_eq!(tally.clones(), 11);
    drop(gone);
    // Ten refuse it, one is gone, one takes it: one clone is made for those, and passed along.
    assert_eq!(feed.send(tally.value(1)), 1);
    assert!(tally.clones() <= 1);
    assert_eq!(last.len(), 2);
}

#[test]
fn subscribers_that_make_room_later_cost_no_more_clones() {
    let _watchdog = watchdog();
    let tally = Tally::new();
    let feed = Feed::new();
    let mut full: Vec<_> = (0..5).map(|_| feed.channel(1).unwrap()).collect();
    let (tx, crossbeam) = crossbeam_channel::bounded(1);
    let crossbeam_subscription = feed.subscribe(tx);
    let (tx, std_rx) = std::sync::mpsc::sync_channel(1);
    let _std = feed.subscribe(tx);
    let _roomy: Vec<_> = (0..3).map(|_| feed.channel(4).unwrap()).collect();
    assert_eq!(feed.send(tally.value(0)), 10);
    assert_eq!(tally.clones(), 9);
    let sender = blocked_send(&feed, &crossbeam_subscription, tally.value(1));
    // They are tried again and again meanwhile, one by one.
    for receiver in &mut full {
        assert_eq!(receiver.recv().unwrap().number, 0);
        eventually(|| receiver.len() == 1);
    }
    assert_eq!(crossbeam.recv_timeout(PATIENCE).unwrap().number, 0);
    assert_eq!(std_rx.recv_timeout(PATIENCE).unwrap().number, 0);
    assert_eq!(join(sender), 10);
    assert!(tally.clones() <= 9);
}

#[test]
fn values_are_dropped_exactly_once() {
    let _watchdog = watchdog();
    let tally = Tally::new();
    let feed = Feed::new();
    let mut own = feed.channel(4).unwrap();
    let policies = [
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::Disconnect,
    ];
    let others = policies.map(|overflow| {
        let builder = feed.subscriber().capacity(3).overflow(overflow);
        builder.channel().unwrap()
    });
    let (tx, rx) = crossbeam_channel::unbounded();
    let subscription = feed.subscribe(tx);
    let _closure = feed.subscribe_fn(|_| {});
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (feed, tally) = (feed.clone(), Arc::clone(&tally));
            thread::spawn(move || {
                for number in 0..300 {
                    feed.send(tally.value(number));
                    let _ = feed.try_send(tally.value(number));
                    feed.send_batch((0..5).map(|number| tally.value(number)));
                }
            })
        })
        .collect();
    eventually(|| {
        let _ = own.drain(10, drop);
        senders.iter().all(|sender| sender.is_finished())
    });
    senders.into_iter().for_each(join);
    // What is left lies in the channels.
    let lying = own.len() + others.iter().map(|other| other.len()).sum::<usize>() + rx.len();
    assert_eq!(tally.live(), lying as i64);
    drop(own);
    drop(others);
    subscription.unsubscribe();
    drop(rx);
    drop(feed);
    assert_eq!(tally.live(), 0);
}

#[test]
fn values_of_every_shape_arrive_whole() {
    #[repr(align(128))]
    #[derive(Clone, Debug, PartialEq)]
    struct Aligned(u8);
    #[derive(Clone, Debug, PartialEq)]
    struct Large([u64; 512]);

    fn pass<T: Clone + Send + PartialEq + std::fmt::Debug + 'static>(make: impl Fn(u64) -> T) {
        let feed = Feed::new();
        let mut own = feed.channel(3).unwrap();
        let mut latest = feed
            .subscriber()
            .capacity(2)
            .overflow(Overflow::DropOldest)
            .channel()
            .unwrap();
        let (tx, rx) = crossbeam_channel::bounded(3);
        let _subscription = feed.subscribe(tx);
        for number in 0..30 {
            assert_eq!(feed.send(make(number)), 3);
            let value = own.try_recv().unwrap();
            assert_eq!(std::ptr::from_ref(&value) as usize % align_of::<T>(), 0);
            assert_eq!(value, make(number));
            assert_eq!(rx.try_recv().unwrap(), make(number));
        }
        assert_eq!(latest.missed(), 0);
        let last: Vec<_> = latest.try_iter().collect();
        assert_eq!(last, [make(28), make(29)]);
        assert_eq!(latest.missed(), 28);
    }
    pass(|_| ());
    pass(|number| Aligned(number as u8));
    pass(|number| Large([number; 512]));
    pass(|number| vec![number; 10]);
    // Can be sent to another thread, but not shared with one.
    pass(Cell::new);
}

#[test]
fn a_value_that_cannot_be_shared_can_be_sent_between_threads() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let _closure = feed.subscribe_fn(|value: &Cell<u32>| value.set(value.get() + 1));
    let sender = thread::spawn({
        let feed = feed.clone();
        move || {
            (0..20)
                .map(|value| feed.send(Cell::new(value)))
                .sum::<usize>()
        }
    });
    for value in 0..20 {
        assert_eq!(receiver.recv(), Ok(Cell::new(value)));
    }
    assert_eq!(join(sender), 40);
}
