//! A blocked send, and what releases it: an unsubscribe, a receiver that is dropped, a close, room.
//!
//! Modelled: a full channel of capacity 1, one or two threads that send to it, and one that ends it
//! or makes room. Timers do not fire, so another thread must cause every wake-up, except in the
//! models that say otherwise. Bounds: two or three threads, one to three preemptions; with two, two
//! blocked senders take five minutes.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models blocked_send::
//! ```
//!
//! Not modelled: senders of crossbeam channels, which wait in a select that loom cannot see into.
use std::time::Duration;

use fanfeed::{Feed, Receiver};
use fanfeed_loom_tests::{Ledger, Model, Token, Why, post};
use loom::thread::{self, JoinHandle};

/// How often a thread looks for what others have to do without its help.
const LOOKS: usize = 50;

/// A feed with a full channel, and a thread that sends to it.
fn full(ledger: &Ledger) -> (Feed<Token>, Receiver<Token>, JoinHandle<usize>) {
    let feed = Feed::new();
    let receiver = feed.channel(1).unwrap();
    feed.send(ledger.token(0));
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || feed.send(ledger.token(1)))
    };
    (feed, receiver, sender)
}

fn numbers(receiver: &mut Receiver<Token>, count: usize) -> Vec<u32> {
    let values = receiver.iter().take(count);
    values.map(|value| value.number()).collect()
}

fn an_unsubscribe() {
    let ledger = Ledger::new();
    let (feed, receiver, sender) = full(&ledger);
    receiver.subscription().unsubscribe();
    assert_eq!(sender.join().unwrap(), 0);
    drop((feed, receiver));
    ledger.assert_settled();
}

fn a_dropped_receiver() {
    let ledger = Ledger::new();
    let (feed, receiver, sender) = full(&ledger);
    drop(receiver);
    assert_eq!(sender.join().unwrap(), 0);
    drop(feed);
    ledger.assert_settled();
}

fn a_close() {
    let ledger = Ledger::new();
    let (feed, mut receiver, sender) = full(&ledger);
    feed.close();
    assert_eq!(sender.join().unwrap(), 0);
    assert_eq!(receiver.iter().map(|value| value.number()).last(), Some(0));
    drop((feed, receiver));
    ledger.assert_settled();
}

/// Taking a value, and then finding nothing: that is when a receiver fences.
fn room() {
    let ledger = Ledger::new();
    let (feed, mut receiver, sender) = full(&ledger);
    assert_eq!(numbers(&mut receiver, 2), [0, 1]);
    assert_eq!(sender.join().unwrap(), 1);
    drop((feed, receiver));
    ledger.assert_settled();
}

/// Taking a value, and no more: there a sender may be overlooked until its timer fires.
fn room_for_one() {
    let ledger = Ledger::new();
    let (feed, mut receiver, sender) = full(&ledger);
    assert_eq!(receiver.try_recv().unwrap().number(), 0);
    assert_eq!(sender.join().unwrap(), 1);
    drop((feed, receiver));
    ledger.assert_settled();
}

fn room_for_two_senders() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(0);
    let senders = [1, 2].map(|value| {
        let feed = feed.clone();
        thread::spawn(move || feed.send(value))
    });
    let mut values: Vec<_> = receiver.iter().take(3).collect();
    values.sort_unstable();
    assert_eq!(values, [0, 1, 2]);
    for sender in senders {
        assert_eq!(sender.join().unwrap(), 1);
    }
}

/// A thread that is blocked twice: what it was woken for the first time counts no more the second
/// time.
fn room_twice() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(0);
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1) + feed.send(2))
    };
    assert_eq!(receiver.iter().take(3).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(sender.join().unwrap(), 2);
}

/// One of two senders gives up: if the wake-up was spent on it, the other must get it.
///
/// A carrier behind the channel, full as well, tells when the two stand in the channel's queue.
fn a_sender_that_gives_up() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let (post, post_box) = post(1);
    let _subscription = feed.subscribe(post);
    feed.send(0);
    let impatient = {
        let feed = feed.clone();
        thread::spawn(move || feed.send_timeout(1, Duration::ZERO).is_ok())
    };
    let patient = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(2))
    };
    while post_box.waiting() < 2 {
        thread::yield_now();
    }
    assert_eq!(receiver.try_recv(), Ok(0));
    assert!(!impatient.join().unwrap());
    // Taking nothing: that would wake everybody. In a model, all that can go on has done so after a
    // few looks.
    for _ in 0..LOOKS {
        if receiver.is_empty() {
            thread::yield_now();
        }
    }
    assert!(!receiver.is_empty(), "the wake-up was not handed on");
    let mut values = Vec::new();
    while values.is_empty() {
        values.extend(receiver.try_recv());
        thread::yield_now();
    }
    post_box.take();
    patient.join().unwrap();
    values.extend(receiver.try_iter());
    assert!(values == [2] || values == [1, 2], "{values:?}");
}

