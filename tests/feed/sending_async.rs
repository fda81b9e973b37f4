//! Sends without blocking a thread, to synchronous and asynchronous subscribers.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use fanfeed::{Carrier, Feed, Overflow, RecvError, TrySendError};
use futures_util::FutureExt;
#[cfg(feature = "tokio")]
use futures_util::StreamExt;

use crate::common::tasks::{counting_waker, in_time};
use crate::common::{PATIENCE, Tally, eventually};

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_send_waits_for_full_own_and_tokio_channels_and_for_foreign_ones() {
    let feed = Feed::new();
    let own = feed.channel(1).unwrap();
    let own = tokio::spawn(own.collect::<Vec<u32>>());
    let (tokio_tx, mut tokio_rx) = tokio::sync::mpsc::channel(1);
    feed.subscribe(tokio_tx).detach();
    let tokio = tokio::spawn(async move {
        let mut values = Vec::new();
        while let Some(value) = tokio_rx.recv().await {
            values.push(value);
        }
        values
    });
    let (bounded_tx, bounded_rx) = crossbeam_channel::bounded(1);
    feed.subscribe(bounded_tx).detach();
    let bounded = std::thread::spawn(move || bounded_rx.iter().collect::<Vec<_>>());
    let (rendezvous_tx, rendezvous_rx) = crossbeam_channel::bounded(0);
    feed.subscribe(rendezvous_tx).detach();
    let rendezvous = std::thread::spawn(move || rendezvous_rx.iter().collect::<Vec<_>>());
    let (sync_tx, sync_rx) = std::sync::mpsc::sync_channel(1);
    feed.subscribe(sync_tx).detach();
    let sync = std::thread::spawn(move || sync_rx.iter().collect::<Vec<_>>());

    let sent: Vec<_> = (0..200).collect();
    for &value in &sent {
        assert_eq!(in_time(feed.send_async(value)).await, 5);
    }
    feed.close();
    assert_eq!(in_time(own).await.unwrap(), sent);
    assert_eq!(in_time(tokio).await.unwrap(), sent);
    for thread in [bounded, rendezvous, sync] {
        assert_eq!(thread.join().unwrap(), sent);
    }
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_blocking_send_waits_for_tokio_channels_too() {
    let feed = Feed::new();
    let (tx, mut rx) = tokio::sync::mpsc::channel(1);
    let subscription = feed.subscribe(tx);
    let senders: Vec<_> = (0..4u32)
        .map(|sender| {
            let feed = feed.clone();
            std::thread::spawn(move || {
                (0..250)
                    .map(|value| feed.send((sender, value)))
                    .sum::<usize>()
            })
        })
        .collect();
    let mut next = [0; 4];
    for _ in 0..1000 {
        let (sender, value) = in_time(rx.recv()).await.unwrap();
        assert_eq!(value, next[sender as usize]);
        next[sender as usize] += 1;
    }
    assert_eq!(
        senders
            .into_iter()
            .map(|sender| sender.join().unwrap())
            .sum::<usize>(),
        1000
    );
    let stats = subscription.stats();
    assert_eq!(
        (stats.delivered, stats.dropped, stats.depth),
        (1000, 0, Some(0))
    );
}

#[test]
fn a_waiting_send_counts_as_blocked_until_it_is_dropped() {
    let feed = Feed::new();
    let own = feed.channel(1).unwrap();
    feed.send(0);
    let mut send = feed.send_async(1);
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert_eq!(own.stats().blocked_now, None);
    for _ in 0..2 {
        assert!(send.poll_unpin(&mut context).is_pending());
        let stats = own.stats();
        assert!(stats.blocked == 1 && stats.blocked_now.is_some());
        assert!(stats.blocked_for >= stats.blocked_now.unwrap());
    }
    drop(send);
    assert_eq!(own.stats().blocked_now, None);
}

#[tokio::test]
async fn a_waiting_send_that_is_dropped_is_reported_to_the_subscribers_that_missed_it() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    assert_eq!(feed.send_async(0).await, 1);
    for value in [1, 2] {
        let send = feed.send_async(value);
        let limited = tokio::time::timeout(Duration::from_millis(1), send).await;
        assert!(limited.is_err());
    }
    // Never polled, it was not sent.
    drop(feed.send_async(3));
    assert_eq!(receiver.recv_async().await, Ok(0));
    assert_eq!(feed.send_async(4).await, 1);
    assert_eq!(receiver.recv_async().await, Err(RecvError::Lagged(2)));
    assert_eq!(receiver.recv_async().await, Ok(4));
    // A task that waits is woken by a gap.
    feed.send(5);
    let mut pending = Box::pin(feed.send_async(6));
    assert!(pending.as_mut().now_or_never().is_none());
    assert_eq!(receiver.recv_async().await, Ok(5));
    let mut receive = Box::pin(receiver.recv_async());
    let (woken, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    assert!(receive.as_mut().poll(&mut context).is_pending());
    drop(pending);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    let told = receive.as_mut().poll(&mut context);
    assert_eq!(told, Poll::Ready(Err(RecvError::Lagged(1))));
    drop(receive);
    assert_eq!((receiver.missed(), receiver.stats().dropped), (3, 3));
}

#[tokio::test]
async fn a_send_that_is_dropped_midway_stays_delivered_where_it_was() {
    let feed = Feed::new();
    let mut roomy = feed.channel(8).unwrap();
    let mut full = feed.channel(1).unwrap();
    feed.send('a');
    let mut other = feed.channel(8).unwrap();
    let mut send = feed.send_async('b');
    assert_eq!(send.delivered(), 0);
    assert!((&mut send).now_or_never().is_none());
    assert_eq!(send.delivered(), 2);
    let text = format!("{send:?}");
    assert!(
        text.contains("delivered: 2") && text.contains("completed: false"),
        "{text}"
    );
    drop(send);
    assert_eq!(other.try_recv(), Ok('b'));
    drop(other);
    drop(feed.send_async('c'));
    assert_eq!(roomy.try_iter().collect::<String>(), "ab");
    assert_eq!(full.try_iter().collect::<String>(), "a");
    // The place in the queue for room was given back too.
    assert_eq!(in_time(feed.send_async('d')).await, 2);
    assert_eq!(full.stats().delivered, 2);
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_send_to_a_full_tokio_channel_that_is_dropped_leaves_its_room_to_others() {
    let feed = Feed::new();
    let (tx, mut rx) = tokio::sync::mpsc::channel(1);
    assert_eq!(Carrier::<u8>::depth(&tx), Some(0));
    let subscription = feed.subscribe(tx);
    feed.send(1);
    assert_eq!(subscription.stats().depth, Some(1));
    let mut abandoned = feed.send_async(2);
    assert!((&mut abandoned).now_or_never().is_none());
    assert_eq!(rx.recv().await, Some(1));
    // Room has been promised to the abandoned send by now.
    drop(abandoned);
    assert_eq!(in_time(feed.send_async(3)).await, 1);
    assert_eq!(rx.recv().await, Some(3));
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_blocked_send_goes_on_when_the_subscription_ends() {
    let feed = Feed::new();
    let (tx, mut rx) = tokio::sync::mpsc::channel(1);
    let subscription = feed.subscribe(tx);
    let _full = feed.subscribe(tokio::sync::mpsc::channel(1).0);
    feed.send(1);
    let blocked = tokio::spawn({
        let feed = feed.clone();
        async move { feed.send_async(2).await }
    });
    in_time(async {
        while subscription.stats().blocked == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    subscription.unsubscribe();
    assert_eq!(in_time(blocked).await.unwrap(), 0);
    // The carrier was dropped: its far end gets what was in it, then is disconnected.
    assert_eq!((rx.recv().await, rx.recv().await), (Some(1), None));
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_tokio_receiver_that_is_gone_ends_its_subscription() {
    let feed = Feed::new();
    let (tx, rx) = tokio::sync::mpsc::channel::<u8>(1);
    let subscription = feed.subscribe(tx);
    let (unbounded_tx, unbounded_rx) = tokio::sync::mpsc::unbounded_channel();
    let unbounded = feed.subscribe(unbounded_tx);
    assert_eq!(feed.send(1), 2);
    drop((rx, unbounded_rx));
    assert_eq!(feed.send(2), 0);
    in_time(subscription.closed()).await;
    in_time(unbounded.closed()).await;
    assert_eq!(feed.subscriber_count(), 0);
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn sends_from_many_tasks_and_threads_conserve_every_value() {
    const EACH: usize = 300;
    let feed = Feed::new();
    let own = tokio::spawn(feed.channel(2).unwrap().count());
    let (tx, mut rx) = tokio::sync::mpsc::channel(2);
    let tokio_subscription = feed.subscribe(tx);
    let tokio = tokio::spawn(async move {
        let mut count = 0;
        while rx.recv().await.is_some() {
            count += 1;
        }
        count
    });
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let feed = feed.clone();
            tokio::spawn(async move {
                for value in 0..EACH {
                    assert_eq!(feed.send_async(value).await, 2);
                }
            })
        })
        .collect();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let feed = feed.clone();
            std::thread::spawn(move || (0..EACH).for_each(|value| assert_eq!(feed.send(value), 2)))
        })
        .collect();
    for task in tasks {
        in_time(task).await.unwrap();
    }
    for thread in threads {
        in_time(tokio::task::spawn_blocking(move || thread.join().unwrap()))
            .await
            .unwrap();
    }
    assert_eq!(tokio_subscription.stats().delivered as usize, 5 * EACH);
    feed.close();
    assert_eq!(in_time(own).await.unwrap(), 5 * EACH);
    assert_eq!(in_time(tokio).await.unwrap(), 5 * EACH);
}

#[tokio::test]
async fn a_send_of_a_feed_whose_handles_are_gone_reaches_no_subscriber() {
    let feed = Feed::new();
    let _receiver = feed.channel(1).unwrap();
    let send = feed.send_async(1);
    drop(feed);
    assert_eq!(in_time(send).await, 0);
}

#[tokio::test]
async fn a_send_meets_receivers_of_zero_capacity_channels_that_wait() {
    type Receive = fn(&crossbeam_channel::Receiver<u32>) -> u32;
    let ways: [Receive; 3] = [
        |rx| rx.recv().unwrap(),
        |rx| rx.recv_timeout(PATIENCE).unwrap(),
        |rx| {
            crossbeam_channel::select! {
                recv(rx) -> value => value.unwrap(),
                recv(crossbeam_channel::never::<()>()) -> _ => unreachable!(),
            }
        },
    ];
    let feed = Feed::new();
    let receivers = ways.map(|receive| {
        let (tx, rx) = crossbeam_channel::bounded(0);
        feed.subscribe(tx).detach();
        std::thread::spawn(move || (0..50).map(|_| receive(&rx)).collect::<Vec<_>>())
    });
    for value in 0..50u32 {
        assert_eq!(in_time(feed.send_async(value)).await, 3);
    }
    for receiver in receivers {
        assert_eq!(receiver.join().unwrap(), (0..50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_send_that_is_dropped_while_it_waits_for_a_rendezvous_is_not_delivered_later() {
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::bounded(0);
    let subscription = feed.subscribe(tx);
    let mut abandoned = feed.send_async(1);
    assert!((&mut abandoned).now_or_never().is_none());
    drop(abandoned);
    let receiver = std::thread::spawn(move || rx.iter().collect::<Vec<_>>());
    assert_eq!(in_time(feed.send_async(2)).await, 1);
    let stats = subscription.stats();
    assert_eq!((stats.delivered, stats.dropped), (1, 1));
    subscription.unsubscribe();
    assert_eq!(receiver.join().unwrap(), [2]);
}

#[tokio::test]
async fn unsubscribing_ends_a_rendezvous_that_a_task_waits_for() {
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::bounded(0);
    let subscription = feed.subscribe(tx);
    let mut waiting = feed.send_async(1);
    assert!((&mut waiting).now_or_never().is_none());
    subscription.unsubscribe();
    assert_eq!(
        rx.try_recv(),
        Err(crossbeam_channel::TryRecvError::Disconnected)
    );
    assert_eq!(in_time(waiting).await, 0);
}

#[test]
fn what_pushes_out_a_value_that_panics_is_delivered_all_the_same() {
    let tally = Tally::new();
    let feed = Feed::new();
    let builder = feed.subscriber().capacity(1);
    let latest = builder.overflow(Overflow::DropOldest).channel().unwrap();
    feed.send(tally.value(0));
    let full = feed.channel(1).unwrap();
    feed.try_send(tally.value(1)).unwrap();
    tally.panic_at_drop_of(1);
    let mut send = feed.send_async(tally.value(2));
    assert!((&mut send).now_or_never().is_none());
    assert_eq!(send.delivered(), 1);
    drop((full, latest));
}

// ---- Timers ----

/// A carrier that never has room, and cannot tell when it has.
struct Deaf(Arc<AtomicUsize>);

impl Carrier<u8> for Deaf {
    fn try_send(&self, value: u8) -> Result<(), TrySendError<u8>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(TrySendError::Full(value))
    }
}

#[test]
fn a_send_that_is_not_woken_looks_again_each_millisecond() {
    // Waits that went on doubling would take more than a minute.
    const TIMES: usize = 100;
    let feed = Feed::new();
    let tries = Arc::new(AtomicUsize::new(0));
    let (tx, _rx) = crossbeam_channel::bounded(1);
    tx.send(0).unwrap();
    for subscribe in [
        &|| feed.subscribe(Deaf(Arc::clone(&tries))) as fanfeed::Subscription,
        &|| feed.subscribe(tx.clone()),
    ] as [&dyn Fn() -> _; 2]
    {
        let _subscription = subscribe();
        let (count, waker) = counting_waker();
        let mut send = pin!(feed.send_async(1));
        for woken in 0..TIMES {
            assert!(
                send.as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            eventually(|| count.0.load(Ordering::SeqCst) > woken);
        }
    }
    assert!(tries.load(Ordering::Relaxed) >= TIMES);
}

#[test]
fn a_send_that_will_be_woken_looks_again_once() {
    let feed = Feed::new();
    let _receiver = feed.channel(1).unwrap();
    feed.send(0);
    let (count, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    let mut send = pin!(feed.send_async(1));
    assert!(send.as_mut().poll(&mut context).is_pending());
    eventually(|| count.0.load(Ordering::SeqCst) == 1);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(20) {
        assert!(send.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
}
