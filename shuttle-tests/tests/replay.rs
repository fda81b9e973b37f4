//! A schedule that failed fails again when it is replayed.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release --test replay
//! ```
#![cfg(fanfeed_shuttle)]

use fanfeed::{Feed, Overflow};
use fanfeed_shuttle_tests::{Schedules, Why, post};
use shuttle::thread;

/// Three send, and one unsubscribes meanwhile.
fn an_unsubscribe() {
    let feed = Feed::new();
    let (post, post_box) = post(8);
    let subscription = feed.subscribe(post);
    let senders: Vec<_> = (0..3)
        .map(|sender| {
            let feed = feed.clone();
            thread::spawn(move || feed.send(sender) + feed.send(sender))
        })
        .collect();
    subscription.unsubscribe();
    post_box.assert_ended();
    let sent: usize = senders
        .into_iter()
        .map(|sender| sender.join().unwrap())
        .sum();
    assert_eq!(std::iter::from_fn(|| post_box.take()).count(), sent);
}

/// Two send to a channel that is full, which tells how many it has refused.
fn the_last_misses() {
    let feed = Feed::new();
    let options = feed.subscriber().capacity(1);
    let mut receiver = options.overflow(Overflow::DropNewest).channel().unwrap();
    let senders = [1, 2].map(|value| {
        let feed = feed.clone();
        thread::spawn(move || feed.send(value))
    });
    drop(feed);
    let received = receiver.iter().count();
    assert_eq!(received as u64 + receiver.missed(), 2);
    for sender in senders {
        sender.join().unwrap();
    }
}

/// Each is the first to send, as far as it knows.
fn two_senders() {
    let feed = Feed::new();
    let receiver = feed.channel(8).unwrap();
    let senders = [1, 2].map(|value| {
        let feed = feed.clone();
        thread::spawn(move || feed.send(value) + feed.send(value))
    });
    let sent: usize = senders
        .into_iter()
        .map(|sender| sender.join().unwrap())
        .sum();
    assert_eq!(receiver.len(), sent, "values were lost");
}

#[test]
fn two_senders_lose_nothing() {
    Schedules::new().hold(two_senders);
}

#[test]
fn an_unsubscribe_that_is_right_never_fails() {
    Schedules::new().hold(an_unsubscribe);
}

#[test]
fn misses_that_are_right_never_fail() {
    Schedules::new().hold(the_last_misses);
}

#[test]
fn a_failure_can_be_replayed() {
    Schedules::new()
        .because(Why::Says("values were lost"))
        .find_again("sole_sender_is_not_waited_for", two_senders);
}

#[test]
fn a_deadlock_can_be_replayed() {
    Schedules::new()
        .because(Why::Deadlock)
        .find_again("end_wakes_no_sender", || {
            let feed = Feed::new();
            let receiver = feed.channel(1).unwrap();
            feed.send(0);
            let senders = [1, 2].map(|value| {
                let feed = feed.clone();
                thread::spawn(move || feed.send(value))
            });
            receiver.subscription().unsubscribe();
            for sender in senders {
                sender.join().unwrap();
            }
        });
}
