//! The feed's own channel: push and pop over several laps, park and wake, close.
//!
//! Modelled: one thread that sends and one that receives, capacities 1 and 2, so that slots are
//! reused. Timers do not fire. Bounds: two or three threads, one to three values, one to five
//! preemptions; with two, two senders take half a minute.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models own_channel::
//! ```
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fanfeed::{Feed, Overflow, Receiver, RecvError, TryRecvError};
use fanfeed_loom_tests::{Ledger, Model, Why};
use loom::thread;

/// One value more than the channel holds, in order.
fn through(capacity: usize) {
    let last = capacity as u32 + 1;
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut receiver = feed.channel(capacity).unwrap();
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || {
            for number in 1..=last {
                assert_eq!(feed.send(ledger.token(number)), 1);
            }
        })
    };
    for number in 1..=last {
        assert_eq!(receiver.recv().unwrap().number(), number);
    }
    sender.join().unwrap();
    drop((receiver, feed));
    ledger.assert_settled();
}

fn capacity_of_one() {
    through(1);
}

fn capacity_of_two() {
    through(2);
}

/// The receiver finds the queue empty after each value and does not park, then waits. The sender
/// waits for room.
fn tries_before_it_parks() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || {
            for number in 1..=3 {
                assert_eq!(feed.send(number), 1);
            }
        })
    };
    let mut next = 1;
    for _ in 0..3 {
        if let Ok(number) = receiver.try_recv() {
            assert_eq!(number, next);
            next += 1;
        }
    }
    for number in next..=3 {
        assert_eq!(receiver.recv(), Ok(number));
    }
    sender.join().unwrap();
}

/// The receiver parks at most once.
fn one_value() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(sender.join().unwrap(), 1);
}

/// As above, where senders evict.
fn one_value_that_may_evict() {
    let feed = Feed::new();
    let options = feed.subscriber().capacity(1);
    let options = options.overflow(Overflow::DropOldest);
    let mut receiver = options.channel().unwrap();
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(sender.join().unwrap(), 1);
}

/// As `one_value`, by the way into the queue that a batch takes.
fn a_batch_of_one() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send_batch([1]))
    };
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(sender.join().unwrap(), 1);
}

/// In one go, which takes another way into the queue.
fn a_batch() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || feed.send_batch((1..=3).map(|number| ledger.token(number))))
    };
    for number in 1..=3 {
        assert_eq!(receiver.recv().unwrap().number(), number);
    }
    assert_eq!(sender.join().unwrap(), 3);
    drop((receiver, feed));
    ledger.assert_settled();
}

/// Two senders, of which one may be between claiming a place and filling it when the receiver
/// parks.
fn two_senders() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    let senders = [1, 2].map(|value| {
        let feed = feed.clone();
        thread::spawn(move || feed.send(value))
    });
    let sum = receiver.recv().unwrap() + receiver.recv().unwrap();
    assert_eq!(sum, 3);
    for sender in senders {
        sender.join().unwrap();
    }
}

/// A send has completed. Another sender may have claimed the place before and not filled it: what
/// is completed is received.
fn a_value_behind_another() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    let other = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    assert_eq!(feed.send(2), 1);
    assert!(!receiver.is_empty(), "empty beside a completed value");
    assert!(
        receiver.try_recv().is_ok(),
        "empty beside a completed value"
    );
    other.join().unwrap();
    assert_eq!(receiver.drain(2, drop), Ok(1));
}

/// As above, with a receiver that drains: it looks at the last slot of a cache line first.
fn a_drain_behind_another() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    let other = {
        let (ledger, feed) = (ledger.clone(), feed.clone());
        thread::spawn(move || feed.send(ledger.token(1)))
    };
    assert_eq!(feed.send(ledger.token(2)), 1);
    let mut sum = 0;
    assert!(receiver.drain(2, |token| sum += token.number()).is_ok());
    other.join().unwrap();
    let _ = receiver.drain(2, |token| sum += token.number());
    assert_eq!(sum, 3);
    drop((receiver, feed));
    ledger.assert_settled();
}

/// What was sent before the end is received, and then the end.
fn a_close() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            feed.send(ledger.token(1));
            drop(feed);
        })
    };
    assert_eq!(receiver.recv().unwrap().number(), 1);
    assert_eq!(receiver.recv().unwrap_err(), RecvError::Closed);
    sender.join().unwrap();
    drop(receiver);
    ledger.assert_settled();
}

/// An end alone wakes the receiver.
fn an_end() {
    let feed = Feed::<u32>::new();
    let mut receiver = feed.channel(1).unwrap();
    let closer = thread::spawn(move || drop(feed));
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
    closer.join().unwrap();
}

