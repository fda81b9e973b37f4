//! Stopping a mux.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self};

use crossbeam_channel::bounded;
use fanfeed::{Carrier, RecvError, Subscription, TrySendError, TypeMux, mux};

use crate::common::{Sleeper, eventually, join, watchdog};
use crate::{Does, Letter, Number, assert_ended_well, blocked_post, full, numbers};

#[test]
fn after_stop_a_post_gives_the_event_back() {
    let mux = TypeMux::new();
    let subscription = mux.subscribe::<(String,)>();
    assert!(!mux.is_stopped());
    mux.stop();
    assert!(mux.is_stopped());
    let closed = mux.post(String::from("event")).unwrap_err();
    assert_eq!(closed.to_string(), "the mux was stopped");
    assert_eq!(closed.into_inner(), "event");
    // A type that nobody has subscribed to, and one that cannot be printed.
    struct Opaque;
    assert_eq!(format!("{:?}", mux.post(Opaque)), "Err(Closed(..))");
    assert_ended_well(subscription.subscription());
    mux.stop();
}

#[test]
fn after_stop_a_subscription_has_ended() {
    let mux = TypeMux::new();
    let before = mux.subscribe::<(Number,)>();
    assert!(!before.is_closed());
    mux.stop();
    assert!(before.is_closed());
    let mut own = mux.subscribe::<(Number,)>();
    assert_eq!(own.recv().unwrap_err(), RecvError::Closed);
    assert_ended_well(own.subscription());
    own.unsubscribe();
    let (tx, rx) = bounded::<mux::Event>(1);
    let brought = mux
        .subscriber::<(Number, Letter)>()
        .name("late")
        .subscribe(tx);
    assert_ended_well(&brought);
    assert_eq!(brought.name(), Some("late"));
    assert!(rx.recv().is_err(), "the carrier was dropped");
}

#[test]
fn a_mux_that_is_stopped_during_a_subscribe_ends_that_subscription_too() {
    /// Stops the mux when it is cloned for one of the types.
    struct Stops(Arc<TypeMux>, Arc<AtomicUsize>);
    impl Clone for Stops {
        fn clone(&self) -> Self {
            if self.1.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.0.stop();
            }
            Self(Arc::clone(&self.0), Arc::clone(&self.1))
        }
    }
    impl Carrier<mux::Event> for Stops {
        fn try_send(&self, _: mux::Event) -> Result<(), TrySendError<mux::Event>> {
            Ok(())
        }
    }

    let _watchdog = watchdog();
    for clones in [1, 2] {
        let mux = Arc::new(TypeMux::new());
        let carrier = Stops(Arc::clone(&mux), Arc::new(AtomicUsize::new(clones)));
        let subscription = mux.subscriber::<(Number, Letter)>().subscribe(carrier);
        assert_ended_well(&subscription);
        drop(subscription);
        assert_eq!(Arc::strong_count(&mux), 1, "the carriers were dropped");
    }
}

#[test]
fn stop_releases_a_post() {
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    let mut slow = full(&mux);
    let mut quick = mux.subscribe::<(Number,)>();
    let poster = blocked_post(&mux, slow.subscription(), Number(1));
    mux.stop();
    assert_eq!(join(poster).unwrap(), 1, "it had reached the other one");
    assert_eq!(numbers(slow.iter()), [0]);
    assert_eq!(numbers(quick.iter()), [1]);
}

#[test]
fn dropping_the_mux_stops_it() {
    let mux = TypeMux::new();
    let mut subscription = mux.subscribe::<(Number,)>();
    mux.post(Number(1)).unwrap();
    drop(mux);
    assert_eq!(numbers(subscription.iter()), [1]);
    assert_ended_well(subscription.subscription());
}

#[test]
fn stop_waits_for_a_delivery_under_way() {
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    let returned = Arc::new(AtomicUsize::new(0));
    let early = Arc::new(AtomicBool::new(false));
    let (begun_tx, begun) = bounded(1);
    let (stopping_tx, stopping) = bounded(2);
    let delivery = Does({
        let (mux, returned, early) = (
            Arc::downgrade(&mux),
            Arc::clone(&returned),
            Arc::clone(&early),
        );
        move |_: &mux::Event| {
            begun_tx.send(()).unwrap();
            eventually(|| mux.upgrade().unwrap().is_stopped());
            // Both sleep in `stop`; one that returned too early has ended, and would be waited for
            // in vain.
            for _ in 0..2 {
                let sleeper: Sleeper = stopping.recv().unwrap();
                sleeper.falls_asleep();
            }
            early.store(returned.load(Ordering::SeqCst) != 0, Ordering::SeqCst);
        }
    });
    let _subscription = mux.subscriber::<(Number,)>().subscribe(delivery);
    let poster = thread::spawn({
        let mux = Arc::clone(&mux);
        move || mux.post(Number(1)).unwrap()
    });
    begun.recv().unwrap();
    let stoppers = [(); 2].map(|()| {
        let (mux, returned) = (Arc::clone(&mux), Arc::clone(&returned));
        let stopping = stopping_tx.clone();
        thread::spawn(move || {
            stopping.send(Sleeper::current()).unwrap();
            mux.stop();
            returned.fetch_add(1, Ordering::SeqCst);
        })
    });
    stoppers.into_iter().for_each(join);
    assert_eq!(join(poster), 1);
    assert!(
        !early.load(Ordering::SeqCst),
        "it returned while an event was delivered"
    );
}

#[test]
fn stop_and_unsubscribe_inside_a_delivery_do_not_wait() {
    let _watchdog = watchdog();
    for stop in [false, true] {
        let mux = Arc::new(TypeMux::new());
        let own: Arc<Mutex<Option<Subscription>>> = Arc::default();
        let end = Does({
            let (mux, own) = (Arc::downgrade(&mux), Arc::clone(&own));
            move |_: &mux::Event| {
                if stop {
                    mux.upgrade().unwrap().stop();
                } else if let Some(own) = &*own.lock().unwrap() {
                    own.unsubscribe();
                }
            }
        });
        let subscription = mux.subscriber::<(Number, Letter)>().subscribe(end);
        *own.lock().unwrap() = Some(subscription);
        assert_eq!(mux.post(Letter('a')).unwrap(), 1);
        assert_ended_well(own.lock().unwrap().as_ref().unwrap());
        let after = mux.post(Number(1));
        assert_eq!(after.ok(), (!stop).then_some(0));
        // Its carrier owns the handle, and the handle the carrier.
        own.lock().unwrap().take();
    }
}

#[test]
fn an_event_may_use_the_mux_when_it_is_dropped() {
    struct Stopper(Weak<TypeMux>);
    impl Drop for Stopper {
        fn drop(&mut self) {
            if let Some(mux) = self.0.upgrade() {
                let _ = mux.subscribe::<(Number,)>();
                mux.stop();
            }
        }
    }
    let _watchdog = watchdog();
    for subscribed in [false, true] {
        let mux = Arc::new(TypeMux::new());
        let subscription = subscribed.then(|| mux.subscribe::<(Stopper,)>());
        let reached = mux.post(Stopper(Arc::downgrade(&mux))).unwrap();
        assert_eq!(reached, usize::from(subscribed));
        drop(subscription);
        assert!(mux.is_stopped());
        drop(mux.post(Stopper(Arc::downgrade(&mux))));
    }
}
