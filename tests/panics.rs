//! A panic costs the one it concerns, and nobody else.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use common::{PATIENCE, Tally, Touchy, blocked_send, eventually, join, message, watchdog};
use fanfeed::{
    Carrier, Feed, Overflow, Room, Subscription, SubscriptionError, TryRecvError, TrySendError,
};

/// The message that the subscription failed with.
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
fn everybody_else_is_served_before_the_panic_of_a_clone_goes_on() {
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
    // The first full one takes a clone to find that out, and gives it back; one is needed for the roomy one; the next
    // would be for the second of the full ones, once the first takes its own.
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

// ---- Carriers ----

/// A carrier that panics where it is told to.
#[derive(Default)]
struct Faulty {
    sends: bool,
    is_full: bool,
    polls: bool,
    depth: bool,
    asks: Arc<AtomicBool>,
    _drops: Bomb,
}

#[derive(Default)]
struct Bomb(bool);

impl Carrier<u64> for Faulty {
    fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
        assert!(!self.sends, "a bad send");
        if self.is_full {
            return Err(TrySendError::Full(value));
        }
        Ok(())
    }

    fn poll_room(&self, _: &Waker) -> Room {
        assert!(!self.polls, "a bad poll");
        Room::Unknown
    }

    fn depth(&self) -> Option<usize> {
        assert!(!self.depth, "a bad depth");
        None
    }

    fn as_crossbeam(&self) -> Option<&crossbeam_channel::Sender<u64>> {
        assert!(!self.asks.load(Ordering::Relaxed), "a bad question");
        None
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.0, "a bad drop");
    }
}

#[test]
fn a_carrier_that_panics_when_it_sends_ends_with_that_error() {
    let feed = Feed::new();
    let before = feed.channel(4).unwrap();
    let faulty = feed.subscribe(Faulty {
        sends: true,
        ..Faulty::default()
    });
    let after = feed.channel(4).unwrap();
    assert_eq!(feed.send(1), 2);
    assert_eq!(failure(&faulty), "a bad send");
    assert!(faulty.is_closed());
    assert_eq!((faulty.stats().delivered, faulty.stats().dropped), (0, 1));
    assert_eq!(feed.subscriber_count(), 2);
    assert_eq!(feed.send(2), 2);
    assert_eq!((before.len(), after.len()), (2, 2));
}

#[test]
fn a_carrier_that_panics_when_it_is_asked_for_room_ends_with_that_error() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let faulty = feed.subscribe(Faulty {
        is_full: true,
        polls: true,
        ..Faulty::default()
    });
    let receiver = feed.channel(4).unwrap();
    let sender = thread::spawn({
        let feed = feed.clone();
        move || feed.send(1)
    });
    assert_eq!(join(sender), 1);
    assert_eq!(failure(&faulty), "a bad poll");
    assert_eq!(faulty.stats().dropped, 1);
    assert_eq!(receiver.len(), 1);
}

#[test]
fn a_carrier_that_panics_when_it_is_asked_for_its_sender_ends_with_that_error() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let asks = Arc::new(AtomicBool::new(false));
    let faulty = feed.subscribe(Faulty {
        is_full: true,
        asks: Arc::clone(&asks),
        ..Faulty::default()
    });
    asks.store(true, Ordering::Relaxed);
    let sender = thread::spawn({
        let feed = feed.clone();
        move || feed.send(1)
    });
    assert_eq!(join(sender), 0);
    assert_eq!(failure(&faulty), "a bad question");
}

#[test]
fn a_carrier_that_panics_when_it_is_asked_for_its_depth_ends_with_that_error() {
    let feed = Feed::new();
    let faulty = feed.subscribe(Faulty {
        depth: true,
        ..Faulty::default()
    });
    assert_eq!(feed.send(1), 1);
    let stats = faulty.stats();
    assert_eq!((stats.delivered, stats.depth), (1, None));
    assert_eq!(failure(&faulty), "a bad depth");
    assert_eq!(feed.send(2), 0);
    assert_eq!(faulty.stats().delivered, 1);
}

