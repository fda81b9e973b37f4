//! Listeners that fail, panic or overrun, and destructors that panic.

use std::error::Error;
use std::fmt;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fanfeed_bus::{BusError, BusEvent, BusOptions, Context, Event, EventBus, Register};

use crate::support::{LONG, Placed, until};

#[test]
fn the_others_run_all_the_same_and_in_order() {
    let (bus, order) = (EventBus::new(), Arc::new(Mutex::new(Vec::new())));
    let mut subscriptions = Vec::new();
    for n in 0..5 {
        let order = Arc::clone(&order);
        let listener = Register::event(move |_: &Placed, _: &Context| {
            order.lock().unwrap().push(n);
            match n {
                1 => Err(format!("listener {n}").into()),
                3 => panic!("listener {n}"),
                _ => Ok(()),
            }
        });
        subscriptions.push(bus.register_with(listener.name(format!("l{n}"))).unwrap());
    }
    let mut events = bus.events();
    let errors = bus.dispatch(Placed(1)).errors();
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let expected = [
        "event order.placed, listener l1: the listener failed: listener 1",
        "event order.placed, listener l3: the listener panicked: listener 3",
    ];
    assert_eq!(told, expected);
    assert_eq!(
        bus.errors()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        expected
    );
    for text in expected {
        let event = events.recv_timeout(LONG).unwrap();
        assert!(
            matches!(&event, BusEvent::Error(error) if error.to_string() == text),
            "{event}"
        );
    }
    assert_eq!(errors[0].event(), "order.placed");
    assert_eq!(errors[0].listener(), Some("l1"));
    bus.clear_errors();
    assert!(bus.errors().is_empty());
}

#[test]
fn an_error_keeps_its_type_and_a_listener_without_a_name_has_that_of_its_type() {
    let bus = EventBus::new();
    let listener = bus.register(|_: &Placed, _: &Context| Ok("x".parse::<u32>().map(drop)?));
    let errors = bus.dispatch(Placed(1)).errors();
    let BusError::Failed(failure) = errors[0].error() else {
        panic!("{errors:?}");
    };
    assert!(failure.downcast_ref::<std::num::ParseIntError>().is_some());
    let source = errors[0].source().and_then(Error::source).unwrap();
    assert!(source.is::<std::num::ParseIntError>());
    assert!(
        errors[0].listener().unwrap().contains("failures::"),
        "{errors:?}"
    );
    drop(listener);
}

#[test]
fn errors_are_bounded_and_counted() {
    let bus = BusOptions::new().errors(3).build();
    let listener = bus.register(|event: &Placed, _: &Context| Err(event.0.to_string().into()));
    for n in 0..5 {
        bus.dispatch(Placed(n));
    }
    let errors: Vec<_> = bus
        .errors()
        .iter()
        .map(|error| error.error().to_string())
        .collect();
    assert_eq!(errors.len(), 3);
    assert!(
        errors[0].ends_with('2') && errors[2].ends_with('4'),
        "{errors:?}"
    );
    assert_eq!(bus.errors_dropped(), 2);
    bus.clear_errors();
    assert_eq!((bus.errors().len(), bus.errors_dropped()), (0, 0));
    drop(listener);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

impl fmt::Debug for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bomb")
    }
}

impl fmt::Display for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bomb")
    }
}

impl Error for Bomb {}

