//! What `TypeMux` promises.

#![allow(deprecated)]

mod common;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::{Sleeper, eventually, join, message, watchdog};
use crossbeam_channel::{Receiver, bounded, unbounded};
use fanfeed::{
    Carrier, MuxClosed, RecvError, RecvTimeoutError, Subscription, TryRecvError, TrySendError,
    TypeMux, TypeMuxEvent, TypeMuxSubscription,
};

#[derive(Debug, PartialEq, Clone, Copy)]
struct Number(usize);

#[derive(Debug, PartialEq, Clone, Copy)]
struct Letter(char);

fn numbers(events: impl IntoIterator<Item = TypeMuxEvent>) -> Vec<usize> {
    let number = |event: TypeMuxEvent| event.downcast_ref::<Number>().expect("a number").0;
    events.into_iter().map(number).collect()
}

/// Starts a post on a thread of its own, and returns once it waits for the subscription.
#[track_caller]
fn blocked_post<E: Any + Send + Sync>(
    mux: &Arc<TypeMux>,
    on: &Subscription,
    event: E,
) -> JoinHandle<Result<usize, MuxClosed<E>>> {
    let before = on.stats().blocked;
    let mux = Arc::clone(mux);
    let poster = thread::spawn(move || mux.post(event));
    eventually(|| on.stats().blocked > before);
    poster
}

/// A subscription to numbers that is full.
fn full(mux: &TypeMux) -> TypeMuxSubscription {
    let subscription = mux.subscriber::<(Number,)>().capacity(1).channel().unwrap();
    mux.post(Number(0)).unwrap();
    subscription
}

/// A carrier that does something with each event, on the thread that posts it.
#[derive(Clone)]
struct Does<F>(F);

impl<F: Fn(&TypeMuxEvent) + Clone + Send + Sync + 'static> Carrier<TypeMuxEvent> for Does<F> {
    fn try_send(&self, event: TypeMuxEvent) -> Result<(), TrySendError<TypeMuxEvent>> {
        self.0(&event);
        Ok(())
    }
}

fn assert_ended_well(subscription: &Subscription) {
    assert!(subscription.is_closed());
    assert_eq!(
        subscription.err().try_recv().unwrap_err(),
        crossbeam_channel::TryRecvError::Disconnected
    );
}

// ---- Posting and receiving ----

#[test]
fn an_event_reaches_those_who_subscribed_to_its_type() {
    let mux = TypeMux::default();
    let mut first = mux.subscribe::<(Number,)>();
    let mut second = mux.subscribe::<(Number,)>();
    let mut other = mux.subscribe::<(Letter,)>();
    assert_eq!(mux.post(Number(5)).unwrap(), 2);
    assert_eq!(first.recv().unwrap().downcast_ref(), Some(&Number(5)));
    assert_eq!(second.recv().unwrap().downcast_ref(), Some(&Number(5)));
    assert_eq!(other.try_recv().unwrap_err(), TryRecvError::Empty);
}

#[test]
fn an_event_that_nobody_has_subscribed_to_is_dropped() {
    let mux = TypeMux::new();
    let event = Arc::new(());
    assert_eq!(mux.post(Arc::clone(&event)).unwrap(), 0);
    mux.subscribe::<(Arc<()>,)>().unsubscribe();
    assert_eq!(mux.post(Arc::clone(&event)).unwrap(), 0);
    assert_eq!(Arc::strong_count(&event), 1);
}

#[test]
fn events_of_several_types_come_in_the_order_posted() {
    let mux = TypeMux::new();
    let mut both = mux.subscribe::<(Number, Letter)>();
    for (number, letter) in ('a'..='z').enumerate() {
        assert_eq!(mux.post(Letter(letter)).unwrap(), 1);
        assert_eq!(mux.post(Number(number)).unwrap(), 1);
        assert_eq!(mux.post((Number(0), Letter('0'))).unwrap(), 0, "a pair");
    }
    for (number, letter) in ('a'..='z').enumerate() {
        let event = both.recv().unwrap();
        assert!(event.is::<Letter>() && !event.is::<Number>());
        assert_eq!(event.downcast_ref(), Some(&Letter(letter)));
        let event = both.recv().unwrap();
        assert_eq!(event.downcast_ref::<Letter>(), None);
        assert_eq!(*event.downcast::<Number>().unwrap(), Number(number));
    }
    assert!(both.is_empty());
}

