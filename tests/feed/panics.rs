//! Panics in user code: each affects only its own subscriber or caller.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fanfeed::{Feed, Overflow, Subscription, SubscriptionError, TryRecvError};

use crate::common::{PATIENCE, Tally, Touchy, blocked_send, eventually, join, message, watchdog};

mod carriers;
mod payloads;

#[track_caller]
fn failure(subscription: &Subscription) -> String {
    let errors = subscription.err();
    let error = errors.try_recv().expect("it has failed");
    assert!(errors.try_recv().is_err(), "it failed once");
    match error {
        SubscriptionError::Panicked(message) => message.to_string(),
        other => panic!("failed with {other:?}"),
    }
}

// ---- Clones ----

#[test]
fn all_other_subscribers_are_served_before_the_panic_of_a_clone_is_resumed() {
    // For the first, one in the middle, and the last that needs a clone.
    for bad in [0, 1, 3, 63, 64, 68] {
        let tally = Tally::new();
        let feed = Feed::new();
        let mut receivers: Vec<_> = (0..69).map(|_| feed.channel(4).unwrap()).collect();
        let calls = Arc::new(AtomicUsize::new(0));
        let _closure = feed.subscribe_fn({
            let calls = Arc::clone(&calls);
            move |_| {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
        feed.send(tally.value(0));
        tally.panic_after(bad);
        let caught = catch_unwind(AssertUnwindSafe(|| feed.send(tally.value(1))));
        let payload = caught.expect_err("the panic goes on");
        assert!(message(&*payload).contains("a clone that panics"));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        feed.send(tally.value(2));
        for (index, receiver) in receivers.iter_mut().enumerate() {
            let numbers: Vec<_> = receiver.try_iter().map(|value| value.number).collect();
            let missed = index as u64 == bad;
            let expected: &[u64] = if missed { &[0, 2] } else { &[0, 1, 2] };
            assert_eq!(numbers, expected, "subscriber {index}");
            let stats = receiver.stats();
            assert_eq!(stats.dropped, u64::from(missed));
            assert_eq!(stats.delivered + stats.dropped, 3);
            assert!(!receiver.is_closed());
        }
        assert_eq!(tally.live(), 0);
    }
}

#[test]
fn one_of_many_crossbeam_channels_misses_the_value_whose_clone_panics() {
    // They are served from the last to the first.
    for (bad, missing) in [(0, 5), (2, 3), (4, 1)] {
        let tally = Tally::new();
        let feed = Feed::new();
        let (subscriptions, receivers): (Vec<_>, Vec<_>) = (0..6)
            .map(|_| crossbeam_channel::unbounded())
            .map(|(tx, rx)| (feed.subscribe(tx), rx))
            .unzip();
        tally.panic_after(bad);
        let caught = catch_unwind(AssertUnwindSafe(|| feed.send(tally.value(1))));
        assert!(message(&*caught.expect_err("the panic goes on")).contains("a clone that panics"));
        assert_eq!(feed.send(tally.value(2)), 6);
        for (index, (subscription, rx)) in subscriptions.iter().zip(&receivers).enumerate() {
            let numbers: Vec<_> = rx.try_iter().map(|value| value.number).collect();
            let missed = index == missing;
            let expected: &[u64] = if missed { &[2] } else { &[1, 2] };
            assert_eq!(numbers, expected, "subscriber {index}");
            let stats = subscription.stats();
            assert_eq!(
                (stats.dropped, stats.delivered),
                (missed.into(), 2 - u64::from(missed))
            );
        }
        assert_eq!(tally.live(), 0);
    }
}

#[test]
fn the_panic_of_a_clone_goes_on_from_each_verb() {
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let missing = feed.subscribe(tx);
    let last = feed.channel(16).unwrap();
    let bad = || Touchy(7, &[7]);
    let verbs: [&dyn Fn(); 4] = [
        &|| assert_eq!(feed.send(bad()), 0),
        &|| drop(feed.try_send(bad())),
        &|| drop(feed.send_timeout(bad(), Duration::MAX)),
        &|| assert_eq!(feed.send_batch([bad()]), 0),
    ];
    for (index, verb) in verbs.into_iter().enumerate() {
        let payload = catch_unwind(AssertUnwindSafe(verb)).expect_err("the panic goes on");
        assert_eq!(message(&*payload), "clone of 7 panics");
        assert_eq!(last.len(), index + 1);
        assert_eq!(missing.stats().dropped, index as u64 + 1);
    }
    assert!(rx.is_empty());
    assert_eq!(feed.subscriber_count(), 2);
}

#[test]
fn of_several_panics_the_first_goes_on() {
    struct Numbered(Arc<AtomicUsize>);
    impl Clone for Numbered {
        fn clone(&self) -> Self {
            panic_any(self.0.fetch_add(1, Ordering::Relaxed));
        }
    }
    let feed = Feed::new();
    let receivers: Vec<_> = (0..4).map(|_| feed.channel(4).unwrap()).collect();
    let caught = catch_unwind(AssertUnwindSafe(|| feed.send(Numbered(Arc::default()))));
    assert_eq!(
        caught.expect_err("it goes on").downcast_ref(),
        Some(&0_usize)
    );
    let lens: Vec<_> = receivers.iter().map(|receiver| receiver.len()).collect();
    assert_eq!(lens, [0, 0, 0, 1], "the last got the original");
}

#[test]
fn a_clone_that_panics_while_the_send_waits_is_missed_by_one_of_those_waited_for() {
    let _watchdog = watchdog();
    let tally = Tally::new();
    let feed = Feed::new();
    let far_ends: Vec<_> = (0..3)
        .map(|_| {
            let (tx, rx) = crossbeam_channel::bounded(0);
            (feed.subscribe(tx), rx)
        })
        .collect();
    let roomy = feed.channel(4).unwrap();
    // The first full one takes a clone to find that out, and gives it back; one is needed for the
    // roomy one; the next would be for the second of the full ones, once the first takes its own.
    tally.panic_after(1);
    let sender = thread::spawn({
        let (feed, value) = (feed.clone(), tally.value(1));
        move || catch_unwind(AssertUnwindSafe(|| feed.send(value))).is_err()
    });
    let mut served = 0;
    eventually(|| {
        served += far_ends
            .iter()
            .filter(|(_, rx)| rx.try_recv().is_ok())
            .count();
        sender.is_finished()
    });
    assert!(join(sender), "the panic goes on");
    assert_eq!(served, 2);
    assert_eq!(roomy.len(), 1);
    let dropped: u64 = far_ends
        .iter()
        .map(|(handle, _)| handle.stats().dropped)
        .sum();
    let delivered: u64 = far_ends
        .iter()
        .map(|(handle, _)| handle.stats().delivered)
        .sum();
    assert_eq!((delivered, dropped), (2, 1));
    drop(roomy);
    assert_eq!(tally.live(), 0);
}

#[test]
fn a_panic_of_a_clone_wins_over_what_is_undelivered() {
    let feed = Feed::new();
    let full = feed.channel(1).unwrap();
    feed.send(Touchy(0, &[]));
    let roomy = feed.channel(4).unwrap();
    let last = feed.channel(4).unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| feed.try_send(Touchy(1, &[1]))));
    assert!(caught.is_err());
    assert_eq!(full.len(), 1);
    // However it was done, nobody has it twice and the feed goes on.
    assert!(roomy.len() + last.len() <= 1);
    assert_eq!(feed.try_send(Touchy(2, &[])).unwrap_err().delivered(), 2);
}

// ---- Drops of values ----

#[test]
fn a_value_that_panics_when_it_is_dropped_leaves_the_feed_sound() {
    #[derive(Debug)]
    struct Thorny(u64, Arc<AtomicUsize>);
    impl Clone for Thorny {
        fn clone(&self) -> Self {
            Self(self.0, Arc::clone(&self.1))
        }
    }
    impl Drop for Thorny {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
            assert!(self.0 != 1 || thread::panicking(), "a bad drop of a value");
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let value = |number| Thorny(number, Arc::clone(&drops));
    let feed = Feed::new();
    let builder = feed.subscriber().capacity(1);
    let mut latest = builder.overflow(Overflow::DropOldest).channel().unwrap();
    let mut other = feed.channel(8).unwrap();
    feed.send(value(1));
    // The first value is pushed out of the first channel, and its drop panics.
    let _ = catch_unwind(AssertUnwindSafe(|| feed.send(value(2))));
    let numbers = |receiver: &mut fanfeed::Receiver<Thorny>| {
        let mut numbers = Vec::new();
        while let Ok(value) = receiver.try_recv() {
            numbers.push(value.0);
            std::mem::forget(value);
        }
        numbers
    };
    assert_eq!(numbers(&mut other), [1, 2]);
    feed.send(value(3));
    assert_eq!(numbers(&mut other), [3]);
    assert_eq!(latest.try_recv().unwrap_err(), TryRecvError::Lagged(2));
    assert_eq!(numbers(&mut latest), [3]);
    drop(latest);
    // A receiver that is dropped with such a value in it drops the rest too.
    let mut last = feed.channel(8).unwrap();
    feed.send(value(4));
    feed.send(value(1));
    feed.send(value(5));
    assert_eq!(last.try_recv().unwrap().0, 4);
    drops.store(0, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(last))).is_err());
    assert_eq!(drops.load(Ordering::Relaxed), 2);
    assert!(feed.send(value(6)) >= 1);
    numbers(&mut other);
}