struct Explosive(#[allow(dead_code, reason = "it is only dropped")] Bomb);

impl Event for Explosive {
    const NAME: &'static str = "explosive";
}

#[test]
fn a_panicking_destructor_of_an_event_an_error_a_payload_or_a_listener_stays_inside() {
    for is_asynchronous in [false, true] {
        let bus = EventBus::new();
        let register = |register: Register| match is_asynchronous {
            true => bus.register_with(register.asynchronous()).unwrap(),
            false => bus.register_with(register).unwrap(),
        };
        let held = Bomb;
        let subscriptions = [
            register(Register::event(|_: &Explosive, _: &Context| {
                Err(Box::new(Bomb).into())
            })),
            register(Register::event(|_: &Explosive, _: &Context| {
                panic::panic_any(Bomb)
            })),
            register(Register::event(move |_: &Explosive, _: &Context| {
                let _held = &held;
                Ok(())
            })),
        ];
        let dispatch = bus.dispatch(Explosive(Bomb));
        dispatch.wait().unwrap();
        assert_eq!(dispatch.errors().len(), 2);
        drop(dispatch);
        bus.clear_errors();
        drop(subscriptions);
        bus.dispatch(Explosive(Bomb)).wait().unwrap();
        bus.close().unwrap();
    }
}

#[test]
fn an_overrun_cancels_the_token_and_is_reported_on_the_bus_at_once() {
    for is_asynchronous in [false, true] {
        let bus = EventBus::new();
        let mut register = Register::event(|_: &Placed, context: &Context| {
            assert!(context.token().wait_timeout(LONG));
            assert!(context.is_cancelled());
            // The report came first.
            assert_eq!(context.bus().errors().len(), 1);
            Ok(())
        })
        .timeout(Duration::from_millis(5));
        if is_asynchronous {
            register = register.asynchronous();
        }
        let subscription = bus.register_with(register).unwrap();
        let dispatch = bus.dispatch(Placed(1));
        dispatch.wait_timeout(LONG).unwrap();
        let errors = dispatch.errors();
        assert!(
            matches!(errors[..], [ref error] if matches!(error.error(), BusError::Overran(_))),
            "{errors:?}"
        );
        assert_eq!(bus.errors().len(), 1);
        assert!(
            !subscription.is_closed(),
            "an overrun does not end a listener"
        );
    }
}

#[test]
fn a_listener_that_returns_in_time_is_not_reported() {
    let bus = EventBus::new();
    let register = Register::event(|_: &Placed, _: &Context| Ok(())).timeout(LONG);
    let subscription = bus.register_with(register).unwrap();
    for n in 0..1000 {
        assert!(bus.dispatch(Placed(n)).errors().is_empty());
    }
    drop(subscription);
}

#[test]
fn a_token_is_cancelled_when_the_call_is_over() {
    let bus = EventBus::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let subscription = bus.register(move |_: &Placed, context: &Context| {
        assert!(!context.token().is_cancelled());
        Ok(tx.send(context.token())?)
    });
    bus.dispatch(Placed(1));
    assert!(rx.recv().unwrap().is_cancelled());
    drop(subscription);
}

#[test]
fn a_logger_hears_of_errors_and_of_the_end() {
    let heard = Arc::new(AtomicUsize::new(0));
    let logged = Arc::clone(&heard);
    let bus = BusOptions::new()
        .logger(move |event| {
            logged.fetch_add(1, Ordering::Relaxed);
            assert!(
                !matches!(event, BusEvent::Error(_)),
                "a panic of the logger stays in it"
            );
        })
        .build();
    let subscription = bus.register(|_: &Placed, _: &Context| Err("no".into()));
    bus.dispatch(Placed(1));
    bus.close().unwrap();
    until(|| heard.load(Ordering::Relaxed) == 2);
    drop(subscription);
}

#[test]
fn an_overrun_stands_on_a_dispatch_that_is_done() {
    let timeout = Duration::from_micros(100);
    let bus = EventBus::new();
    // It returns when its timer is about to fire, or a moment later.
    let listener = Register::event(move |event: &Placed, _: &Context| {
        let until = Instant::now() + timeout + Duration::from_micros(event.0 % 100);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        Ok(())
    });
    let subscription = bus.register_with(listener.asynchronous().timeout(timeout));
    let overran: usize = (0..200)
        .map(|n| {
            let dispatch = bus.dispatch(Placed(n));
            dispatch.wait().unwrap();
            dispatch.errors().len()
        })
        .sum();
    bus.close().unwrap();
    let reported = bus.errors().len() as u64 + bus.errors_dropped();
    assert_eq!(overran as u64, reported, "some were reported too late");
    drop(subscription);
}

#[test]
fn a_destructor_that_panics_goes_no_further_where_a_listener_is_refused() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let (bus, panics) = (EventBus::new(), Panics);
    let refused = bus.register_named("", move |_, _| {
        let _captured = &panics;
        Ok(())
    });
    assert!(matches!(refused, Err(BusError::BadName)));
}