#[test]
fn many_types_fit_into_one_subscription() {
    let mux = TypeMux::new();
    let subscriber = mux.subscriber::<(
        u8,
        u16,
        u32,
        u64,
        u128,
        usize,
        i8,
        i16,
        i32,
        i64,
        i128,
        isize,
    )>();
    let subscriber = subscriber.and::<f32>().and::<f64>();
    assert!(format!("{subscriber:?}").contains("i128"));
    let mut all = subscriber.channel().unwrap();
    let mut reached = mux.post(1u8).unwrap() + mux.post(2isize).unwrap();
    reached += mux.post(3f32).unwrap() + mux.post(4f64).unwrap();
    assert_eq!((reached, mux.post('5').unwrap()), (4, 0));
    assert_eq!(all.recv().unwrap().downcast_ref(), Some(&1u8));
    assert_eq!(all.recv().unwrap().downcast_ref(), Some(&2isize));
    assert_eq!(all.recv().unwrap().downcast_ref(), Some(&3f32));
    assert_eq!(all.recv().unwrap().downcast_ref(), Some(&4f64));
}

#[test]
fn subscribers_share_the_event() {
    struct NoClone;
    let mux = TypeMux::new();
    let mut first = mux.subscribe::<(NoClone,)>();
    let mut second = mux.subscribe::<(NoClone,)>();
    mux.post(NoClone).unwrap();
    let one = first.recv().unwrap().downcast::<NoClone>().unwrap();
    let other = second.recv().unwrap();
    assert!(std::ptr::eq(
        &*one,
        other.downcast_ref::<NoClone>().unwrap()
    ));
    assert_eq!(Arc::strong_count(other.data()), 2, "the mux keeps none");
    let back = other.downcast::<Number>().unwrap_err();
    assert!(back.is::<NoClone>());
}

#[test]
fn an_event_bears_the_time_of_its_post() {
    let mux = TypeMux::new();
    let mut subscription = mux.subscribe::<(Number, Letter)>();
    let before = Instant::now();
    mux.post(Number(1)).unwrap();
    let between = Instant::now();
    mux.post(Letter('2')).unwrap();
    let times: Vec<_> = subscription.try_iter().map(|event| event.time()).collect();
    assert!(before <= times[0] && times[0] <= between && between <= times[1]);
    assert!(times[1] <= Instant::now());
}

#[test]
fn a_subscription_sees_no_event_older_than_itself() {
    // A feed serves its subscribers in chunks of 64. A subscription that is made while the first chunk is served, and
    // lands in the second, is in time for an event that was posted before.
    let mux = Arc::new(TypeMux::new());
    let late: Arc<Mutex<Option<TypeMuxSubscription>>> = Arc::default();
    let subscribe = Does({
        let (mux, late) = (Arc::downgrade(&mux), Arc::clone(&late));
        move |_: &TypeMuxEvent| {
            let mux = mux.upgrade().expect("it is being posted on");
            late.lock()
                .unwrap()
                .get_or_insert_with(|| mux.subscribe::<(Number, Letter)>());
        }
    });
    let _first = mux.subscriber::<(Number,)>().subscribe(subscribe);
    let others: Vec<_> = (0..64).map(|_| mux.subscribe::<(Number,)>()).collect();

    assert_eq!(mux.post(Number(1)).unwrap(), 65);
    assert_eq!(mux.post(Number(2)).unwrap(), 66);
    let mut late = late.lock().unwrap().take().unwrap();
    assert_eq!(late.stats().delivered, 1);
    assert_eq!(numbers(late.try_iter()), [2]);
    for mut other in others {
        assert_eq!(numbers(other.try_iter()), [1, 2]);
    }
}