/// The end comes from another thread: what the sender was told is what arrives.
fn a_close_beside_a_send() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1) + feed.send(2))
    };
    feed.close();
    let arrived = receiver.iter().count();
    assert_eq!(sender.join().unwrap(), arrived);
}

/// The channel is closed by a thread that does not wait for the send under way, because it is in a
/// delivery of another feed. What arrives is what the sender was told.
fn a_hasty_close_beside_a_send() {
    let feed = Feed::new();
    let (mut receiver, subscription) = feed.channel(2).unwrap().split();
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    let other = Feed::new();
    let closing = other.subscribe_fn(move |()| subscription.unsubscribe());
    other.send(());
    let arrived = receiver.iter().count();
    assert_eq!(sender.join().unwrap(), arrived, "what arrived");
    drop(closing);
}

/// A value whose clone looks at the channel that is served next.
struct Look(Arc<Looked>);

struct Looked {
    receiver: Mutex<Receiver<Look>>,
    was_closed: AtomicBool,
}

impl Clone for Look {
    fn clone(&self) -> Self {
        let mut receiver = self.0.receiver.lock().unwrap();
        let is_closed = matches!(receiver.try_recv(), Err(TryRecvError::Closed));
        self.0.was_closed.store(is_closed, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

/// The receiver looks inside a send of its own thread, which has found it live and not claimed a
/// place yet. Where it finds the end, it gets nothing after that.
fn a_close_beside_a_look() {
    let feed = Feed::new();
    let first = feed.channel(1).unwrap();
    let (receiver, subscription) = feed.channel(1).unwrap().split();
    let looked = Arc::new(Looked {
        receiver: Mutex::new(receiver),
        was_closed: AtomicBool::new(false),
    });
    let closer = thread::spawn(move || subscription.unsubscribe());
    let delivered = feed.send(Look(Arc::clone(&looked)));
    closer.join().unwrap();
    let was_closed = looked.was_closed.load(Ordering::Relaxed);
    assert!(delivered == 1 || !was_closed, "delivered after the end");
    // The value holds its own channel.
    let received = looked.receiver.lock().unwrap().try_recv();
    assert_eq!(received.is_ok(), delivered == 2, "what arrived");
    drop((received, first));
}

/// A sender finds room for a second value in the slot of the first.
fn a_slot_used_again() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || {
            feed.send(ledger.token(1));
            drop(feed.try_send(ledger.token(2)));
        })
    };
    drop(receiver.try_recv());
    sender.join().unwrap();
    drop((receiver, feed));
    ledger.assert_settled();
}

/// A receiver that is dropped drops what is in its channel, and what comes late.
fn a_receiver_that_is_dropped() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let receiver = feed.channel(2).unwrap();
    feed.send(ledger.token(0));
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || feed.send(ledger.token(1)))
    };
    drop(receiver);
    sender.join().unwrap();
    drop(feed);
    ledger.assert_settled();
}

#[test]
fn a_channel_of_one_loses_nothing() {
    Model::bound(3).holds(capacity_of_one);
}

#[test]
fn a_channel_of_two_loses_nothing() {
    Model::bound(2).holds(capacity_of_two);
}

#[test]
fn a_sender_is_woken_by_a_receiver_that_tries() {
    Model::bound(2).holds(tries_before_it_parks);
}

#[test]
fn values_taken_have_to_be_counted_from_the_last_fence() {
    Model::bound(2).because(Why::Deadlock).fails_with(
        "values_taken_are_forgotten_without_fence",
        tries_before_it_parks,
    );
}

#[test]
fn a_parked_receiver_is_woken() {
    Model::bound(4).holds(one_value);
}

#[test]
fn a_batch_loses_nothing() {
    Model::bound(2).holds(a_batch);
}

#[test]
fn a_receiver_does_not_park_on_a_value_that_is_on_its_way() {
    Model::bound(1).holds(two_senders);
}

#[test]
fn a_completed_value_is_received_beside_one_on_its_way() {
    Model::bound(3).holds(a_value_behind_another);
}

#[test]
fn a_claimed_place_must_not_count_as_empty() {
    Model::bound(3)
        .because(Why::Says("empty beside a completed value"))
        .fails_with("claimed_place_counts_as_empty", a_value_behind_another);
    Model::bound(3)
        .because(Why::Says("empty beside a completed value"))
        .fails_with("overtaking_is_not_noted", a_value_behind_another);
}

#[test]
fn a_drain_waits_for_a_value_on_its_way() {
    Model::bound(3).holds(a_drain_behind_another);
}

#[test]
fn a_drain_has_to_look_whether_a_place_was_overtaken() {
    Model::bound(3)
        .because(Why::Race)
        .fails_with("overtaking_is_overlooked_by_drain", a_drain_behind_another);
}