#[test]
fn a_carrier_that_panics_when_it_is_dropped_disturbs_nobody() {
    let feed = Feed::new();
    let faulty = || Faulty {
        _drops: Bomb(true),
        ..Faulty::default()
    };
    // Unsubscribed, dropped with its handle, ended by a panic of its own, closed, and never begun.
    let subscription = feed.subscribe(faulty());
    subscription.unsubscribe();
    assert!(subscription.is_closed());
    drop(feed.subscribe(faulty()));
    let panicking = feed.subscribe(Faulty {
        sends: true,
        _drops: Bomb(true),
        ..Faulty::default()
    });
    let receiver = feed.channel(4).unwrap();
    assert_eq!(feed.send(1), 1);
    assert_eq!(failure(&panicking), "a bad send");
    feed.subscribe(faulty()).detach();
    feed.subscribe(faulty()).detach();
    assert_eq!(feed.send(2), 3);
    feed.close();
    assert_eq!(feed.subscriber_count(), 0);
    assert!(feed.subscribe(faulty()).is_closed());
    assert_eq!(receiver.into_iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_closure_that_panics_ends_with_that_error_and_the_others_are_called() {
    let feed = Feed::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = || {
        let calls = Arc::clone(&calls);
        feed.subscribe_fn(move |_| {
            calls.fetch_add(1, Ordering::Relaxed);
        })
    };
    let _before = counting();
    let literal = feed.subscribe_fn(|_: &u64| panic!("a literal"));
    let formatted = feed.subscribe_fn(|value| panic!("formatted {value}"));
    let other = feed.subscribe_fn(|_| panic_any(3));
    let _after = counting();
    assert_eq!(feed.send(1), 2);
    assert_eq!(feed.send(2), 2);
    assert_eq!(calls.load(Ordering::Relaxed), 4);
    assert_eq!(failure(&literal), "a literal");
    assert_eq!(failure(&formatted), "formatted 1");
    assert_eq!(failure(&other), "(a panic without a message)");
    assert_eq!(literal.stats().dropped, 1);
    assert_eq!(feed.subscriber_count(), 2);
}

#[test]
fn a_closure_that_panics_on_several_threads_at_once_fails_once() {
    const THREADS: usize = 4;
    let _watchdog = watchdog();
    for _ in 0..50 {
        let feed = Feed::new();
        let inside = Arc::new(Barrier::new(THREADS));
        let subscription = feed.subscribe_fn({
            let inside = Arc::clone(&inside);
            move |_: &u64| {
                inside.wait();
                panic!("all together");
            }
        });
        let senders: Vec<_> = (0..THREADS)
            .map(|_| {
                let feed = feed.clone();
                thread::spawn(move || feed.send(1))
            })
            .collect();
        for sender in senders {
            assert_eq!(join(sender), 0);
        }
        assert_eq!(failure(&subscription), "all together");
        assert_eq!(subscription.stats().dropped, THREADS as u64);
    }
}

#[test]
fn a_panic_in_a_nested_send_stays_with_whom_it_concerns() {
    let feed = Feed::new();
    let weak = feed.downgrade();
    let mut receiver = feed.channel(8).unwrap();
    let outer = feed.subscribe_fn(move |value: &Touchy| {
        if value.0 == 1 {
            // Its clone panics inside this closure, which lets that go on: so the closure's subscription ends.
            weak.upgrade().unwrap().send(Touchy(2, &[2]));
        }
    });
    assert_eq!(feed.send(Touchy(1, &[])), 1);
    assert_eq!(failure(&outer), "clone of 2 panics");
    feed.send(Touchy(3, &[]));
    let numbers: Vec<_> = receiver.try_iter().map(|value| value.0).collect();
    assert_eq!(numbers, [1, 3]);
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

// ---- What is panicked with ----

/// A payload that panics when it is dropped, with another such.
struct Nested(u8);

impl Drop for Nested {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Nested(self.0 - 1));
        }
    }
}

/// A carrier that panics with such a payload at a call, or in its drop.
struct Explosive {
    at: &'static str,
}

impl Explosive {
    fn go_off(&self, at: &str) {
        if self.at == at {
            panic_any(Nested(2));
        }
    }
}