#[test]
fn every_way_to_receive_tells_empty_from_closed() {
    let _watchdog = watchdog();
    let mux = TypeMux::new();
    let mut subscription = mux.subscriber::<(Number,)>().capacity(2).channel().unwrap();
    let short = Duration::from_millis(1);
    assert_eq!(subscription.capacity(), 2);
    assert_eq!(subscription.try_recv().unwrap_err(), TryRecvError::Empty);
    let timeout = subscription.recv_timeout(short).unwrap_err();
    assert_eq!(timeout, RecvTimeoutError::Timeout);
    let timeout = subscription.recv_deadline(Instant::now()).unwrap_err();
    assert_eq!(timeout, RecvTimeoutError::Timeout);
    mux.post(Number(1)).unwrap();
    mux.post(Number(2)).unwrap();
    assert_eq!((subscription.len(), subscription.is_empty()), (2, false));
    assert!(subscription.recv_timeout(Duration::MAX).is_ok());
    mux.stop();
    assert!(subscription.is_closed(), "with an event still to be taken");
    assert_eq!(numbers(subscription.iter()), [2]);
    assert_eq!(subscription.recv().unwrap_err(), RecvError::Closed);
    assert_eq!(subscription.try_recv().unwrap_err(), TryRecvError::Closed);
    let closed = subscription.recv_timeout(short).unwrap_err();
    assert_eq!(closed, RecvTimeoutError::Closed);
    assert_eq!(subscription.try_iter().count(), 0);
}

#[test]
fn a_capacity_that_cannot_be_had_is_an_error() {
    let mux = TypeMux::new();
    for capacity in [0, usize::MAX] {
        let refused = mux.subscriber::<(Number,)>().capacity(capacity).channel();
        assert_eq!(refused.unwrap_err().requested(), capacity);
    }
    assert_eq!(mux.post(Number(1)).unwrap(), 0, "nothing is left of them");
}

#[test]
fn events_of_each_thread_stay_in_order_through_a_full_channel() {
    const EVENTS: usize = 2_000;
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    let mut subscription = mux
        .subscriber::<(Number, String)>()
        .capacity(2)
        .channel()
        .unwrap();
    let posters = [0, 1, 2].map(|poster| {
        let mux = Arc::clone(&mux);
        thread::spawn(move || {
            for index in 0..EVENTS {
                let reached = if index % 2 == 0 {
                    mux.post(Number(poster * EVENTS + index)).unwrap()
                } else {
                    mux.post((poster * EVENTS + index).to_string()).unwrap()
                };
                assert_eq!(reached, 1);
            }
        })
    });
    let mut next = [0; 3];
    for event in subscription.iter().take(3 * EVENTS) {
        let number = match event.downcast_ref::<Number>() {
            Some(number) => number.0,
            None => event.downcast_ref::<String>().unwrap().parse().unwrap(),
        };
        let (poster, index) = (number / EVENTS, number % EVENTS);
        assert_eq!(index, next[poster]);
        next[poster] += 1;
    }
    posters.into_iter().for_each(join);
    assert_eq!(next, [EVENTS; 3]);
    assert_eq!(subscription.stats().delivered, 3 * EVENTS as u64);
}

// ---- A type twice ----

#[test]
fn a_type_listed_twice_panics_with_its_name() {
    let mux = TypeMux::new();
    let panics: [&dyn Fn(); 3] = [
        &|| drop(mux.subscribe::<(Number, Letter, Number)>()),
        &|| drop(mux.subscriber::<(Number, Number)>()),
        &|| drop(mux.subscriber::<(Letter, Number)>().and::<Number>()),
    ];
    for panics in panics {
        let payload = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        let message = message(&*payload);
        assert!(
            message.contains("mux::Number") && message.contains("twice"),
            "{message}"
        );
    }
    assert_eq!(mux.post(Number(1)).unwrap(), 0, "nothing is left of them");
    let _twice = (mux.subscribe::<(Number,)>(), mux.subscribe::<(Number,)>());
    assert_eq!(
        mux.post(Number(1)).unwrap(),
        2,
        "two calls are two subscriptions"
    );
}

#[test]
fn a_type_listed_twice_panics_where_it_was_listed() {
    thread_local!(static PLACE: std::cell::Cell<(bool, u32)> = const { std::cell::Cell::new((false, 0)) });
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let location = info.location().expect("a panic has a place");
        PLACE.set((location.file() == file!(), location.line()));
        others(info);
    }));
    let mux = TypeMux::new();
    let _ = catch_unwind(AssertUnwindSafe(|| drop(mux.subscribe::<(u8, u8)>())));
    assert_eq!(PLACE.get(), (true, line!() - 1));
    let subscriber = mux.subscriber::<(u8,)>();
    let _ = catch_unwind(AssertUnwindSafe(|| drop(subscriber.and::<u8>())));
    assert_eq!(PLACE.get(), (true, line!() - 1));
}

