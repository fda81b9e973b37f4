//! Channels and carriers that the user brings along; figures and names.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};
use fanfeed::{Carrier, TrySendError, TypeMux, mux};

use crate::common::{eventually, join, watchdog};
use crate::{Does, Letter, Number, assert_ended_well, blocked_post, numbers};

#[test]
fn a_channel_without_capacity_holds_the_post_until_the_event_is_received() {
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    let (tx, rx) = bounded(0);
    let subscription = mux.subscriber::<(Number, Letter)>().subscribe(tx);
    for number in 0..50 {
        let poster = blocked_post(&mux, &subscription, Number(number));
        assert!(!poster.is_finished());
        if number % 2 == 0 {
            assert_eq!(numbers(rx.recv()), [number]);
        } else {
            // One that polls is met only by a post that waits at the channel itself.
            let mut polled = Vec::new();
            eventually(|| {
                polled.extend(rx.try_recv());
                !polled.is_empty()
            });
            assert_eq!(numbers(polled), [number]);
        }
        assert_eq!(join(poster).unwrap(), 1);
    }
    let poster = blocked_post(&mux, &subscription, Letter('a'));
    drop(rx);
    assert_eq!(join(poster).unwrap(), 0);
    assert_ended_well(&subscription);
}

#[test]
fn a_receiver_that_is_gone_ends_the_subscription_to_all_types() {
    let mux = TypeMux::new();
    let (tx, rx) = unbounded();
    let subscription = mux.subscriber::<(Number, Letter)>().subscribe(tx);
    drop(rx);
    assert_eq!(mux.post(Letter('a')).unwrap(), 0);
    assert_ended_well(&subscription);
    assert!(format!("{mux:?}").contains("subscriptions: 0"), "{mux:?}");
}

#[test]
fn a_carrier_that_panics_fails_its_subscription() {
    let mux = TypeMux::new();
    let panics = Does(|_: &mux::Event| panic!("a carrier's panic"));
    let failing = mux.subscriber::<(Number, Letter)>().subscribe(panics);
    let mut sound = mux.subscribe::<(Number,)>();
    let err = failing.err();
    assert_eq!(mux.post(Number(1)).unwrap(), 1);
    assert!(
        err.recv()
            .unwrap()
            .to_string()
            .contains("a carrier's panic")
    );
    assert!(err.recv().is_err(), "one error");
    assert!(failing.is_closed());
    let stats = failing.stats();
    assert_eq!((stats.delivered, stats.dropped), (0, 1));
    assert_eq!(mux.post(Letter('a')).unwrap(), 0);
    assert_eq!(numbers(sound.try_iter()), [1]);
}

/// Its second clone panics.
struct Uncloned(Arc<AtomicUsize>);

impl Clone for Uncloned {
    fn clone(&self) -> Self {
        assert_eq!(self.0.fetch_add(1, Ordering::Relaxed), 0, "a clone's panic");
        Self(Arc::clone(&self.0))
    }
}

impl Carrier<mux::Event> for Uncloned {
    fn try_send(&self, _: mux::Event) -> Result<(), TrySendError<mux::Event>> {
        Ok(())
    }
}

#[test]
fn a_panic_while_subscribing_leaves_no_type_subscribed() {
    let mux = TypeMux::new();
    let carrier = Uncloned(Arc::default());
    let subscriber = mux.subscriber::<(Number, Letter)>();
    assert!(catch_unwind(AssertUnwindSafe(|| subscriber.subscribe(carrier))).is_err());
    assert_eq!(mux.post(Number(1)).unwrap(), 0);
    assert_eq!(mux.post(Letter('a')).unwrap(), 0);
}

// ---- Figures and names ----

#[test]
fn stats_are_of_all_types_together() {
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    let subscriber = mux
        .subscriber::<(Number, Letter)>()
        .name("both")
        .capacity(3);
    let text = format!("{subscriber:?}");
    for part in ["Number", "Letter", "both", "capacity: 3"] {
        assert!(text.contains(part), "{text}");
    }
    let mut subscription = subscriber.channel().unwrap();
    mux.post(Number(1)).unwrap();
    mux.post(Letter('2')).unwrap();
    mux.post(Number(3)).unwrap();
    let stats = subscription.stats();
    assert_eq!((stats.delivered, stats.dropped), (3, 0));
    assert_eq!((stats.depth, stats.blocked), (Some(3), 0));
    let poster = blocked_post(&mux, subscription.subscription(), Letter('4'));
    assert_eq!(subscription.iter().take(4).count(), 4);
    join(poster).unwrap();
    let stats = subscription.stats();
    assert_eq!(
        (stats.delivered, stats.depth, stats.blocked),
        (4, Some(0), 1)
    );
    assert!(stats.blocked_for > Duration::ZERO);
    assert_eq!(subscription.subscription().name(), Some("both"));
}

#[test]
fn types_without_subscribers_take_no_memory() {
    let mux = TypeMux::new();
    mux.post(Number(1)).unwrap();
    mux.post("two").unwrap();
    assert!(format!("{mux:?}").contains("types: 0"), "{mux:?}");
    for _ in 0..3 {
        let gone = mux.subscribe::<(Number, u8, u16)>();
        assert!(format!("{mux:?}").contains("types: 3"), "{mux:?}");
        drop(gone);
        let other = mux.subscribe::<(Letter,)>();
        assert!(format!("{mux:?}").contains("types: 1"), "{mux:?}");
        drop(other);
    }
}

#[test]
fn its_parts_go_where_they_are_needed() {
    fn shared<T: Send + Sync>() {}
    shared::<TypeMux>();
    shared::<mux::Event>();
    shared::<mux::Subscription>();
    shared::<mux::Closed<u8>>();
    fn is_error<T: std::error::Error>() {}
    is_error::<mux::Closed<std::cell::Cell<u8>>>();
    let mux = TypeMux::new();
    let mut subscription = mux.subscribe::<(Number,)>();
    mux.post(Number(1)).unwrap();
    assert!(
        format!("{subscription:?}").contains("len: 1"),
        "{subscription:?}"
    );
    assert!(format!("{:?}", subscription.recv()).contains("Event {"));
}