fn a_carriers_unsubscribe() {
    let feed = Feed::new();
    let (post, post_box) = post(1);
    let subscription = feed.subscribe(post);
    feed.send(0);
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    subscription.unsubscribe();
    post_box.assert_ended();
    assert_eq!(sender.join().unwrap(), 0);
}

fn a_carriers_room() {
    let feed = Feed::new();
    let (post, post_box) = post(1);
    let _subscription = feed.subscribe(post);
    feed.send(0);
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    assert_eq!(post_box.take(), Some(0));
    assert_eq!(sender.join().unwrap(), 1);
    assert_eq!(post_box.take(), Some(1));
}

/// A full subscriber holds up no other: one that has room is served, and can be unsubscribed.
fn another_subscriber() {
    let feed = Feed::new();
    let mut slow = feed.channel(1).unwrap();
    feed.send(0);
    let (post, post_box) = post(1);
    let other = feed.subscribe(post);
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    other.unsubscribe();
    post_box.assert_ended();
    let arrived = post_box.take().map_or(0, |_| 1);
    assert_eq!(slow.iter().take(2).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(sender.join().unwrap(), 1 + arrived);
}

#[test]
fn an_unsubscribe_releases_it() {
    Model::bound(3).holds(an_unsubscribe);
}

#[test]
fn a_dropped_receiver_releases_it() {
    Model::bound(3).holds(a_dropped_receiver);
}

#[test]
fn a_close_releases_it() {
    Model::bound(3).holds(a_close);
}

#[test]
fn room_releases_it() {
    Model::bound(3).holds(room);
}

#[test]
fn room_for_one_releases_it_in_time() {
    Model::bound(7).with_timers().holds(room_for_one);
}

#[test]
fn room_for_one_does_not_release_it_without_a_timer() {
    Model::bound(2).because(Why::Deadlock).fails(room_for_one);
}

#[test]
fn room_releases_two() {
    Model::bound(1).holds(room_for_two_senders);
}

#[test]
fn room_releases_it_again() {
    Model::bound(2).holds(room_twice);
}

#[test]
fn a_sender_that_has_acted_must_not_count() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("sender_that_has_acted_still_counts", room_twice);
}

#[test]
fn a_wake_up_is_handed_on() {
    Model::bound(1).holds(a_sender_that_gives_up);
}

#[test]
fn a_carriers_unsubscribe_releases_it() {
    Model::bound(3).holds(a_carriers_unsubscribe);
}

#[test]
fn a_carriers_room_releases_it() {
    let model =
        Model::bound(6).few("all of it goes through the one lock of the model's own channel");
    model.holds(a_carriers_room);
}

#[test]
fn a_blocked_send_delays_no_unsubscribe() {
    Model::bound(2).holds(another_subscriber);
}

#[test]
fn a_close_has_to_wake() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("end_wakes_no_sender", an_unsubscribe);
}

#[test]
fn an_end_has_to_wake_a_carriers_senders() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("end_wakes_no_sender_of_a_carrier", a_carriers_unsubscribe);
}

/// The try that follows has an order of its own in a model, as its visit begins with one. Outside,
/// that is the order of `SeqCst` accesses, which leaves out the waiter's count; so it is left out
/// here as well.
#[test]
fn a_waiter_has_to_fence() {
    let both = "waiter_joins_without_fence delivery_begins_without_order";
    Model::bound(2)
        .with_plain_fences()
        .because(Why::Deadlock)
        .fails_with(both, room);
}

#[test]
fn the_order_of_a_delivery_is_not_what_wakes_a_waiter() {
    Model::bound(2)
        .with_plain_fences()
        .holds_with("delivery_begins_without_order", room);
}

#[test]
fn a_receiver_has_to_fence_when_it_finds_nothing() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("receiver_finds_empty_without_fence", room);
}

#[test]
fn a_wake_up_has_to_be_handed_on() {
    Model::bound(2)
        .because(Why::Says("the wake-up was not handed on"))
        .fails_with("wake_up_is_not_handed_on", a_sender_that_gives_up);
}

#[test]
fn the_gate_has_to_be_waited_for() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("gate_is_not_waited_for", a_carriers_unsubscribe);
}
