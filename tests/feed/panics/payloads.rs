//! Payloads of panics, and errors, that panic when they are dropped.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use fanfeed::{Carrier, Feed, Room, Subscription, TrySendError};

use crate::common::{PATIENCE, join, watchdog};

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

/// Guards against an unsubscribe that panics and leaves the next one to wait for ever, and a send
/// that forgets the others.
#[test]
fn a_payload_that_panics_when_dropped_has_no_further_effect() {
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
fn an_error_that_panics_when_dropped_has_no_further_effect() {
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
