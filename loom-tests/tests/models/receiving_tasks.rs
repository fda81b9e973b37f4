//! Receives that wait as tasks, and a send on a feed that waits as a task.
//!
//! Modelled: a task under loom's own `block_on`, beside one or two threads that send, and a close:
//! on an own channel of capacity 1 or 2, and on a ring. A feed on which one thread sends and a feed
//! that threads share, whose senders claim a place before they fill it. A send that waits for room
//! behind a full channel. Timers do not fire, so that nothing makes up for a lost wake-up. Bounds:
//! two or three threads, two values, one to three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models receiving_tasks::
//! ```
use fanfeed::{Feed, RecvError, RingFeed};
use fanfeed_loom_tests::{Model, Why};
use loom::future::block_on;
use loom::thread;

/// A task receives what a thread sends, and the end.
fn a_channel() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let sender = thread::spawn(move || feed.send_batch([0, 1]));
    block_on(async {
        assert_eq!(receiver.recv_async().await, Ok(0));
        assert_eq!(receiver.recv_async().await, Ok(1));
        assert_eq!(receiver.recv_async().await, Err(RecvError::Closed));
    });
    assert_eq!(sender.join().unwrap(), 2);
}

/// A task receives what two threads send.
fn two_senders() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    let senders = [1, 2].map(|value| {
        let feed = feed.clone();
        thread::spawn(move || feed.send(value))
    });
    let sum = block_on(async {
        receiver.recv_async().await.unwrap() + receiver.recv_async().await.unwrap()
    });
    assert_eq!(sum, 3);
    for sender in senders {
        assert_eq!(sender.join().unwrap(), 1);
    }
}

/// A task takes several values at a time from two threads.
fn many_from_two_senders() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    let senders = [1, 2].map(|value| {
        let feed = feed.clone();
        thread::spawn(move || feed.send(value))
    });
    let mut values = Vec::new();
    while values.len() < 2 {
        let before = values.len();
        let received = block_on(receiver.recv_many(&mut values, 2));
        assert_eq!(received, Ok(values.len() - before));
    }
    assert_eq!(values.iter().sum::<u32>(), 3);
    for sender in senders {
        sender.join().unwrap();
    }
}

/// A task reads what a thread sends on a ring, and the end.
fn a_ring() {
    let ring = RingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    let sender = thread::spawn(move || {
        ring.send(0);
        ring.send(1)
    });
    block_on(async {
        assert_eq!(reader.recv_async().await, Ok(0));
        assert_eq!(reader.wait_async().await, Ok(()));
        assert_eq!(reader.recv_async().await, Ok(1));
        assert_eq!(reader.wait_async().await, Err(RecvError::Closed));
    });
    assert_eq!(sender.join().unwrap(), 1);
}

/// A task waits for room in an own channel.
fn a_send() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(0);
    let sender = thread::spawn(move || block_on(feed.send_async(1)));
    assert_eq!(receiver.recv(), Ok(0));
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(sender.join().unwrap(), 1);
}

#[test]
fn a_task_is_woken_for_each_value_and_for_the_end() {
    Model::bound(2).holds(a_channel);
}

#[test]
fn a_task_waits_for_a_sender_that_fills_its_place() {
    Model::bound(1).holds(two_senders);
    Model::bound(1).with_shared_feeds().holds(two_senders);
}

#[test]
fn a_task_takes_all_values_of_two_senders() {
    Model::bound(1)
        .with_shared_feeds()
        .holds(many_from_two_senders);
}

#[test]
fn a_task_is_woken_for_what_is_sent_on_a_ring() {
    Model::bound(3).holds(a_ring);
}

#[test]
fn a_task_is_woken_for_room() {
    Model::bound(3).holds(a_send);
}

#[test]
fn a_task_has_to_announce_that_it_waits_before_it_looks() {
    Model::bound(3)
        .because(Why::Deadlock)
        .fails_with("receiver_arms_without_order", a_channel);
}

#[test]
fn a_task_has_to_poll_again_for_a_claimed_place() {
    Model::bound(2)
        .with_shared_feeds()
        .because(Why::Deadlock)
        .fails_with("receiver_parks_on_a_claimed_place", two_senders);
}