// ---- Unsubscribing ----

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

// ---- Stopping ----

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
    assert_eq!(format!("{:?}", mux.post(Opaque)), "Err(MuxClosed(..))");
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
    let (tx, rx) = bounded::<TypeMuxEvent>(1);
    let brought = mux
        .subscriber::<(Number, Letter)>()
        .name("late")
        .subscribe(tx);
    assert_ended_well(&brought);
    assert_eq!(brought.name(), Some("late"));
    assert!(rx.recv().is_err(), "the carrier was dropped");
}

#[test]
fn a_mux_that_is_stopped_while_somebody_subscribes_ends_that_too() {
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
    impl Carrier<TypeMuxEvent> for Stops {
        fn try_send(&self, _: TypeMuxEvent) -> Result<(), TrySendError<TypeMuxEvent>> {
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
        move |_: &TypeMuxEvent| {
            begun_tx.send(()).unwrap();
            eventually(|| mux.upgrade().unwrap().is_stopped());
            // Both sleep in `stop`; one that returned too early has ended, and would be waited for in vain.
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
            move |_: &TypeMuxEvent| {
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

// ---- Channels that are brought along ----

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
    let panics = Does(|_: &TypeMuxEvent| panic!("a carrier's panic"));
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
    shared::<TypeMuxEvent>();
    shared::<TypeMuxSubscription>();
    shared::<MuxClosed<u8>>();
    fn is_error<T: std::error::Error>() {}
    is_error::<MuxClosed<std::cell::Cell<u8>>>();
    let mux = TypeMux::new();
    let mut subscription = mux.subscribe::<(Number,)>();
    mux.post(Number(1)).unwrap();
    assert!(
        format!("{subscription:?}").contains("len: 1"),
        "{subscription:?}"
    );
    assert!(format!("{:?}", subscription.recv()).contains("TypeMuxEvent"));
}

// ---- All at once ----

#[test]
fn subscribers_come_and_go_while_others_post() {
    const SUBSCRIBERS: usize = 200;
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    let posters = [(); 3].map(|()| {
        let mux = Arc::clone(&mux);
        thread::spawn(move || while mux.post(Number(0)).is_ok() {})
    });
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|index| {
            let mux = Arc::clone(&mux);
            thread::spawn(move || {
                let before = Instant::now();
                let capacity = 1 + index % 3;
                let subscriber = mux.subscriber::<(Number, Letter)>().capacity(capacity);
                let mut subscription = subscriber.channel().unwrap();
                let event = subscription.recv().unwrap();
                assert!(before <= event.time());
                subscription.unsubscribe();
                let rest = subscription.iter().count();
                assert!(rest <= capacity);
                assert_eq!(subscription.stats().delivered, 1 + rest as u64);
            })
        })
        .collect();
    subscribers.into_iter().for_each(join);
    mux.stop();
    posters.into_iter().for_each(join);
}

/// Whether a channel has ended, apart from what is left in it.
fn has_ended(channel: &mut TypeMuxSubscription) -> bool {
    channel.try_iter().for_each(drop);
    channel.try_recv().unwrap_err() == TryRecvError::Closed
}

fn is_disconnected(channel: &Receiver<TypeMuxEvent>) -> bool {
    channel.try_iter().for_each(drop);
    channel.try_recv().unwrap_err() == crossbeam_channel::TryRecvError::Disconnected
}

/// The posts of other threads free what has ended, and may be doing so when `unsubscribe` returns.
#[test]
fn channels_have_ended_when_unsubscribe_returns() {
    const RACES: usize = 5_000;
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    // They keep both types in use.
    let _stays = mux
        .subscriber::<(Number, Letter)>()
        .subscribe(Does(|_: &TypeMuxEvent| {}));
    let posters = [0, 1].map(|poster| {
        let mux = Arc::clone(&mux);
        thread::spawn(move || {
            while if poster == 0 {
                mux.post(Number(0)).is_ok()
            } else {
                mux.post(Letter('a')).is_ok()
            } {}
        })
    });
    for race in 0..RACES {
        let mut own = mux.subscribe::<(Number, Letter)>();
        own.unsubscribe();
        assert!(has_ended(&mut own), "race {race}: too early");
        let (tx, brought) = unbounded();
        let subscription = mux.subscriber::<(Number, Letter)>().subscribe(tx);
        subscription.unsubscribe();
        assert!(is_disconnected(&brought), "race {race}: too early");
    }
    mux.stop();
    posters.into_iter().for_each(join);
}

#[test]
fn channels_have_ended_when_any_stop_returns() {
    const RACES: usize = 3_000;
    let _watchdog = watchdog();
    let at_once = Barrier::new(2);
    let slot = Mutex::new(None);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..RACES {
                at_once.wait();
                let mux: Arc<TypeMux> = slot.lock().unwrap().take().unwrap();
                mux.stop();
                at_once.wait();
            }
        });
        for race in 0..RACES {
            let mux = Arc::new(TypeMux::new());
            let mut own = mux.subscribe::<(Number, Letter)>();
            let (tx, brought) = unbounded();
            let _brought = mux.subscriber::<(Letter, Number)>().subscribe(tx);
            *slot.lock().unwrap() = Some(Arc::clone(&mux));
            at_once.wait();
            (0..race % 100).for_each(|_| std::hint::spin_loop());
            mux.stop();
            let ended = (has_ended(&mut own), is_disconnected(&brought));
            at_once.wait();
            assert_eq!(ended, (true, true), "race {race}: too early");
        }
    });
}

