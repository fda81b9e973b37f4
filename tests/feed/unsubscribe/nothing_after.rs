//! Nothing is delivered once `unsubscribe` has returned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{Feed, Overflow};

use super::{Senders, witness};
use crate::common::{Random, eventually, join, watchdog};

#[test]
fn nothing_is_put_on_a_channel_once_unsubscribe_has_returned() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let senders = Senders::start(&feed, 2);
    for round in 0..100 {
        let (carrier, taken, dropped) = witness();
        let user = feed.subscribe(carrier);
        let (tx, crossbeam_rx) = crossbeam_channel::unbounded();
        let crossbeam = feed.subscribe(tx);
        let (tx, std_rx) = std_mpsc::channel();
        let std_subscription = feed.subscribe(tx);
        let builder = feed.subscriber().capacity(1 << 12);
        let own = builder.overflow(Overflow::DropNewest).channel().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let closure = feed.subscribe_fn({
            let calls = Arc::clone(&calls);
            move |_| {
                calls.fetch_add(1, Ordering::SeqCst);
            }
        });
        if round % 4 != 0 {
            // Every fourth round the subscriptions end while senders may not have seen them yet.
            eventually(|| calls.load(Ordering::SeqCst) > 3);
        }

        user.unsubscribe();
        assert_eq!(dropped.load(Ordering::SeqCst), 1, "the carrier was dropped");
        let taken_then = taken.load(Ordering::SeqCst);
        crossbeam.unsubscribe();
        let crossbeam_then = crossbeam_rx.len();
        std_subscription.unsubscribe();
        let std_then = std_rx.try_iter().count();
        own.subscription().unsubscribe();
        let own_then = own.len();
        closure.unsubscribe();
        assert_eq!(Arc::strong_count(&calls), 1, "the closure was dropped");
        let calls_then = calls.load(Ordering::SeqCst);

        for _ in 0..3 {
            thread::yield_now();
        }
        assert_eq!(taken.load(Ordering::SeqCst), taken_then);
        assert_eq!(user.stats().delivered, taken_then as u64);
        assert_eq!(crossbeam_rx.len(), crossbeam_then);
        assert_eq!(crossbeam_rx.iter().count(), crossbeam_then, "disconnected");
        assert_eq!(std_rx.try_recv(), Err(std_mpsc::TryRecvError::Disconnected));
        assert_eq!(std_subscription.stats().delivered, std_then as u64);
        assert_eq!(own.len(), own_then);
        assert_eq!(calls.load(Ordering::SeqCst), calls_then);
        assert_eq!(closure.stats().delivered, calls_then as u64);
    }
    drop(senders);
    assert_eq!(feed.subscriber_count(), 0);
}

#[test]
fn a_rendezvous_takes_nothing_once_unsubscribe_has_returned() {
    let _watchdog = watchdog();
    for _ in 0..60 {
        let feed = Feed::new();
        let (tx, rx) = crossbeam_channel::bounded(0);
        let subscription = feed.subscribe(tx);
        let (over, received) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let reader = thread::spawn({
            let (over, received) = (Arc::clone(&over), Arc::clone(&received));
            move || {
                for _ in rx.iter() {
                    // The value was handed over before this, so this does not tell when; the count
                    // does.
                    received.fetch_add(1, Ordering::SeqCst);
                }
                over.load(Ordering::SeqCst)
            }
        });
        let senders = Senders::start(&feed, 2);
        eventually(|| received.load(Ordering::SeqCst) > 5);
        subscription.unsubscribe();
        let delivered = subscription.stats().delivered;
        over.store(true, Ordering::SeqCst);
        join(reader);
        drop(senders);
        assert_eq!(subscription.stats().delivered, delivered);
        assert_eq!(received.load(Ordering::SeqCst) as u64, delivered);
    }
}

#[test]
fn subscribers_come_and_go_under_senders_without_losing_or_gaining_a_value() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, all) = crossbeam_channel::unbounded();
    let constant = feed.subscribe(tx);
    let stop = Arc::new(AtomicBool::new(false));
    let churners: Vec<_> = (0..2)
        .map(|seed| {
            let (feed, stop) = (feed.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                let mut random = Random::new(seed + 1);
                // More than a chunk holds, so that chunks come and go too.
                let mut held = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    if held.len() < 100 && random.below(100) < 52 {
                        let (tx, rx) = crossbeam_channel::unbounded();
                        held.push((feed.subscribe(tx), rx));
                    } else if !held.is_empty() {
                        let index = random.below(held.len() as u64) as usize;
                        let (subscription, rx) = held.swap_remove(index);
                        subscription.unsubscribe();
                        let values: Vec<u64> = rx.iter().collect();
                        // From the first it saw to the last, none is missing.
                        for pair in values.windows(2) {
                            assert_eq!(pair[1], pair[0] + 1);
                        }
                        assert_eq!(subscription.stats().delivered, values.len() as u64);
                    }
                }
            })
        })
        .collect();
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_millis(800) {
        assert!(feed.send(sent) >= 1);
        sent += 1;
    }
    stop.store(true, Ordering::Relaxed);
    churners.into_iter().for_each(join);
    assert_eq!(constant.stats().delivered, sent);
    assert_eq!(
        all.try_iter().collect::<Vec<_>>(),
        (0..sent).collect::<Vec<_>>()
    );
}