#[test]
fn a_closed_channel_is_emptied() {
    Model::bound(3).holds(a_close);
}

#[test]
fn a_parked_receiver_is_woken_by_one_of_many() {
    Model::bound(5).with_plain_fences().holds(one_value);
}

#[test]
fn a_channel_of_two_loses_nothing_of_one_of_many() {
    Model::bound(2).with_plain_fences().holds(capacity_of_two);
}

#[test]
fn a_sole_sender_has_to_fence() {
    Model::bound(3)
        .because(Why::Deadlock)
        .fails_with("sole_sender_looks_without_light_fence", one_value);
}

#[test]
fn a_receiver_has_to_fence_for_a_sole_sender() {
    Model::bound(3)
        .because(Why::Deadlock)
        .fails_with("receiver_arms_without_heavy_fence", one_value);
}

#[test]
fn a_sole_sender_has_to_look_whether_the_queue_is_closed() {
    Model::bound(3)
        .because(Why::Says("what arrived"))
        .fails_with("sole_sender_overlooks_closing", a_hasty_close_beside_a_send);
}

#[test]
fn room_has_to_be_found_in_order() {
    // In a model the light fence would order it as well.
    let both = "room_is_found_relaxed sole_sender_looks_without_light_fence";
    Model::bound(3)
        .because(Why::Race)
        .fails_with(both, a_slot_used_again);
}

#[test]
fn a_slot_is_used_again() {
    Model::bound(4).holds(a_slot_used_again);
}

#[test]
fn a_send_beside_a_hasty_close_tells_the_truth() {
    Model::bound(3).holds(a_hasty_close_beside_a_send);
}

#[test]
fn a_send_beside_a_hasty_close_as_one_of_many_tells_the_truth() {
    Model::bound(3)
        .with_plain_fences()
        .holds(a_hasty_close_beside_a_send);
}

#[test]
fn a_send_beside_a_close_as_one_of_many_tells_the_truth() {
    Model::bound(3)
        .with_plain_fences()
        .holds(a_close_beside_a_send);
}

#[test]
fn a_send_beside_a_close_tells_the_truth() {
    Model::bound(3).holds(a_close_beside_a_send);
}

#[test]
fn a_receiver_that_finds_the_end_gets_nothing_more() {
    Model::bound(3).holds(a_close_beside_a_look);
}

#[test]
fn a_receiver_that_finds_the_end_of_one_of_many_gets_nothing_more() {
    Model::bound(3)
        .with_plain_fences()
        .holds(a_close_beside_a_look);
}

#[test]
fn the_tail_must_be_closed_before_the_end_is_stored() {
    Model::bound(3)
        .with_plain_fences()
        .because(Why::Says("delivered after the end"))
        .fails_with(
            "end_is_told_before_the_tail_is_closed",
            a_close_beside_a_look,
        );
}

#[test]
fn a_dropped_receiver_drops_its_values() {
    Model::bound(4).holds(a_receiver_that_is_dropped);
}

#[test]
fn a_receiver_has_to_arm_in_order() {
    Model::bound(3)
        .because(Why::Deadlock)
        .fails_with("receiver_arms_without_order", one_value);
}

#[test]
fn a_sender_has_to_look_in_order() {
    Model::bound(3)
        .with_plain_fences()
        .because(Why::Deadlock)
        .fails_with("sender_looks_without_order", one_value);
}

#[test]
fn a_receiver_must_not_park_on_a_claimed_place() {
    Model::bound(3)
        .because(Why::Deadlock)
        .fails_with("receiver_parks_on_a_claimed_place", one_value);
}

#[test]
fn a_value_has_to_be_published() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("value_is_published_relaxed", capacity_of_two);
}

#[test]
fn a_slot_has_to_be_given_back() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("slot_is_freed_relaxed", capacity_of_one);
}

#[test]
fn a_parked_receiver_is_woken_by_a_batch() {
    Model::bound(4).holds(a_batch_of_one);
}

#[test]
fn a_sender_of_a_batch_has_to_look_in_order() {
    Model::bound(3)
        .with_plain_fences()
        .because(Why::Deadlock)
        .fails_with("sender_looks_without_order", a_batch_of_one);
}

#[test]
fn an_end_wakes_a_parked_receiver() {
    Model::bound(3).holds(an_end);
}

#[test]
fn an_end_has_to_look_in_order() {
    Model::bound(3)
        .because(Why::Deadlock)
        .fails_with("end_looks_without_order", an_end);
}

#[test]
fn an_evicting_sender_has_to_look_in_order() {
    Model::bound(5).holds(one_value_that_may_evict);
    Model::bound(3).because(Why::Deadlock).fails_with(
        "evicting_sender_looks_without_order",
        one_value_that_may_evict,
    );
}
