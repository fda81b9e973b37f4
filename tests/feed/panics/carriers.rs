//! Carriers and closures that panic.

use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::Waker;
use std::thread;

use fanfeed::{Carrier, Feed, Room, TrySendError};

use super::failure;
use crate::common::{Touchy, join, watchdog};

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

/// Guards against a carrier that stays until the next send because it was found out outside of a
/// delivery.
#[test]
fn a_carrier_that_panics_when_it_is_asked_is_dropped_then() {
    let feed = Feed::new();
    let held = Arc::new(AtomicBool::new(false));
    let faulty = feed.subscribe(Faulty {
        depth: true,
        asks: Arc::clone(&held),
        ..Faulty::default()
    });
    faulty.stats();
    assert_eq!(failure(&faulty), "a bad depth");
    assert_eq!(Arc::strong_count(&held), 1, "the carrier is dropped");
}

#[test]
fn a_carrier_that_panics_when_dropped_has_no_further_effect() {
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
fn a_panic_in_a_nested_send_affects_only_its_own_subscriber() {
    let feed = Feed::new();
    let weak = feed.downgrade();
    let mut receiver = feed.channel(8).unwrap();
    let outer = feed.subscribe_fn(move |value: &Touchy| {
        if value.0 == 1 {
            // Its clone panics inside this closure, which lets that go on: so the closure's
            // subscription ends.
            weak.upgrade().unwrap().send(Touchy(2, &[2]));
        }
    });
    assert_eq!(feed.send(Touchy(1, &[])), 1);
    assert_eq!(failure(&outer), "clone of 2 panics");
    feed.send(Touchy(3, &[]));
    let numbers: Vec<_> = receiver.try_iter().map(|value| value.0).collect();
    assert_eq!(numbers, [1, 3]);
}
