//! Unsubscribing inside a delivery: from closures, clones and destructors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use crossbeam_channel::TryRecvError;
use fanfeed::{Feed, Overflow, Subscription};

use super::witness;
use crate::common::{PATIENCE, Sleeper, blocked_send, eventually, join, watchdog};

#[test]
fn a_closure_can_unsubscribe_itself() {
    let feed = Feed::new();
    let own: Arc<OnceLock<Subscription>> = Arc::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let subscription = feed.subscribe_fn({
        let (own, calls) = (Arc::clone(&own), Arc::clone(&calls));
        move |_: &u64| {
            calls.fetch_add(1, Ordering::SeqCst);
            own.get().expect("it was set").unsubscribe();
        }
    });
    own.set(subscription).unwrap();
    assert_eq!(feed.send(1), 1);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // Dropped when the delivery ended, and with it its hold on these.
    assert_eq!(Arc::strong_count(&calls), 1);
    assert_eq!(feed.send(2), 0);
    assert!(own.get().unwrap().is_closed());
}

#[test]
fn a_closure_can_unsubscribe_others() {
    let feed = Feed::new();
    let others: Arc<Mutex<Vec<Subscription>>> = Arc::default();
    let _closure = feed.subscribe_fn({
        let others = Arc::clone(&others);
        move |_: &u64| {
            others
                .lock()
                .unwrap()
                .iter()
                .for_each(Subscription::unsubscribe)
        }
    });
    let late_calls = Arc::new(AtomicUsize::new(0));
    let (tx, crossbeam) = crossbeam_channel::unbounded();
    let (carrier, taken, dropped) = witness();
    *others.lock().unwrap() = vec![
        feed.subscribe(tx),
        feed.subscribe(carrier),
        feed.subscribe_fn({
            let calls = Arc::clone(&late_calls);
            move |_| {
                calls.fetch_add(1, Ordering::SeqCst);
            }
        }),
    ];
    // The channels come before closures, so they had the value; the other closure's turn never
    // came.
    assert_eq!(feed.send(1), 3);
    assert_eq!(late_calls.load(Ordering::SeqCst), 0);
    assert_eq!(Arc::strong_count(&late_calls), 1);
    assert_eq!(taken.load(Ordering::SeqCst), 1);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(crossbeam.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(feed.send(2), 1);
}

#[test]
fn a_closure_of_one_feed_can_unsubscribe_from_another() {
    let (feed, other) = (Feed::new(), Feed::new());
    let (carrier, taken, dropped) = witness();
    let subscription = other.subscribe(carrier);
    other.send(1);
    let _closure = feed.subscribe_fn(move |_: &u64| subscription.unsubscribe());
    feed.send(1);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(other.send(2), 0);
    assert_eq!(taken.load(Ordering::SeqCst), 1);
}

/// What a subscription unsubscribed inside a delivery holds is dropped when that delivery ends,
/// also when it ends by waiting for somebody else.
#[test]
fn a_carrier_unsubscribed_in_a_closure_is_dropped_though_the_send_waits_for_another() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, going) = crossbeam_channel::bounded(0);
    let going_subscription = feed.subscribe(tx);
    let (tx, staying) = crossbeam_channel::bounded(0);
    let staying_subscription = feed.subscribe(tx);
    let first = blocked_send(&feed, &going_subscription, 1);
    eventually(|| staying_subscription.stats().blocked == 1);
    let _closure = feed.subscribe_fn(move |_| going_subscription.unsubscribe());
    let second = blocked_send(&feed, &staying_subscription, 2);
    assert_eq!(
        going.recv_timeout(PATIENCE),
        Err(crossbeam_channel::RecvTimeoutError::Disconnected)
    );
    assert!(!first.is_finished() && !second.is_finished());
    feed.close();
    join(first);
    join(second);
    drop(staying);
}

#[test]
fn the_thread_that_sends_can_unsubscribe() {
    let feed = Feed::new();
    for _ in 0..100 {
        let (carrier, taken, dropped) = witness();
        let subscription = feed.subscribe(carrier);
        assert_eq!(feed.send(1), 1);
        subscription.unsubscribe();
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        assert_eq!(feed.send(2), 0);
        assert_eq!(taken.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn the_clone_or_the_drop_of_a_value_can_unsubscribe() {
    #[derive(Default)]
    struct Trap(Mutex<Vec<Subscription>>);
    impl Trap {
        fn spring(&self) {
            let all = std::mem::take(&mut *self.0.lock().unwrap());
            all.iter().for_each(Subscription::unsubscribe);
        }
    }
    struct Value(Arc<Trap>, bool);
    impl Clone for Value {
        fn clone(&self) -> Self {
            if self.1 {
                self.0.spring();
            }
            Self(Arc::clone(&self.0), self.1)
        }
    }
    impl Drop for Value {
        fn drop(&mut self) {
            if !self.1 {
                self.0.spring();
            }
        }
    }
    let _watchdog = watchdog();
    for in_clone in [true, false] {
        let feed = Feed::new();
        let trap = Arc::new(Trap::default());
        let builder = feed.subscriber().capacity(1);
        let oldest = builder.overflow(Overflow::DropOldest).channel().unwrap();
        let (tx, rx) = crossbeam_channel::bounded(4);
        let (receiver, handle) = feed.channel(4).unwrap().split();
        *trap.0.lock().unwrap() = vec![feed.subscribe(tx), handle];
        feed.send(Value(Arc::clone(&trap), in_clone));
        // Pushes the first value out of the first channel, whose drop springs the trap in the other
        // case.
        feed.send(Value(Arc::clone(&trap), in_clone));
        assert!(trap.0.lock().unwrap().is_empty(), "it was sprung");
        assert_eq!(feed.subscriber_count(), 1);
        let left = rx.try_iter().count();
        assert!(left <= 2);
        assert_eq!(rx.try_recv().err(), Some(TryRecvError::Disconnected));
        assert!(receiver.is_closed());
        drop(oldest);
    }
}

#[test]
fn it_waits_for_a_call_of_its_own_closure_and_for_no_other() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (entered_tx, entered) = crossbeam_channel::unbounded();
    let (release, released) = crossbeam_channel::bounded::<()>(0);
    let slow = Arc::new(feed.subscribe_fn(move |_: &u64| {
        entered_tx.send(()).unwrap();
        let _ = released.recv_timeout(PATIENCE);
    }));
    let quick = feed.subscribe_fn(|_| {});
    let (carrier, _, dropped) = witness();
    let channel = feed.subscribe(carrier);
    let sender = thread::spawn({
        let feed = feed.clone();
        move || feed.send(1)
    });
    entered.recv_timeout(PATIENCE).unwrap();

    // The slow closure is running, and holds up neither of these.
    quick.unsubscribe();
    channel.unsubscribe();
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert!(!sender.is_finished());

    let (sleeper_tx, sleeper) = crossbeam_channel::bounded(1);
    let unsubscriber = thread::spawn({
        let slow = Arc::clone(&slow);
        move || {
            sleeper_tx.send(Sleeper::current()).unwrap();
            slow.unsubscribe();
        }
    });
    let sleeper = sleeper.recv_timeout(PATIENCE).unwrap();
    eventually(|| slow.is_closed());
    sleeper.falls_asleep();
    assert!(!unsubscriber.is_finished(), "the closure is still running");
    drop(release);
    join(unsubscriber);
    // The channel had it, and the slow closure; the other was gone before its turn.
    assert_eq!(join(sender), 2);
}
