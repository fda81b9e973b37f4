//! The end of a bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use fanfeed_bus::{BusError, BusEvent, BusOptions, Context, EventBus, Register};

use crate::support::{LONG, Paid, Placed};

#[test]
fn a_closed_bus_refuses_events_and_listeners_and_its_subscriptions_have_ended() {
    let bus = EventBus::new();
    let mut events = bus.events();
    let subscription = bus.register(|_: &Placed, _: &Context| Ok(())).unwrap();
    assert!(bus.is_open());
    bus.close().unwrap();
    assert!(!bus.is_open());
    assert!(subscription.is_closed());
    assert!(matches!(events.recv(), Ok(BusEvent::Closed)));
    let dispatch = bus.dispatch(Placed(1));
    assert!(dispatch.is_done() && dispatch.errors()[0].error().is_closed());
    assert_eq!(dispatch.errors()[0].listener(), None);
    let refused = bus.register(|_: &Placed, _: &Context| Ok(()));
    assert!(refused.unwrap_err().is_closed());
    bus.close().unwrap();
    bus.close_timeout(Duration::ZERO).unwrap();
    assert_eq!(bus.unregister_all("order.placed"), 0);
    bus.wait().unwrap();
}

#[test]
fn it_waits_for_all_and_for_what_listeners_dispatch_meanwhile() {
    let bus = EventBus::new();
    let paid = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&paid);
    let second = Register::event(move |_: &Paid, _: &Context| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    bus.register_with(second.asynchronous()).unwrap().detach();
    let (entered, has_entered) = bounded(0);
    let (go, gate) = bounded::<()>(0);
    let first = Register::event(move |_: &Placed, context: &Context| {
        entered.send(())?;
        let _ = gate.recv();
        assert!(context.bus().dispatch(Paid(1)).errors().is_empty());
        Ok(())
    });
    bus.register_with(first.asynchronous()).unwrap().detach();
    bus.dispatch(Placed(1));
    has_entered.recv().unwrap();
    thread::scope(|scope| {
        let closing = scope.spawn(|| bus.close());
        while bus.is_open() {
            thread::yield_now();
        }
        assert_eq!(
            bus.dispatch(Paid(2)).errors().len(),
            1,
            "from outside it is refused"
        );
        drop(go);
        closing.join().unwrap().unwrap();
    });
    assert_eq!(paid.load(Ordering::SeqCst), 1);
    assert_eq!(bus.errors().len(), 1);
}

#[test]
fn at_the_deadline_tokens_are_cancelled_and_what_was_not_begun_is_given_up() {
    let bus = BusOptions::new().threads(1).limit(1).build();
    let (entered, has_entered) = bounded(0);
    let listener = Register::event(move |_: &Placed, context: &Context| {
        entered.send(())?;
        assert!(context.token().wait_timeout(LONG));
        Ok(())
    });
    let subscription = bus.register_with(listener.asynchronous()).unwrap();
    let running = bus.dispatch(Placed(1));
    has_entered.recv().unwrap();
    let waiting = bus.dispatch(Placed(2));
    let error = bus.close_timeout(Duration::from_millis(5)).unwrap_err();
    assert!(
        matches!(
            error,
            BusError::CloseTimeout {
                pending: 2,
                running: 1
            }
        ),
        "{error}"
    );
    assert!(subscription.is_closed());
    waiting.wait_timeout(LONG).unwrap();
    assert!(matches!(waiting.errors()[0].error(), BusError::Cancelled));
    running.wait_timeout(LONG).unwrap();
    assert!(running.errors().is_empty());
}

#[test]
fn several_threads_close_while_others_dispatch() {
    for _ in 0..100 {
        let bus = EventBus::new();
        let (called, refused) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let closed = Arc::new(AtomicUsize::new(0));
        let (counted, is_closed) = (Arc::clone(&called), Arc::clone(&closed));
        bus.register(move |_: &Placed, _: &Context| {
            assert_eq!(is_closed.load(Ordering::SeqCst), 0, "close has returned");
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap()
        .detach();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for n in 0..100 {
                        refused.fetch_add(bus.dispatch(Placed(n)).errors().len(), Ordering::SeqCst);
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    bus.close().unwrap();
                    closed.store(1, Ordering::SeqCst);
                });
            }
        });
        let (called, refused) = (
            called.load(Ordering::SeqCst),
            refused.load(Ordering::SeqCst),
        );
        assert_eq!(called + refused, 200, "{:?}", bus.errors());
        let errors = bus.errors();
        let mut each = errors.iter();
        assert!(each.all(|error| error.error().is_closed()), "{errors:?}");
    }
}

#[test]
fn the_last_handle_ends_the_subscriptions() {
    let bus = EventBus::new();
    let subscription = bus.register(|_: &Placed, _: &Context| Ok(())).unwrap();
    let err = subscription.err();
    drop(bus);
    subscription.closed().wait();
    assert!(err.recv().is_err());
}

#[test]
fn each_of_two_that_close_finds_the_subscriptions_ended() {
    for _ in 0..300 {
        let bus = EventBus::new();
        let subscriptions: Vec<_> = (0..20)
            .map(|_| bus.register(|_: &Placed, _: &Context| Ok(())).unwrap())
            .collect();
        let start = std::sync::Barrier::new(2);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    start.wait();
                    bus.close().unwrap();
                    assert!(subscriptions.iter().all(|each| each.is_closed()));
                });
            }
        });
    }
}
