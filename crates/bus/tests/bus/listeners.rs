//! Which listeners get which events, and in which order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use fanfeed::{Subscription, SubscriptionScope};
use fanfeed_bus::{
    AnyEvent, BusError, Context, Event, EventBus, Listener, Outcome, Register, Value,
};

use crate::support::{OtherPlaced, Paid, Placed};

type Log = Arc<Mutex<Vec<String>>>;

fn add(log: &Log, line: impl Into<String>) -> Outcome {
    log.lock().unwrap().push(line.into());
    Ok(())
}

#[test]
fn an_event_reaches_the_listeners_of_its_type_its_name_and_all_in_order_of_registration() {
    let (bus, log) = (EventBus::new(), Log::default());
    let of = |log: &Log| Arc::clone(log);
    let (a, b, c, d, e) = (of(&log), of(&log), of(&log), of(&log), of(&log));
    let subscriptions = [
        bus.register_all(move |event: &dyn AnyEvent, _| add(&a, format!("all {}", event.name()))),
        bus.register(move |event: &Placed, _: &Context| add(&b, format!("typed {}", event.0))),
        bus.register_named("order.placed", move |event: &dyn AnyEvent, _| {
            add(&c, format!("named {:?}", event.payload()["order"]))
        }),
        bus.register(move |_: &Paid, _: &Context| add(&d, "paid")),
        bus.register_all(move |event: &dyn AnyEvent, _| {
            let order = event.downcast_ref::<Placed>().map(|placed| placed.0);
            add(&e, format!("all {order:?}"))
        }),
    ];
    let subscriptions = subscriptions.map(Result::unwrap);
    let dispatch = bus.dispatch(Placed(7));
    assert!(dispatch.is_done() && dispatch.errors().is_empty());
    let expected = [
        "all order.placed",
        "typed 7",
        "named Uint(7)",
        "all Some(7)",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
    log.lock().unwrap().clear();
    bus.dispatch(Paid(1));
    assert_eq!(*log.lock().unwrap(), ["all order.paid", "paid", "all None"]);
    drop(subscriptions);
    log.lock().unwrap().clear();
    bus.dispatch(Placed(8));
    assert!(log.lock().unwrap().is_empty());
}

#[test]
fn a_type_that_implements_the_trait_is_a_listener() {
    struct Sum(Arc<AtomicUsize>);
    impl Listener<Placed> for Sum {
        fn handle(&self, event: &Placed, context: &Context<'_>) -> Outcome {
            assert_eq!(context.listener(), "sum");
            self.0.fetch_add(event.0 as usize, Ordering::Relaxed);
            Ok(())
        }
    }
    let (bus, sum) = (EventBus::new(), Arc::default());
    let subscription = bus
        .register_with(Register::event(Sum(Arc::clone(&sum))).name("sum"))
        .unwrap();
    bus.dispatch(Placed(3));
    bus.dispatch(Placed(4));
    assert_eq!(sum.load(Ordering::Relaxed), 7);
    assert_eq!(subscription.name(), Some("sum"));
}

#[test]
fn one_that_is_registered_once_gets_one_event_of_those_that_threads_dispatch_at_once() {
    for _ in 0..50 {
        let (bus, count) = (EventBus::new(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&count);
        let subscription = bus
            .register_once(move |_: &Placed, context: &Context| {
                assert!(!context.is_cancelled());
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .unwrap();
        thread::scope(|scope| {
            for n in 0..3 {
                let bus = &bus;
                scope.spawn(move || bus.dispatch(Placed(n)));
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert!(subscription.is_closed());
    }
}

#[test]
fn all_listeners_of_a_name_are_unregistered_at_once_and_again_is_harmless() {
    let (bus, count) = (EventBus::new(), Arc::new(AtomicUsize::new(0)));
    let counting = || {
        let count = Arc::clone(&count);
        move || {
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let (a, b, c) = (counting(), counting(), counting());
    let typed = bus
        .register(move |_: &Placed, _: &Context| {
            a();
            Ok(())
        })
        .unwrap();
    let named = bus
        .register_named("order.placed", move |_: &dyn AnyEvent, _| {
            b();
            Ok(())
        })
        .unwrap();
    let all = bus
        .register_all(move |_: &dyn AnyEvent, _| {
            c();
            Ok(())
        })
        .unwrap();
    assert_eq!(bus.unregister_all("order.placed"), 2);
    assert_eq!(bus.unregister_all("order.placed"), 0);
    assert!(typed.is_closed() && named.is_closed() && !all.is_closed());
    bus.dispatch(Placed(1));
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let again = bus.register(|_: &Placed, _: &Context| Ok(())).unwrap();
    assert!(!again.is_closed());
}

#[test]
fn a_detached_listener_stays() {
    let (bus, count) = (EventBus::new(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    bus.register(move |_: &Placed, _: &Context| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
    .unwrap()
    .detach();
    bus.dispatch(Placed(1));
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[test]
fn a_scope_ends_listeners() {
    let (bus, scope) = (EventBus::new(), SubscriptionScope::new());
    let subscription = bus.register(|_: &Placed, _: &Context| Ok(())).unwrap();
    let tracked = scope.track(subscription);
    scope.close();
    assert!(tracked.is_none_or(|tracked| tracked.is_closed()));
}

#[test]
fn listeners_of_two_buses_are_joined_in_one_subscription() {
    let buses = [EventBus::new(), EventBus::new()];
    let count = Arc::new(AtomicUsize::new(0));
    let joined = Subscription::join(buses.iter().map(|bus| {
        let counted = Arc::clone(&count);
        let listener = move |_: &Placed, _: &Context| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        bus.register(listener).unwrap()
    }));
    let dispatch = || buses.iter().for_each(|bus| drop(bus.dispatch(Placed(1))));
    dispatch();
    joined.unsubscribe();
    dispatch();
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[test]
fn an_event_of_another_type_under_the_name_is_an_error_of_that_listener() {
    let bus = EventBus::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let typed = bus
        .register(|_: &Placed, _: &Context| panic!("it is not its type"))
        .unwrap();
    let named = bus.register_named("order.placed", move |event: &dyn AnyEvent, _| {
        Ok(tx.send(event.is::<OtherPlaced>())?)
    });
    let errors = bus.dispatch(OtherPlaced).errors();
    assert_eq!(rx.recv(), Ok(true));
    assert!(
        matches!(errors[0].error(), BusError::WrongType { .. }),
        "{errors:?}"
    );
    assert_eq!(errors.len(), 1);
    assert_eq!(bus.errors().len(), 1);
    drop((typed, named));
}

#[test]
fn an_event_without_a_name_is_refused() {
    struct Nameless;
    impl Event for Nameless {
        const NAME: &'static str = "";
    }
    let bus = EventBus::new();
    let refused = bus.register(|_: &Nameless, _: &Context| Ok(()));
    assert!(matches!(refused, Err(BusError::BadName)));
    let errors = bus.dispatch(Nameless).errors();
    assert!(matches!(errors[0].error(), BusError::BadName));
}

#[test]
fn a_listener_for_all_events_comes_and_goes_beside_others() {
    let (bus, log) = (EventBus::new(), Log::default());
    let own = Arc::clone(&log);
    let typed = bus
        .register(move |_: &Placed, _: &Context| add(&own, "typed"))
        .unwrap();
    let own = Arc::clone(&log);
    let all = bus
        .register_all(move |_: &dyn AnyEvent, _| add(&own, "all"))
        .unwrap();
    bus.dispatch(Placed(1));
    typed.unsubscribe();
    bus.dispatch(Placed(1));
    let own = Arc::clone(&log);
    let again = bus
        .register(move |_: &Placed, _: &Context| add(&own, "again"))
        .unwrap();
    bus.dispatch(Placed(1));
    all.unsubscribe();
    bus.dispatch(Placed(1));
    bus.dispatch(Paid(1));
    assert_eq!(
        *log.lock().unwrap(),
        ["typed", "all", "all", "all", "again", "again"]
    );
    drop(again);
}

#[test]
fn many_names_and_types_come_and_go() {
    let bus = EventBus::new();
    let subscriptions: Vec<_> = (0..200)
        .map(|n| {
            bus.register_named(format!("event.{n}"), |_: &dyn AnyEvent, _| Ok(()))
                .unwrap()
        })
        .collect();
    let (tx, rx) = crossbeam_channel::unbounded();
    let all =
        bus.register_all(move |event: &dyn AnyEvent, _| Ok(tx.send(event.name().to_owned())?));
    drop(subscriptions);
    bus.dispatch(Placed(1));
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["order.placed"]);
    drop(all);
}

#[test]
fn a_payload_prints_as_json() {
    let map = Placed(7).payload();
    assert_eq!(Value::from(map).to_string(), r#"{"order":7}"#);
}

#[test]
fn an_event_of_another_type_is_not_the_one_of_a_once_listener() {
    for is_asynchronous in [false, true] {
        let bus = EventBus::new();
        let listener = Register::event(|_: &Placed, _: &Context| Ok(())).once();
        let listener = match is_asynchronous {
            true => listener.asynchronous(),
            false => listener,
        };
        let subscription = bus.register_with(listener).unwrap();
        let other = bus.dispatch(OtherPlaced);
        other.wait().unwrap();
        assert!(matches!(
            other.errors()[0].error(),
            BusError::WrongType { .. }
        ));
        assert!(!subscription.is_closed());
        let own = bus.dispatch(Placed(1));
        own.wait().unwrap();
        assert!(own.errors().is_empty());
        assert!(subscription.is_closed());
    }
}
