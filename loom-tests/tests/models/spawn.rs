//! A spawned producer against its unsubscribe: when `unsubscribe` has returned, the producer has
//! ended.
//!
//! Modelled: a producer that waits for its token, one that ends by itself, one that unsubscribes
//! itself, and two that unsubscribe each other. Bounds: two or three threads, two or three
//! preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models spawn::
//! ```
//!
//! Not modelled: the token's channel, which is a crossbeam channel and opaque to loom.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use fanfeed::{CancelToken, Subscription};
use fanfeed_loom_tests::{Model, Why};
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

fn spawn(producer: impl FnOnce(CancelToken) + Send + 'static) -> Subscription {
    Subscription::spawn(|token| {
        producer(token);
        Ok::<(), Infallible>(())
    })
}

fn a_patient_producer() {
    let ended = Arc::new(AtomicBool::new(false));
    let subscription = {
        let ended = Arc::clone(&ended);
        spawn(move |token| {
            while !token.wait_timeout(Duration::MAX) {}
            ended.store(true, Ordering::Relaxed);
        })
    };
    subscription.unsubscribe();
    assert!(ended.load(Ordering::Relaxed));
    assert!(subscription.is_closed());
}

/// Two wait for the end of a producer that may end by itself.
fn a_hasty_producer() {
    let ended = Arc::new(AtomicBool::new(false));
    let subscription = {
        let ended = Arc::clone(&ended);
        Arc::new(spawn(move |_| ended.store(true, Ordering::Relaxed)))
    };
    let other = {
        let subscription = Arc::clone(&subscription);
        thread::spawn(move || subscription.closed().wait())
    };
    subscription.unsubscribe();
    assert!(ended.load(Ordering::Relaxed));
    other.join().unwrap();
}

type Slot = Arc<Mutex<Option<Arc<Subscription>>>>;

/// A producer that unsubscribes what is in the slot by then.
fn unsubscriber(slot: &Slot) -> Arc<Subscription> {
    let slot = Arc::clone(slot);
    Arc::new(spawn(move |_| {
        let subscription = slot.lock().unwrap().take();
        if let Some(subscription) = subscription {
            subscription.unsubscribe();
        }
    }))
}

fn a_producer_that_unsubscribes_itself() {
    let slot = Slot::default();
    let subscription = unsubscriber(&slot);
    *slot.lock().unwrap() = Some(Arc::clone(&subscription));
    subscription.closed().wait();
    slot.lock().unwrap().take();
}

fn two_producers_that_unsubscribe_each_other() {
    let [one, other] = [Slot::default(), Slot::default()];
    let mut at_one = one.lock().unwrap();
    let first = unsubscriber(&one);
    let second = unsubscriber(&other);
    *other.lock().unwrap() = Some(Arc::clone(&first));
    *at_one = Some(Arc::clone(&second));
    drop(at_one);
    first.closed().wait();
    second.closed().wait();
    for slot in [one, other] {
        slot.lock().unwrap().take();
    }
}

#[test]
fn an_unsubscribe_waits_for_the_producer() {
    Model::bound(3).holds(a_patient_producer);
}

#[test]
fn every_waiter_for_the_end_is_woken() {
    Model::bound(2).holds(a_hasty_producer);
}

#[test]
fn a_producer_does_not_wait_for_itself() {
    Model::bound(4).holds(a_producer_that_unsubscribes_itself);
}

#[test]
fn producers_do_not_wait_for_each_other() {
    Model::bound(2).holds(two_producers_that_unsubscribe_each_other);
}

#[test]
fn a_cancel_has_to_wake() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("cancel_wakes_nobody", a_patient_producer);
}

#[test]
fn a_producer_has_to_be_waited_for() {
    Model::bound(2)
        .because(Why::Says("ended.load"))
        .fails_with("producer_is_not_waited_for", a_patient_producer);
}

#[test]
fn a_circle_has_to_be_told_before_it_is_looked_for() {
    Model::bound(2).because(Why::Deadlock).fails_with(
        "circle_is_looked_for_before_it_is_told",
        two_producers_that_unsubscribe_each_other,
    );
}
