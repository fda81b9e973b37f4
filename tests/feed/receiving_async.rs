//! Receives without blocking a thread, and streams.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use fanfeed::{Feed, Overflow, Receiver, RecvError};
use futures_util::stream::{FusedStream, Stream};
use futures_util::{FutureExt, StreamExt};

use crate::common::eventually;
use crate::common::tasks::{counting_waker, in_time};

#[tokio::test]
async fn a_stream_yields_all_values_and_ends_with_the_feed() {
    let feed = Feed::new();
    let stream = feed.channel(4).unwrap();
    let sender = std::thread::spawn(move || {
        for value in 0..1000u32 {
            feed.send(value);
        }
    });
    let values: Vec<_> = in_time(stream.collect()).await;
    sender.join().unwrap();
    assert_eq!(values, (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_stream_says_how_much_is_there_and_when_nothing_more_can_come() {
    let feed = Feed::new();
    let mut stream = feed.channel(4).unwrap();
    for count in 0..3 {
        assert_eq!(stream.size_hint(), (count, None));
        feed.send(count);
    }
    assert!(!stream.is_terminated());
    drop(feed);
    for count in (0..3).rev() {
        assert!(!stream.is_terminated());
        assert!(stream.next().now_or_never().flatten().is_some());
        assert_eq!(stream.size_hint(), (count, None));
    }
    assert!(stream.is_terminated());
    let open = Feed::<u8>::new();
    assert!(!open.channel(1).unwrap().is_terminated(), "though empty");
}

#[tokio::test]
async fn a_receive_that_is_dropped_loses_nothing() {
    let feed = Feed::new();
    let mut receiver = feed.channel(4).unwrap();
    for value in 0..100 {
        // Polled once with nothing there, then dropped, while the value arrives.
        assert!(receiver.recv_async().now_or_never().is_none());
        feed.send(value);
        assert_eq!(in_time(receiver.recv_async()).await, Ok(value));
    }
    drop(feed);
    assert_eq!(in_time(receiver.recv_async()).await, Err(RecvError::Closed));
}

#[test]
fn a_future_that_is_dropped_takes_its_waker_along() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let (count, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    let mut polled = |future: &mut (dyn Future<Output = ()> + Unpin)| {
        let before = count.0.load(Ordering::SeqCst);
        assert!(std::pin::Pin::new(future).poll(&mut context).is_pending());
        // A timer may have woken it already, which takes the waker.
        assert!(Arc::strong_count(&count) > 2 || count.0.load(Ordering::SeqCst) > before);
    };
    polled(&mut receiver.recv_async().map(|_| ()));
    assert_eq!(Arc::strong_count(&count), 2, "a receive");
    let mut closed = receiver.subscription().closed();
    polled(&mut closed);
    drop(closed);
    assert_eq!(Arc::strong_count(&count), 2, "a wait for an end");
    feed.send(0);
    polled(&mut feed.send_async(1).map(|_| ()));
    // The watch of the channel may still know the channel, and no waker once it has woken it.
    eventually(|| Arc::strong_count(&count) == 2);
    let (sync, _sync) = std::sync::mpsc::sync_channel(0);
    let (met, _met) = crossbeam_channel::bounded(0);
    #[cfg(feature = "tokio")]
    let (tokio, _tokio) = tokio::sync::mpsc::channel(1);
    let ring = fanfeed::RingFeed::new(1).unwrap();
    let _reader = ring.subscribe();
    drop(receiver);
    let subscribe_each: &[&dyn Fn() -> fanfeed::Subscription] = &[
        &|| feed.subscribe(sync.clone()),
        &|| feed.subscribe(met.clone()),
        #[cfg(feature = "tokio")]
        &|| feed.subscribe(tokio.clone()),
        &|| feed.subscribe(ring.clone()),
    ];
    for subscribe in subscribe_each {
        let _subscription = subscribe();
        let _ = feed.try_send(1);
        polled(&mut feed.send_async(2).map(|_| ()));
        // Not at once: the thread of the timers may be about to drop what it has woken.
        eventually(|| Arc::strong_count(&count) == 2);
    }
}

#[test]
fn a_future_that_was_never_polled_leaves_the_waker_of_a_stream() {
    let feed = Feed::new();
    let mut receiver = feed.channel(4).unwrap();
    let (count, waker) = counting_waker();
    let (mut context, mut values) = (Context::from_waker(&waker), Vec::new());
    for value in 0..3 {
        assert!(receiver.poll_next_unpin(&mut context).is_pending());
        match value {
            0 => drop(receiver.recv_async()),
            1 => drop(receiver.recv_many(&mut values, 4)),
            _ => drop(receiver.recv_many(&mut values, 0).now_or_never()),
        }
        feed.send(value);
        assert_eq!(count.0.load(Ordering::SeqCst), value + 1);
        assert_eq!(receiver.try_recv(), Ok(value));
    }
}

#[test]
fn a_waiting_receive_is_woken_by_a_send_and_by_the_end() {
    let feed = Feed::new();
    let mut receiver: Receiver<u8> = feed.channel(4).unwrap();
    let (count, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    {
        let mut receive = pin!(receiver.recv_async());
        assert!(receive.as_mut().poll(&mut context).is_pending());
        feed.send(1);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(receive.poll(&mut context), Poll::Ready(Ok(1)));
    }
    let mut receive = pin!(receiver.recv_async());
    assert!(receive.as_mut().poll(&mut context).is_pending());
    feed.close();
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
    assert_eq!(
        receive.poll(&mut context),
        Poll::Ready(Err(RecvError::Closed))
    );
}

#[tokio::test]
async fn a_lagging_receive_learns_how_many_it_missed_and_a_stream_skips_them() {
    let feed = Feed::new();
    let builder = || feed.subscriber().capacity(2).overflow(Overflow::DropOldest);
    let (mut receiver, mut stream) = (builder().channel().unwrap(), builder().channel().unwrap());
    for value in 0..5 {
        feed.send(value);
    }
    assert_eq!(
        in_time(receiver.recv_async()).await,
        Err(RecvError::Lagged(3))
    );
    assert_eq!(in_time(receiver.recv_async()).await, Ok(3));
    assert_eq!(in_time(stream.next()).await, Some(3));
    assert_eq!(stream.missed(), 3);
}

#[tokio::test]
async fn the_end_of_a_subscription_can_be_awaited() {
    let feed = Feed::<u8>::new();
    let receiver = feed.channel(1).unwrap();
    let (receiver, subscription) = receiver.split();
    let waiting = tokio::spawn(async move { subscription.closed().await });
    drop(receiver);
    in_time(waiting).await.unwrap();
}
