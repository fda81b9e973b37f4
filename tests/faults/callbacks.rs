//! Panics of user code that the crate calls: closures, carriers, writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::thread;

use fanfeed::{
    Carrier, ExclusiveRingFeed, Feed, Room, Subscription, SubscriptionScope, TrySendError,
};

use crate::common::{Counted, Tally, eventually, watchdog};
use crate::crowd::{Crowd, verbs};
use crate::panic_of;

#[track_caller]
fn failure(subscription: &Subscription) -> String {
    let error = subscription.err().try_recv().expect("it has failed");
    assert!(error.is_panicked());
    error.to_string()
}

/// A carrier that panics at every value, and counts its drops.
struct Refuses(Arc<AtomicUsize>);

impl Carrier<Counted> for Refuses {
    fn try_send(&self, value: Counted) -> Result<(), TrySendError<Counted>> {
        panic!("no {}", value.number)
    }
}

impl Drop for Refuses {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_carrier_or_a_closure_that_panics_is_ended_alone_whatever_the_verb() {
    for (verb, send) in verbs() {
        let tally = Tally::new();
        let drops = Arc::new(AtomicUsize::new(0));
        let feed = Feed::new();
        let bad_before = feed.subscribe(Refuses(Arc::clone(&drops)));
        let mut crowd = Crowd::new(&feed);
        let bad_after = feed.subscribe(Refuses(Arc::clone(&drops)));
        let closure = feed.subscribe_fn(|value: &Counted| panic!("no {}", value.number));
        send(&feed, tally.value(0));
        send(&feed, tally.value(1));
        assert!(crowd.take().iter().all(|got| *got == [0, 1]), "{verb}");
        crowd.assert_open();
        for bad in [&bad_before, &bad_after, &closure] {
            assert!(failure(bad).ends_with("no 0"), "{verb}");
            assert_eq!(
                (bad.stats().delivered, bad.stats().dropped),
                (0, 1),
                "{verb}"
            );
        }
        assert_eq!(drops.load(Ordering::SeqCst), 2, "{verb}");
        drop((feed, crowd));
        assert_eq!(tally.live(), 0, "{verb}");
    }
}

/// A carrier that is full at first, wakes nobody until it is told to, and panics when it is told
/// that nobody waits.
struct Reluctant {
    inner: crossbeam_channel::Sender<u64>,
    forgets: bool,
    retries: bool,
    tries: AtomicUsize,
}

impl Carrier<u64> for Reluctant {
    fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
        let tries = self.tries.fetch_add(1, Ordering::SeqCst);
        assert!(!self.retries || tries == 0, "a bad retry");
        Carrier::try_send(&self.inner, value)
    }

    fn poll_room(&self, _: &Waker) -> Room {
        Room::Waking
    }

    fn forget_waker(&self, _: &Waker) {
        assert!(!self.forgets, "a bad memory");
    }
}

impl Reluctant {
    fn new() -> (Self, crossbeam_channel::Receiver<u64>) {
        let (inner, receiver) = crossbeam_channel::bounded(1);
        inner.send(0).unwrap();
        let carrier = Self {
            inner,
            forgets: false,
            retries: false,
            tries: AtomicUsize::new(0),
        };
        (carrier, receiver)
    }
}

