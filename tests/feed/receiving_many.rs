//! Receives of several values at a time, without blocking a thread.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::thread;

use fanfeed::{Feed, Overflow, RecvError};
use futures_util::FutureExt;

use crate::common::tasks::{counting_waker, in_time};

const POLICIES: [Overflow; 4] = [
    Overflow::Block,
    Overflow::DropNewest,
    Overflow::DropOldest,
    Overflow::Disconnect,
];

#[test]
fn a_receive_takes_what_is_there_up_to_its_limit() {
    for overflow in POLICIES {
        let feed = Feed::new();
        let mut receiver = feed
            .subscriber()
            .capacity(8)
            .overflow(overflow)
            .channel()
            .unwrap();
        feed.send_batch(0..5);
        let mut values = vec![9];
        let mut many = |limit| receiver.recv_many(&mut values, limit).now_or_never();
        assert_eq!(many(0), Some(Ok(0)), "{overflow:?}");
        assert_eq!(many(3), Some(Ok(3)), "{overflow:?}");
        assert_eq!(many(usize::MAX), Some(Ok(2)), "{overflow:?}");
        assert_eq!(many(1), None, "{overflow:?}");
        feed.close();
        assert_eq!(many(0), Some(Ok(0)), "{overflow:?}");
        assert_eq!(many(1), Some(Err(RecvError::Closed)), "{overflow:?}");
        assert_eq!(values, [9, 0, 1, 2, 3, 4], "{overflow:?}");
    }
}

#[test]
fn a_receive_stops_at_missed_values_and_the_next_reports_them() {
    let feed = Feed::new();
    let mut receiver = feed
        .subscriber()
        .capacity(2)
        .overflow(Overflow::DropNewest)
        .channel()
        .unwrap();
    feed.send_batch(0..5);
    let mut values = Vec::new();
    assert_eq!(
        receiver.recv_many(&mut values, 1).now_or_never(),
        Some(Ok(1))
    );
    feed.send(5);
    for expected in [Ok(1), Err(RecvError::Lagged(3)), Ok(1)] {
        let received = receiver.recv_many(&mut values, 9).now_or_never();
        assert_eq!(received, Some(expected));
    }
    assert_eq!((values, receiver.missed()), (vec![0, 1, 5], 3));
}

#[test]
fn a_receive_under_drop_oldest_reports_first_what_was_pushed_out() {
    let feed = Feed::new();
    let mut receiver = feed
        .subscriber()
        .capacity(2)
        .overflow(Overflow::DropOldest)
        .channel()
        .unwrap();
    feed.send_batch(0..5);
    let mut values = Vec::new();
    for expected in [Err(RecvError::Lagged(3)), Ok(2)] {
        let received = receiver.recv_many(&mut values, 9).now_or_never();
        assert_eq!(received, Some(expected));
    }
    assert_eq!(values, [3, 4]);
}

#[test]
fn a_receive_that_is_dropped_loses_nothing_and_leaves_no_waker() {
    let feed = Feed::new();
    let mut receiver = feed.channel(4).unwrap();
    let (count, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    let mut values = Vec::new();
    let held = std::sync::Arc::strong_count(&count);
    {
        let mut receive = pin!(receiver.recv_many(&mut values, 4));
        assert!(receive.as_mut().poll(&mut context).is_pending());
        feed.send_batch([1, 2]);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
    assert_eq!(std::sync::Arc::strong_count(&count), held);
    assert!(values.is_empty());
    let received = receiver.recv_many(&mut values, 4).now_or_never();
    assert_eq!((received, values), (Some(Ok(2)), vec![1, 2]));
}

#[tokio::test]
async fn values_of_several_threads_all_arrive_in_the_order_of_each() {
    const EACH: usize = 5_000;
    for overflow in [Overflow::Block, Overflow::DropOldest] {
        let feed = Feed::new();
        let capacity = if overflow == Overflow::Block {
            16
        } else {
            4 * EACH
        };
        let mut receiver = feed
            .subscriber()
            .capacity(capacity)
            .overflow(overflow)
            .channel()
            .unwrap();
        let senders = [0, 1, 2].map(|sender| {
            let feed = feed.clone();
            thread::spawn(move || {
                (0..EACH).for_each(|value| {
                    feed.send((sender, value));
                })
            })
        });
        drop(feed);
        let (mut next, mut values) = ([0; 3], Vec::new());
        loop {
            match in_time(receiver.recv_many(&mut values, 32)).await {
                Ok(received) => assert_eq!(received, values.len()),
                Err(RecvError::Closed) => break,
                Err(error) => panic!("{overflow:?}: {error}"),
            }
            assert!(values.len() <= 32);
            for (sender, value) in values.drain(..) {
                assert_eq!(value, next[sender], "{overflow:?}");
                next[sender] += 1;
            }
        }
        assert_eq!(next, [EACH; 3], "{overflow:?}");
        for sender in senders {
            sender.join().unwrap();
        }
    }
}
