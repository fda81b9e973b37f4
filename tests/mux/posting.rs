//! Posting and receiving.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self};
use std::time::{Duration, Instant};

use fanfeed::{Carrier, RecvError, RecvTimeoutError, TryRecvError, TrySendError, TypeMux, mux};

use crate::common::{join, message, watchdog};
use crate::{Does, Letter, Number, numbers};

#[test]
fn an_event_reaches_the_subscribers_of_its_type() {
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
fn an_event_without_subscribers_is_dropped() {
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
    // A feed serves its subscribers in chunks of 64. A subscription that is made while the first
    // chunk is served, and lands in the second, is in time for an event that was posted before.
    let mux = Arc::new(TypeMux::new());
    let late: Arc<Mutex<Option<mux::Subscription>>> = Arc::default();
    let subscribe = Does({
        let (mux, late) = (Arc::downgrade(&mux), Arc::clone(&late));
        move |_: &mux::Event| {
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

#[test]
fn an_event_posted_while_a_subscription_is_made_reaches_no_part_of_it() {
    struct Posts(Arc<TypeMux>, Sender<usize>);
    impl Clone for Posts {
        fn clone(&self) -> Self {
            // Called for each type, before its part is made.
            self.0.post(Number(1)).unwrap();
            self.0.post(Letter('1')).unwrap();
            Self(Arc::clone(&self.0), self.1.clone())
        }
    }
    impl Carrier<mux::Event> for Posts {
        fn try_send(&self, event: mux::Event) -> Result<(), TrySendError<mux::Event>> {
            let number = event.downcast_ref().map_or(0, |number: &Number| number.0);
            self.1.send(number).unwrap();
            Ok(())
        }
    }
    let mux = Arc::new(TypeMux::new());
    let (sender, receiver) = channel();
    let subscriber = mux.subscriber::<(Number, Letter)>();
    let subscription = subscriber.subscribe(Posts(Arc::clone(&mux), sender));
    assert_eq!(mux.post(Number(2)).unwrap(), 1);
    assert_eq!(mux.post(Letter('2')).unwrap(), 1);
    assert_eq!(subscription.stats().delivered, 2);
    subscription.unsubscribe();
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [2, 0]);
}

#[test]
fn a_subscription_to_several_types_begins_and_ends_for_all_at_once() {
    let _watchdog = watchdog();
    // Posts numbers and letters in turn. Whatever part of them a subscription gets, nothing is
    // missing in it.
    let mux = Arc::new(TypeMux::new());
    let stop = Arc::new(AtomicBool::new(false));
    let poster = thread::spawn({
        let (mux, stop) = (Arc::clone(&mux), Arc::clone(&stop));
        move || {
            for number in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                if number % 2 == 0 {
                    mux.post(Number(number)).unwrap();
                } else {
                    mux.post((Number(number),)).unwrap();
                }
            }
        }
    });
    for round in 0..500 {
        let mut both = mux
            .subscriber::<(Number, (Number,))>()
            .capacity(4)
            .channel()
            .unwrap();
        let begin: Vec<_> = both.iter().take(round % 6).collect();
        both.unsubscribe();
        let got: Vec<usize> = begin
            .into_iter()
            .chain(both.try_iter())
            .map(|event| match event.downcast_ref::<(Number,)>() {
                Some((number,)) => number.0,
                None => event.downcast_ref::<Number>().unwrap().0,
            })
            .collect();
        assert!(got.windows(2).all(|two| two[0] + 1 == two[1]), "{got:?}");
    }
    stop.store(true, Ordering::Relaxed);
    join(poster);
}