impl Carrier<u64> for Explosive {
    fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
        self.go_off("send");
        if self.at == "room" || self.at == "question" {
            return Err(TrySendError::Full(value));
        }
        Ok(())
    }

    fn poll_room(&self, _: &Waker) -> Room {
        self.go_off("room");
        Room::Unknown
    }

    fn depth(&self) -> Option<usize> {
        self.go_off("depth");
        None
    }

    fn as_crossbeam(&self) -> Option<&crossbeam_channel::Sender<u64>> {
        self.go_off("question");
        None
    }
}

impl Drop for Explosive {
    fn drop(&mut self) {
        self.go_off("drop");
    }
}

/// Guards against an unsubscribe that panics and leaves the next one to wait for ever, and a send that forgets the others.
#[test]
fn a_payload_that_panics_when_it_is_dropped_disturbs_nobody() {
    let _watchdog = watchdog();
    for at in ["send", "room", "question", "depth", "drop"] {
        let feed = Feed::new();
        let before = feed.channel(4).unwrap();
        let explosive = Arc::new(feed.subscribe(Explosive { at }));
        let after = feed.channel(4).unwrap();
        let called = Arc::new(AtomicUsize::new(0));
        let calls = Arc::clone(&called);
        let _closure = feed.subscribe_fn(move |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            panic_any(Nested(2));
        });
        let sender = thread::spawn({
            let feed = feed.clone();
            move || feed.send(1)
        });
        assert!(join(sender) >= 2, "{at}");
        explosive.stats();
        assert_eq!((before.len(), after.len()), (1, 1), "{at}");
        assert_eq!(called.load(Ordering::Relaxed), 1);
        let again = Arc::clone(&explosive);
        explosive.unsubscribe();
        join(thread::spawn(move || again.unsubscribe()));
        assert_eq!(feed.send_batch([2, 3]), 4, "{at}");
        feed.close();
    }
}

#[test]
fn of_several_such_payloads_the_first_goes_on() {
    struct Bad;
    impl Clone for Bad {
        fn clone(&self) -> Self {
            panic_any(Nested(2));
        }
    }
    let feed = Feed::new();
    let receivers: Vec<_> = (0..4).map(|_| feed.channel(4).unwrap()).collect();
    for batch in [false, true] {
        let sent = catch_unwind(AssertUnwindSafe(|| {
            if batch {
                feed.send_batch([Bad]);
            } else {
                feed.send(Bad);
            }
        }));
        let payload = sent.expect_err("the panic goes on");
        let nested = payload.downcast::<Nested>().expect("it is the payload");
        std::mem::forget(nested);
    }
    let lens: Vec<_> = receivers.iter().map(|receiver| receiver.len()).collect();
    assert_eq!(lens, [0, 0, 0, 2]);
}

/// An error that panics when it is dropped.
#[derive(Debug)]
struct Sore;

impl std::fmt::Display for Sore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sore")
    }
}

impl std::error::Error for Sore {}

impl Drop for Sore {
    fn drop(&mut self) {
        panic_any(Nested(2));
    }
}

#[test]
fn an_error_that_panics_when_it_is_dropped_disturbs_nobody() {
    let _watchdog = watchdog();
    for joined in [false, true] {
        let mut failing = Subscription::spawn(|_| Err::<(), _>(Sore));
        if joined {
            let other = Subscription::spawn(|token| {
                token.wait_timeout(Duration::MAX);
                Err::<(), _>(Sore)
            });
            failing = Subscription::join([failing, other]);
        }
        failing.closed().wait();
        assert!(failing.err().is_empty() != failing.is_closed());
        failing.unsubscribe();
        drop(failing);
    }
    let (attempt, attempts) = crossbeam_channel::unbounded();
    let resubscribed = fanfeed::resubscribe(Duration::from_millis(1), move |_| {
        let _ = attempt.send(());
        Err::<Subscription, _>(Sore)
    });
    for _ in 0..4 {
        attempts.recv_timeout(PATIENCE).expect("it goes on");
    }
    resubscribed.unsubscribe();
}
