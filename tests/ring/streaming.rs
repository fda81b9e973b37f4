//! Reading without blocking a thread.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use fanfeed::{ExclusiveRingFeed, Feed, RecvError, RingFeed, TryRecvError, ring};
use futures_util::stream::FusedStream;
use futures_util::{FutureExt, StreamExt};

use crate::WAITINGS;
use crate::common::tasks::{counting_waker, in_time};

#[tokio::test]
async fn a_ring_is_a_stream_that_ends_with_it() {
    for waiting in WAITINGS {
        let mut ring = ExclusiveRingFeed::new(4).unwrap();
        let stream = ring.subscriber().wait_strategy(waiting).subscribe();
        let sender = std::thread::spawn(move || ring.send_batch(0..1000_u64));
        let values: Vec<_> = in_time(stream.collect()).await;
        sender.join().unwrap();
        assert_eq!(values, (0..1000).collect::<Vec<_>>());
    }
}

#[test]
fn a_stream_of_a_ring_has_terminated_once_nothing_more_can_come() {
    let ring = RingFeed::new(4).unwrap();
    let (mut reader, cut) = (ring.subscribe(), ring.subscribe());
    ring.send(1);
    assert!(!reader.is_terminated() && !cut.is_terminated());
    cut.subscription().unsubscribe();
    assert!(cut.is_terminated());
    drop(ring);
    assert!(!reader.is_terminated());
    assert_eq!(reader.next().now_or_never(), Some(Some(1)));
    assert!(reader.is_terminated());
}

#[test]
fn a_reader_that_waits_no_longer_keeps_no_waker() {
    let ring = RingFeed::<u8>::new(4).unwrap();
    let (count, waker) = counting_waker();
    let held = std::sync::Arc::strong_count(&count);
    let mut reader = ring.subscribe();
    {
        let mut context = Context::from_waker(&waker);
        assert!(reader.poll_next_unpin(&mut context).is_pending());
    }
    assert!(std::sync::Arc::strong_count(&count) > held);
    drop(reader);
    assert_eq!(std::sync::Arc::strong_count(&count), held);
}

#[test]
fn a_future_of_a_ring_that_was_never_polled_leaves_the_waker_of_a_stream() {
    let ring = RingFeed::new(4).unwrap();
    let mut reader = ring.subscribe();
    let (count, waker) = counting_waker();
    let (mut context, mut values) = (Context::from_waker(&waker), Vec::new());
    for value in 0..4 {
        assert!(reader.poll_next_unpin(&mut context).is_pending());
        match value {
            0 => drop(reader.recv_async()),
            1 => drop(reader.recv_many(&mut values, 4)),
            2 => drop(reader.recv_many(&mut values, 0).now_or_never()),
            _ => drop(reader.wait_async()),
        }
        ring.send(value);
        assert_eq!(count.0.load(Ordering::SeqCst), value + 1);
        assert_eq!(reader.try_recv(), Ok(value));
    }
}

#[tokio::test]
async fn a_receive_from_a_ring_that_is_dropped_loses_nothing() {
    let ring = RingFeed::new(4).unwrap();
    let mut reader = ring.subscribe();
    for value in 0..100 {
        // Polled once with nothing there, then dropped, while the value arrives.
        assert!(reader.recv_async().now_or_never().is_none());
        ring.send(value);
        assert_eq!(in_time(reader.recv_async()).await, Ok(value));
    }
    assert!(reader.recv_async().now_or_never().is_none());
    ring.send(100);
    // It can be read by other ways as well.
    assert_eq!(reader.try_recv(), Ok(100));
    assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
    drop(ring);
    assert_eq!(in_time(reader.recv_async()).await, Err(RecvError::Closed));
    assert_eq!(in_time(reader.next()).await, None);
}

