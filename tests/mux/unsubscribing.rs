//! Unsubscribing.

use std::sync::Arc;
use std::thread::{self};

use crossbeam_channel::{bounded, unbounded};
use fanfeed::{RecvError, TypeMux};

use crate::common::{Sleeper, join, watchdog};
use crate::{Letter, Number, assert_ended_well, blocked_post, full, numbers};

#[test]
fn nothing_comes_after_unsubscribing() {
    let mux = TypeMux::new();
    let mut subscription = mux.subscribe::<(Number, Letter)>();
    mux.post(Number(1)).unwrap();
    subscription.unsubscribe();
    assert!(subscription.is_closed());
    assert_eq!(mux.post(Number(2)).unwrap(), 0);
    assert_eq!(mux.post(Letter('2')).unwrap(), 0);
    assert_eq!(numbers(subscription.iter()), [1]);
    subscription.unsubscribe();
    assert_ended_well(subscription.subscription());
}

#[test]
fn unsubscribing_releases_a_post_and_leaves_the_others_alone() {
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    let mut slow = full(&mux);
    let mut quick = mux.subscribe::<(Number,)>();
    let poster = blocked_post(&mux, slow.subscription(), Number(1));
    assert_eq!(
        numbers(quick.recv()),
        [1],
        "the full one holds up nobody else"
    );
    slow.unsubscribe();
    assert_eq!(join(poster).unwrap(), 1);
    assert_eq!(numbers(slow.iter()), [0]);
    assert_eq!(slow.stats().blocked, 1);
}

#[test]
fn a_dropped_receiver_releases_a_post() {
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    let (slow, handle) = full(&mux).split();
    let poster = blocked_post(&mux, &handle, Number(1));
    drop(slow);
    assert_eq!(join(poster).unwrap(), 0);
    assert_ended_well(&handle);
}

#[test]
fn room_releases_every_post() {
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    let mut slow = full(&mux);
    let posters = [1, 2, 3].map(|number| blocked_post(&mux, slow.subscription(), Number(number)));
    let mut taken = numbers(slow.iter().take(4));
    taken.sort_unstable();
    assert_eq!(taken, [0, 1, 2, 3]);
    for poster in posters {
        assert_eq!(join(poster).unwrap(), 1);
    }
    assert_eq!(slow.stats().blocked, 3);
}

#[test]
fn a_thread_that_receives_is_woken_by_the_end() {
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    for stop in [false, true] {
        let (mut receiver, handle) = mux.subscribe::<(Number, Letter)>().split();
        let (tx, rx) = bounded(1);
        let thread = thread::spawn(move || {
            numbers(receiver.recv());
            tx.send(Sleeper::current()).unwrap();
            receiver.recv().unwrap_err()
        });
        mux.post(Number(0)).unwrap();
        rx.recv().unwrap().falls_asleep();
        if stop {
            mux.stop()
        } else {
            handle.unsubscribe()
        }
        assert_eq!(join(thread), RecvError::Closed);
    }
}

#[test]
fn a_detached_subscription_lasts_until_the_mux_stops() {
    let mux = TypeMux::new();
    let (tx, rx) = unbounded();
    mux.subscriber::<(Number, Letter)>().subscribe(tx).detach();
    mux.post(Number(1)).unwrap();
    mux.post(Letter('2')).unwrap();
    drop(mux);
    assert_eq!(rx.iter().count(), 2, "and then the channel ends");
}
