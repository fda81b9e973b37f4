//! Many listeners, names and threads, and everything at once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use fanfeed_bus::{AnyEvent, BusError, BusOptions, Context, EventBus, Register, Subscription};

use crate::support::{Paid, Placed, soon, until};

/// A debug build is about ten times slower.
const LISTENERS: usize = if cfg!(debug_assertions) {
    2_000
} else {
    10_000
};
const NAMES: usize = if cfg!(debug_assertions) {
    10_000
} else {
    100_000
};

/// A bus, and a closure that registers listeners which count their calls.
fn counting(bus: &EventBus, called: &Arc<AtomicUsize>) -> impl Fn() -> Subscription + use<> {
    let (bus, called) = (bus.clone(), Arc::clone(called));
    move || {
        let called = Arc::clone(&called);
        let listener = move |_: &Placed, _: &Context| {
            called.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        bus.register(listener).unwrap()
    }
}

#[test]
fn thousands_of_listeners_of_one_event() {
    soon(|| {
        let (bus, called) = (EventBus::new(), Arc::default());
        let register = counting(&bus, &called);
        let mut listeners: Vec<_> = (0..LISTENERS).map(|_| register()).collect();
        assert!(bus.dispatch(Placed(1)).is_done());
        assert_eq!(called.swap(0, Ordering::Relaxed), LISTENERS);
        listeners.truncate(LISTENERS / 2);
        bus.dispatch(Placed(2));
        assert_eq!(called.swap(0, Ordering::Relaxed), LISTENERS / 2);
        assert_eq!(bus.unregister_all("order.placed"), LISTENERS / 2);
        assert!(listeners.iter().all(Subscription::is_closed));
        bus.dispatch(Placed(3));
        assert_eq!(called.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn thousands_of_asynchronous_listeners_that_all_fail() {
    soon(|| {
        let bus = BusOptions::new().errors(100).build();
        for _ in 0..LISTENERS {
            let fails = Register::event(|_: &Placed, _: &Context| Err("no".into()));
            let fails = fails.asynchronous();
            bus.register_with(fails).unwrap().detach();
        }
        let dispatch = bus.dispatch(Placed(1));
        dispatch.wait().unwrap();
        assert_eq!(dispatch.errors().len(), LISTENERS);
        let dropped = LISTENERS as u64 - 100;
        assert_eq!((bus.errors().len(), bus.errors_dropped()), (100, dropped));
        bus.close().unwrap();
    });
}

#[test]
fn many_thousands_of_names() {
    soon(|| {
        let bus = EventBus::new();
        let (called, calls) = (Arc::new(AtomicUsize::new(0)), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&called);
        let mut names: Vec<_> = (0..NAMES)
            .map(|n| {
                let called = Arc::clone(&calls);
                let listener = move |_: &dyn AnyEvent, _: &Context<'_>| {
                    called.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                };
                bus.register_named(format!("name.{n}"), listener).unwrap()
            })
            .collect();
        let placed = move |_: &Placed, _: &Context| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let placed = bus.register(placed).unwrap();
        let all = bus.register_all(|_: &dyn AnyEvent, _| Ok(())).unwrap();
        bus.dispatch(Placed(1));
        assert_eq!(called.load(Ordering::Relaxed), 1);
        drop(all);
        names.truncate(NAMES - 1_000);
        assert_eq!(bus.unregister_all("name.7"), 1);
        assert!(names[7].is_closed() && !names[8].is_closed());
        bus.dispatch(Placed(2));
        assert_eq!(called.load(Ordering::Relaxed), 2);
        bus.close().unwrap();
        assert!(names.iter().all(Subscription::is_closed) && placed.is_closed());
        assert_eq!(calls.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_thousand_threads_dispatch_to_listeners_that_come_and_go() {
    const THREADS: usize = 1000;
    soon(|| {
        let (bus, called, pooled) = (EventBus::new(), Arc::default(), Arc::default());
        let _stays = counting(&bus, &called)();
        let other = Arc::clone(&pooled);
        let asynchronous = Register::event(move |_: &Paid, _: &Context| {
            AtomicUsize::fetch_add(&other, 1, Ordering::Relaxed);
            Ok(())
        });
        let asynchronous = bus.register_with(asynchronous.asynchronous()).unwrap();
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            for at in 0..THREADS {
                let (bus, barrier) = (&bus, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for n in 0..10 {
                        let own = at.is_multiple_of(10).then(|| {
                            let own = |_: &Placed, _: &Context| Ok(());
                            bus.register(own).unwrap()
                        });
                        assert!(bus.dispatch(Placed(n)).is_done());
                        bus.dispatch(Paid(n)).wait().unwrap();
                        drop(own);
                    }
                });
            }
        });
        assert_eq!(called.load(Ordering::Relaxed), 10 * THREADS);
        assert_eq!(pooled.load(Ordering::Relaxed), 10 * THREADS);
        drop(asynchronous);
        bus.close().unwrap();
        assert!(bus.errors().is_empty(), "{:?}", bus.errors());
    });
}

/// Dispatches, registrations, waits and both ends of a bus on several threads. Each event is
/// handled by the listener that stays, or refused; and nothing hangs.
#[test]
fn close_beside_everything_else() {
    for round in 0..20 {
        soon(move || everything_at_once(round % 2 == 0));
    }
}

fn everything_at_once(is_patient: bool) {
    let (bus, called) = (EventBus::new(), Arc::default());
    let stays = counting(&bus, &called)();
    let began = Arc::new(AtomicUsize::new(0));
    let worker = |step: fn(&EventBus, u64)| {
        let (bus, began) = (bus.clone(), Arc::clone(&began));
        thread::spawn(move || {
            for n in 0.. {
                step(&bus, n);
                if n == 3 {
                    began.fetch_add(1, Ordering::Relaxed);
                }
                if !bus.is_open() {
                    break;
                }
            }
        })
    };
    let dispatched = Arc::new(AtomicU64::new(0));
    let refused = Arc::new(AtomicU64::new(0));
    let dispatching = {
        let (bus, began) = (bus.clone(), Arc::clone(&began));
        let (dispatched, refused) = (Arc::clone(&dispatched), Arc::clone(&refused));
        thread::spawn(move || {
            loop {
                let errors = bus.dispatch(Placed(1)).errors();
                dispatched.fetch_add(1, Ordering::Relaxed);
                if dispatched.load(Ordering::Relaxed) == 3 {
                    began.fetch_add(1, Ordering::Relaxed);
                }
                if let Some(error) = errors.first() {
                    let is_given_up = matches!(error.error(), BusError::Cancelled);
                    assert!(
                        error.error().is_closed() || (is_given_up && !is_patient),
                        "{error}"
                    );
                    refused.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        })
    };
    let workers = [
        worker(|bus, n| {
            let listener = move |event: &Paid, context: &Context| {
                if event.0.is_multiple_of(5) {
                    // What it dispatches in turn is taken until the end.
                    context.bus().dispatch(Paid(event.0 + 1));
                }
                Ok(())
            };
            let listener = Register::event(listener).asynchronous();
            let listener = match n % 2 {
                0 => listener.once(),
                _ => listener,
            };
            match bus.register_with(listener) {
                Ok(listener) => {
                    bus.dispatch(Paid(n));
                    listener.unsubscribe();
                }
                Err(error) => assert!(error.is_closed(), "{error}"),
            }
        }),
        worker(|bus, n| {
            let dispatch = bus.dispatch(Paid(n));
            match n % 3 {
                0 => dispatch.wait().unwrap(),
                1 => bus.wait().unwrap(),
                _ => drop(dispatch.wait_timeout(Duration::from_micros(10))),
            }
        }),
        worker(|bus, _| {
            bus.unregister_all("order.paid");
            bus.clear_errors();
        }),
        worker(|bus, _| {
            let all = bus.register_all(|_: &dyn AnyEvent, _: &Context<'_>| Ok(()));
            drop(all);
            drop(bus.events());
        }),
    ];
    until(|| began.load(Ordering::Relaxed) == workers.len() + 1);
    let closing = [(), ()].map(|()| {
        let bus = bus.clone();
        thread::spawn(move || match is_patient {
            true => bus.close(),
            false => bus.close_timeout(Duration::ZERO),
        })
    });
    for closing in closing {
        match closing.join().unwrap() {
            Ok(()) | Err(BusError::CloseTimeout { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    for worker in workers {
        worker.join().unwrap();
    }
    dispatching.join().unwrap();
    assert!(stays.is_closed());
    if is_patient {
        let handled = called.load(Ordering::Relaxed) as u64;
        assert_eq!(
            handled + refused.load(Ordering::Relaxed),
            dispatched.load(Ordering::Relaxed)
        );
    }
}

#[test]
fn handles_are_dropped_in_any_order() {
    for order in 0..6 {
        soon(move || {
            let bus = EventBus::new();
            let listener = Register::event(|_: &Placed, context: &Context| {
                context.token().wait_timeout(Duration::from_millis(5));
                Ok(())
            });
            let subscription = bus.register_with(listener.asynchronous()).unwrap();
            let dispatch = bus.dispatch(Placed(1));
            let weak = bus.downgrade();
            match order {
                0 => drop((bus, dispatch, subscription)),
                1 => drop((bus, subscription, dispatch)),
                2 => drop((dispatch, bus, subscription)),
                3 => drop((dispatch, subscription, bus)),
                4 => drop((subscription, bus, dispatch)),
                _ => drop((subscription, dispatch, bus)),
            }
            until(|| weak.upgrade().is_none());
        });
    }
}