#[test]
fn a_waiting_receive_from_a_ring_is_woken_by_a_send_an_end_and_an_unsubscribe() {
    for unsubscribes in [false, true] {
        let ring = RingFeed::<u8>::new(4).unwrap();
        let (mut reader, subscription) = ring.subscribe().split();
        let (count, waker) = counting_waker();
        let mut context = Context::from_waker(&waker);
        {
            let mut receive = pin!(reader.recv_async());
            assert!(receive.as_mut().poll(&mut context).is_pending());
            ring.send(1);
            assert_eq!(count.0.load(Ordering::SeqCst), 1);
            assert_eq!(receive.poll(&mut context), Poll::Ready(Ok(1)));
        }
        let mut receive = pin!(reader.recv_async());
        assert!(receive.as_mut().poll(&mut context).is_pending());
        assert!(receive.as_mut().poll(&mut context).is_pending());
        if unsubscribes {
            subscription.unsubscribe();
        } else {
            ring.close();
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
        let closed = Err(RecvError::Closed);
        assert_eq!(receive.poll(&mut context), Poll::Ready(closed));
    }
}

#[tokio::test]
async fn a_receive_that_moves_to_another_task_wakes_that_one() {
    let ring = RingFeed::<u8>::new(4).unwrap();
    let mut reader = ring.subscribe();
    let (first, first_waker) = counting_waker();
    let (second, second_waker) = counting_waker();
    let mut receive = pin!(reader.recv_async());
    let poll = receive
        .as_mut()
        .poll(&mut Context::from_waker(&first_waker));
    assert!(poll.is_pending());
    let mut context = Context::from_waker(&second_waker);
    assert!(receive.as_mut().poll(&mut context).is_pending());
    ring.send(1);
    assert_eq!(first.0.load(Ordering::SeqCst), 0);
    assert_eq!(second.0.load(Ordering::SeqCst), 1);
    assert_eq!(in_time(receive).await, Ok(1));
}

#[tokio::test]
async fn a_lagging_receive_from_a_ring_says_so_and_its_stream_skips_that() {
    let mut ring = ExclusiveRingFeed::new(2).unwrap();
    let mut readers = [(); 2].map(|()| {
        let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
        builder.subscribe()
    });
    let builder = ring.subscriber().overflow(ring::Overflow::Disconnect);
    let mut hasty = builder.subscribe();
    ring.send_batch(0..5);
    let [receiver, stream] = &mut readers;
    let lagged = Err(RecvError::Lagged(3));
    assert_eq!(in_time(receiver.recv_async()).await, lagged);
    assert_eq!(in_time(receiver.recv_async()).await, Ok(3));
    assert_eq!(in_time(stream.next()).await, Some(3));
    assert_eq!(stream.missed(), 3);
    let overflowed = Err(RecvError::Overflowed);
    assert_eq!(in_time(hasty.recv_async()).await, overflowed);
    assert_eq!(in_time(hasty.next()).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_read_one_ring_and_all_learn_of_its_end() {
    for capacity in [1, 16] {
        let ring = RingFeed::new(capacity).unwrap();
        let tasks: Vec<_> = (0..20)
            .map(|_| tokio::spawn(ring.subscribe().collect::<Vec<_>>()))
            .collect();
        let idle = tokio::spawn(RingFeed::<u8>::new(1).unwrap().subscribe().count());
        let sender = std::thread::spawn(move || {
            for value in 0..300_u64 {
                ring.send(value);
            }
        });
        for task in tasks {
            assert!(in_time(task).await.unwrap().into_iter().eq(0..300));
        }
        assert_eq!(in_time(idle).await.unwrap(), 0);
        sender.join().unwrap();
    }
}

#[tokio::test]
async fn a_send_on_a_feed_waits_for_room_in_a_ring_without_a_thread() {
    let feed = Feed::new();
    let ring = RingFeed::new(1).unwrap();
    let mut reader = ring.subscribe();
    let subscription = feed.subscribe(ring);
    assert_eq!(in_time(feed.send_async(0)).await, 1);
    for value in 1..50 {
        let mut send = feed.send_async(value);
        assert!((&mut send).now_or_never().is_none());
        assert_eq!(reader.try_recv(), Ok(value - 1));
        assert_eq!(in_time(send).await, 1);
    }
    // One that is given up leaves its place to others.
    let mut abandoned = feed.send_async(1000);
    assert!((&mut abandoned).now_or_never().is_none());
    drop(abandoned);
    let waiting = tokio::spawn({
        let feed = feed.clone();
        async move { feed.send_async(50).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(reader.try_recv(), Ok(49));
    assert_eq!(in_time(waiting).await.unwrap(), 1);
    assert_eq!(in_time(reader.next()).await, Some(50));
    subscription.unsubscribe();
    assert_eq!(in_time(reader.next()).await, None);
}

#[test]
fn a_receive_that_is_dropped_takes_its_waker_along() {
    let ring = RingFeed::new(4).unwrap();
    let mut reader = ring.subscribe();
    let (count, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    for round in 0..3 {
        {
            let receive = pin!(reader.recv_async());
            assert_eq!(
                std::future::Future::poll(receive, &mut context),
                Poll::Pending
            );
        }
        assert_eq!(
            std::sync::Arc::strong_count(&count),
            2,
            "kept in round {round}"
        );
        ring.send(round);
        assert_eq!(reader.try_recv(), Ok(round));
    }
    assert_eq!(count.0.load(Ordering::SeqCst), 0);
}