#[test]
fn what_is_left_in_a_channel_goes_with_its_receiver_though_one_panics() {
    let tally = Tally::new();
    let feed = Feed::new();
    let (receiver, subscription) = feed.channel(8).unwrap().split();
    feed.send_batch((0..5).map(|number| tally.value(number)));
    tally.panic_at_drop_of(1);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(receiver))).is_err());
    assert_eq!(tally.live(), 0);
    drop((feed, subscription));
}

#[test]
fn a_thread_that_panics_with_a_receiver_ends_its_subscription() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let receiver = feed.channel(1).unwrap();
    let (tx, rx) = crossbeam_channel::bounded(0);
    let subscription = feed.subscribe(tx);
    assert!(feed.try_send(1).is_err());
    let sender = blocked_send(&feed, &subscription, 2);
    let doomed = thread::spawn(move || {
        let _held = (receiver, rx);
        panic!("with all it has");
    });
    assert!(doomed.join().is_err());
    assert_eq!(join(sender), 0);
    assert_eq!(feed.subscriber_count(), 0);
    // They have not failed: their receivers are gone.
    assert!(subscription.err().recv_timeout(PATIENCE).is_err());
    let mut late = feed.channel(1).unwrap();
    assert_eq!(late.try_recv(), Err(TryRecvError::Empty));
}