#[test]
fn a_carrier_that_panics_when_told_that_nobody_waits_ends_with_that_error() {
    let feed = Feed::new();
    let (carrier, far_end) = Reluctant::new();
    let bad = feed.subscribe(Reluctant {
        forgets: true,
        ..carrier
    });
    let mut good = feed.channel(4).unwrap();
    let timeout = std::time::Duration::from_millis(5);
    let undelivered = feed.send_timeout(1, timeout).unwrap_err();
    assert_eq!(undelivered.delivered(), 1);
    assert!(failure(&bad).ends_with("a bad memory"));
    assert_eq!(undelivered.retry().unwrap(), 1);
    assert_eq!((feed.send(2), good.try_iter().collect()), (1, vec![1, 2]));
    assert_eq!(far_end.try_iter().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_carrier_that_panics_in_a_retry_ends_with_that_error() {
    let feed = Feed::new();
    let (carrier, _far_end) = Reluctant::new();
    let bad = feed.subscribe(Reluctant {
        retries: true,
        ..carrier
    });
    let mut full = feed.channel(1).unwrap();
    assert_eq!(feed.try_send(1).unwrap_err().delivered(), 1);
    let undelivered = feed.try_send(2).unwrap_err();
    assert!(failure(&bad).ends_with("a bad retry"));
    assert_eq!(full.try_recv(), Ok(1));
    assert_eq!(undelivered.retry().unwrap(), 1);
    assert_eq!(full.try_recv(), Ok(2));
}

#[cfg(feature = "async")]
#[test]
fn a_carrier_that_panics_while_a_task_waits_ends_with_that_error() {
    use futures_util::FutureExt;

    struct Unready(bool);
    impl Carrier<u64> for Unready {
        fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
            Err(TrySendError::Full(value))
        }
        fn poll_room(&self, _: &Waker) -> Room {
            assert!(!self.0, "a bad poll");
            Room::Unknown
        }
        fn as_crossbeam(&self) -> Option<&crossbeam_channel::Sender<u64>> {
            assert!(self.0, "a bad question");
            None
        }
    }
    for polls in [true, false] {
        let feed = Feed::new();
        let bad = feed.subscribe(Unready(polls));
        let mut good = feed.channel(4).unwrap();
        assert_eq!(feed.send_async(1).now_or_never(), Some(1));
        assert!(failure(&bad).contains("a bad "));
        assert_eq!((feed.send(2), good.try_iter().collect()), (1, vec![1, 2]));
    }
}

/// Panics when it is dropped.
#[derive(Default)]
struct Bomb(Arc<AtomicUsize>);

impl Carrier<u64> for Bomb {
    fn try_send(&self, _: u64) -> Result<(), TrySendError<u64>> {
        Ok(())
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("a bad drop");
    }
}

#[test]
fn carriers_that_panic_when_dropped_end_with_their_scope_and_their_join() {
    let drops = Arc::new(AtomicUsize::new(0));
    let feed = Feed::new();
    let bomb = || feed.subscribe(Bomb(Arc::clone(&drops)));
    let mut good = feed.channel(4).unwrap();
    let scope = SubscriptionScope::new();
    for _ in 0..3 {
        scope.track(bomb()).unwrap().detach();
    }
    scope.close();
    assert_eq!((scope.count(), drops.load(Ordering::SeqCst)), (0, 3));
    let joined = Subscription::join([bomb(), bomb(), feed.subscribe_fn(|_| panic!("it"))]);
    assert_eq!(feed.send(1), 3);
    joined.closed().wait();
    assert!(failure(&joined).ends_with("it"));
    assert_eq!(drops.load(Ordering::SeqCst), 5);
    assert_eq!((feed.send(2), good.try_iter().collect()), (1, vec![1, 2]));
}

// ---- The mux ----

#[allow(deprecated)]
#[test]
fn an_event_that_panics_when_dropped_disturbs_no_other_subscriber() {
    let tally = Tally::new();
    let mux = fanfeed::TypeMux::new();
    let mut first = mux.subscribe::<(Counted,)>();
    let mut second = mux.subscribe::<(Counted, u8)>();
    assert_eq!(mux.post(tally.value(0)).unwrap(), 2);
    drop(first.try_recv());
    tally.panic_at_drop_of(0);
    assert_eq!(panic_of(|| drop(second.try_recv())), "the drop of 0");
    mux.post(tally.value(1)).unwrap();
    drop(first.try_recv());
    tally.panic_at_drop_of(1);
    assert_eq!(panic_of(|| drop(second)), "the drop of 1");
    assert_eq!(mux.post(tally.value(2)).unwrap(), 1);
    assert_eq!(
        first
            .try_recv()
            .unwrap()
            .downcast_ref::<Counted>()
            .unwrap()
            .number,
        2
    );
    drop(first);
    tally.panic_at_drop_of(3);
    assert_eq!(panic_of(|| mux.post(tally.value(3))), "the drop of 3");
    mux.stop();
    assert_eq!(tally.live(), 0);
}

// ---- Rings ----

#[test]
fn readers_that_panic_one_after_another_hold_no_sender() {
    let _watchdog = watchdog();
    let mut ring = ExclusiveRingFeed::new(8).unwrap();
    let readers: Vec<_> = (0..8)
        .map(|bad| {
            let mut reader = ring.subscribe();
            thread::spawn(move || {
                while reader.wait().is_ok() {
                    let _ = reader.drain(|number: &u64| assert_ne!(*number, bad * 10, "mine"));
                }
            })
        })
        .collect();
    for number in 0..200 {
        ring.send(number);
    }
    eventually(|| ring.subscriber_count() == 0);
    drop(ring);
    for reader in readers {
        eventually(|| reader.is_finished());
        assert!(reader.join().is_err());
    }
}
