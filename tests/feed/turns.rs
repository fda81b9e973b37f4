//! Tasks that find every value ready yield to other tasks.

// Each step ends before the next begins, so nobody else borrows meanwhile.
#![allow(clippy::await_holding_refcell_ref)]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::common::tasks::counting_waker;
use crate::common::watchdog;
use fanfeed::{Feed, RingFeed};
use futures_util::StreamExt;

/// How many steps may be taken before another task of the thread has its turn: what tokio's own
/// channels take.
const IN_A_ROW: usize = 128;
const STEPS: usize = 10_000;

/// Asserts that a task gets its turn beside another that takes steps without end.
async fn gives_way<F: Future<Output = ()>>(what: &str, mut step: impl FnMut() -> F) {
    let turns = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let neighbour = tokio::spawn({
        let (turns, is_over) = (Arc::clone(&turns), Arc::clone(&is_over));
        async move {
            while !is_over.load(Ordering::Relaxed) {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    let (mut last, mut since) = (0, 0);
    for _ in 0..STEPS {
        step().await;
        let now = turns.load(Ordering::Relaxed);
        since = if now == last { since + 1 } else { 0 };
        last = now;
        assert!(
            since <= IN_A_ROW,
            "{what}: {since} steps without a turn of the neighbour"
        );
    }
    is_over.store(true, Ordering::Relaxed);
    neighbour.await.unwrap();
    // And not for each step.
    assert!(
        turns.load(Ordering::Relaxed) <= 2 * STEPS / IN_A_ROW,
        "{what}"
    );
}

#[tokio::test]
async fn a_channels_receives_give_way() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2 * STEPS).unwrap();
    feed.send_batch(0..2 * STEPS);
    let shared = std::cell::RefCell::new(&mut receiver);
    gives_way("recv_async", || async {
        let mut receiver = shared.borrow_mut();
        receiver.recv_async().await.unwrap();
    })
    .await;
    gives_way("stream", || async {
        let mut receiver = shared.borrow_mut();
        receiver.next().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_rings_receives_give_way() {
    let ring = RingFeed::new(2 * STEPS).unwrap();
    let mut receiver = ring.subscribe();
    ring.send_batch(0..2 * STEPS);
    let shared = std::cell::RefCell::new(&mut receiver);
    gives_way("recv_async", || async {
        let mut receiver = shared.borrow_mut();
        receiver.recv_async().await.unwrap();
    })
    .await;
    gives_way("stream", || async {
        let mut receiver = shared.borrow_mut();
        receiver.next().await.unwrap();
    })
    .await;
}

#[tokio::test]
#[allow(deprecated)]
async fn a_muxs_receives_give_way() {
    let mux = fanfeed::TypeMux::new();
    let subscriber = mux.subscriber::<(usize,)>().capacity(STEPS);
    let mut subscription = subscriber.channel().unwrap();
    for value in 0..STEPS {
        mux.post(value).unwrap();
    }
    let shared = std::cell::RefCell::new(&mut subscription);
    gives_way("stream of a mux", || async {
        let mut subscription = shared.borrow_mut();
        subscription.next().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn sends_give_way() {
    let feed = Feed::new();
    let _receiver = feed.channel(STEPS).unwrap();
    gives_way("send_async", || async {
        assert_eq!(feed.send_async(0).await, 1);
    })
    .await;
    let ring = fanfeed::RingFeed::new(8).unwrap();
    gives_way("send_async of a ring", || async {
        ring.send_async(0).await;
    })
    .await;
}

#[tokio::test]
async fn receives_give_way_beside_receivers_that_find_nothing() {
    let (feed, idle_feed) = (Feed::new(), Feed::<usize>::new());
    let mut receiver = feed.channel(STEPS).unwrap();
    feed.send_batch(0..STEPS);
    let idle_ring = RingFeed::<usize>::new(8).unwrap();
    let idle = (idle_feed.channel(1).unwrap(), idle_ring.subscribe());
    let shared = std::cell::RefCell::new((&mut receiver, idle));
    gives_way("select", || async {
        let mut shared = shared.borrow_mut();
        let (receiver, (idle, idle_reader)) = &mut *shared;
        tokio::select! {
            biased;
            _ = idle.recv_async() => unreachable!("nothing was sent"),
            _ = idle_reader.recv_async() => unreachable!("nothing was sent"),
            value = receiver.recv_async() => value.unwrap(),
        };
    })
    .await;
}

#[tokio::test]
async fn receives_yield_beside_others_that_are_ready_or_blocked() {
    let (feed, full) = (Feed::new(), Feed::new());
    let mut receivers = [STEPS, STEPS].map(|capacity| feed.channel(capacity).unwrap());
    feed.send_batch(0..STEPS);
    let _full_receiver = full.channel(1).unwrap();
    full.send(0);
    let blocked = full.send_async(1);
    let [one, other] = &mut receivers;
    let shared = std::cell::RefCell::new((one, other, blocked));
    gives_way("select", || async {
        let mut shared = shared.borrow_mut();
        let (one, other, blocked) = &mut *shared;
        tokio::select! {
            biased;
            _ = blocked => unreachable!("there is no room"),
            value = one.recv_async() => value.unwrap(),
            value = other.recv_async() => value.unwrap(),
        };
    })
    .await;
}

#[tokio::test]
async fn a_timer_fires_beside_a_loop_that_is_always_ready() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let endless = async {
        loop {
            feed.send(0);
            receiver.recv_async().await.unwrap();
        }
    };
    let limited = tokio::time::timeout(Duration::from_millis(20), endless).await;
    assert!(limited.is_err());
}

#[test]
fn one_that_gives_way_wakes_its_task_and_loses_nothing() {
    let (woken, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    let feed = Feed::new();
    let mut receiver = feed.channel(1_000).unwrap();
    feed.send_batch(0..1_000);
    let (mut values, mut pending) = (Vec::new(), 0);
    while values.len() < 1_000 {
        let before = woken.0.load(Ordering::SeqCst);
        match receiver.poll_next_unpin(&mut context) {
            Poll::Ready(value) => values.push(value.unwrap()),
            Poll::Pending => {
                pending += 1;
                assert_eq!(woken.0.load(Ordering::SeqCst), before + 1);
            }
        }
    }
    assert!(values.into_iter().eq(0..1_000));
    assert_eq!(pending, 1_000 / IN_A_ROW);
    // A send that gives way has reached nobody.
    let mut other = feed.channel(1_000).unwrap();
    let mut sent = 0;
    while sent < 300 {
        let mut send = std::pin::pin!(feed.send_async(sent));
        let polled = send.as_mut().poll(&mut context);
        if polled.is_ready() {
            assert_eq!(polled, Poll::Ready(2));
            sent += 1;
        }
    }
    assert!(other.try_iter().eq(0..300));
}