#[test]
fn what_posts_return_adds_up_to_what_was_received() {
    let _watchdog = watchdog();
    for round in 0..20 {
        let mux = Arc::new(TypeMux::new());
        let (tx, brought) = bounded(2);
        let _brought = mux.subscriber::<(Number, Letter)>().subscribe(tx);
        let own = mux
            .subscriber::<(Letter, Number)>()
            .capacity(3)
            .channel()
            .unwrap();
        let posters = [0, 1].map(|poster| {
            let mux = Arc::clone(&mux);
            thread::spawn(move || {
                let mut reached = 0;
                while let Ok(count) = if poster == 0 {
                    mux.post(Number(0)).map_err(drop)
                } else {
                    mux.post(Letter('a')).map_err(drop)
                } {
                    reached += count;
                }
                reached
            })
        });
        let enough = Arc::new(AtomicUsize::new(0));
        let receivers = [count_brought(brought, &enough), count_own(own, &enough)];
        eventually(|| enough.load(Ordering::Relaxed) > 100 * round);
        mux.stop();
        let reached: usize = posters.into_iter().map(join).sum();
        let received: usize = receivers.into_iter().map(join).sum();
        assert_eq!(reached, received);
    }
}

fn count_brought(receiver: Receiver<TypeMuxEvent>, all: &Arc<AtomicUsize>) -> JoinHandle<usize> {
    let all = Arc::clone(all);
    let count = move |_: &TypeMuxEvent| {
        all.fetch_add(1, Ordering::Relaxed);
    };
    thread::spawn(move || receiver.iter().inspect(count).count())
}

fn count_own(mut receiver: TypeMuxSubscription, all: &Arc<AtomicUsize>) -> JoinHandle<usize> {
    let all = Arc::clone(all);
    let count = move |_: &TypeMuxEvent| {
        all.fetch_add(1, Ordering::Relaxed);
    };
    thread::spawn(move || receiver.iter().inspect(count).count())
}

// ---- Tasks ----

#[cfg(feature = "async")]
#[test]
fn a_subscription_is_a_stream() {
    use std::pin::Pin;
    use std::task::{Context, Poll, Wake};

    use futures_core::Stream;

    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    let mut context = Context::from_waker(&waker);
    let mux = TypeMux::new();
    let mut subscription = mux.subscribe::<(Number, Letter)>();
    let mut poll = || Pin::new(&mut subscription).poll_next(&mut context);

    assert!(poll().is_pending());
    mux.post(Letter('a')).unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(matches!(poll(), Poll::Ready(Some(event)) if event.is::<Letter>()));
    assert!(poll().is_pending());
    mux.stop();
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    assert!(matches!(poll(), Poll::Ready(None)));
}
