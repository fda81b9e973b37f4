//! Unregistering while events are dispatched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use fanfeed_bus::{Context, EventBus, Register};

use crate::support::{LONG, Placed, until};

#[test]
fn nothing_is_delivered_once_unsubscribe_has_returned() {
    for is_asynchronous in [false, true] {
        let bus = EventBus::new();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        bus.dispatch(Placed(1)).wait().unwrap();
                    }
                });
            }
            for _ in 0..300 {
                let is_over = Arc::new(AtomicBool::new(false));
                let (over, seen) = (Arc::clone(&is_over), Arc::new(AtomicUsize::new(0)));
                let counted = Arc::clone(&seen);
                let mut register = Register::event(move |_: &Placed, _: &Context| {
                    assert!(!over.load(Ordering::SeqCst), "it is delivered too late");
                    std::hint::spin_loop();
                    counted.fetch_add(1, Ordering::Relaxed);
                    assert!(!over.load(Ordering::SeqCst), "it was not waited for");
                    Ok(())
                });
                if is_asynchronous {
                    register = register.asynchronous();
                }
                let subscription = bus.register_with(register).unwrap();
                until(|| seen.load(Ordering::Relaxed) > 0);
                subscription.unsubscribe();
                is_over.store(true, Ordering::SeqCst);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(bus.errors().is_empty(), "{:?}", bus.errors());
        bus.close().unwrap();
    }
}

#[test]
fn it_waits_for_the_running_call_whose_token_it_cancels() {
    for is_asynchronous in [false, true] {
        let bus = EventBus::new();
        let (entered, has_entered) = bounded(0);
        let left = Arc::new(AtomicBool::new(false));
        let leaving = Arc::clone(&left);
        let mut register = Register::event(move |_: &Placed, context: &Context| {
            let token = context.token();
            entered.send(())?;
            assert!(token.wait_timeout(LONG));
            assert!(context.is_cancelled());
            thread::sleep(Duration::from_millis(2));
            leaving.store(true, Ordering::SeqCst);
            Ok(())
        });
        if is_asynchronous {
            register = register.asynchronous();
        }
        let subscription = bus.register_with(register).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| bus.dispatch(Placed(1)).wait().unwrap());
            has_entered.recv().unwrap();
            subscription.unsubscribe();
            assert!(left.load(Ordering::SeqCst));
        });
    }
}

#[test]
fn it_does_not_wait_for_another_listener_of_the_event() {
    let bus = EventBus::new();
    let (entered, has_entered) = bounded(0);
    let (go, gate) = bounded::<()>(0);
    let slow = bus.register(move |_: &Placed, _: &Context| {
        entered.send(())?;
        let _ = gate.recv();
        Ok(())
    });
    let after = bus
        .register(|_: &Placed, _: &Context| panic!("it was unregistered"))
        .unwrap();
    thread::scope(|scope| {
        let dispatching = scope.spawn(|| bus.dispatch(Placed(1)).errors().len());
        has_entered.recv().unwrap();
        after.unsubscribe();
        drop(go);
        assert_eq!(dispatching.join().unwrap(), 0);
    });
    drop(slow);
}

#[test]
fn what_a_listener_holds_is_dropped() {
    let (bus, held) = (EventBus::new(), Arc::new(()));
    let captured = Arc::clone(&held);
    let subscription = bus.register(move |_: &Placed, _: &Context| {
        let _captured = &captured;
        Ok(())
    });
    let subscription = subscription.unwrap();
    bus.dispatch(Placed(1));
    subscription.unsubscribe();
    assert_eq!(Arc::strong_count(&held), 1);
    drop(subscription);
}

#[test]
fn what_it_holds_is_dropped_after_a_scope_has_ended_it() {
    let (bus, held) = (EventBus::new(), Arc::new(()));
    let captured = Arc::clone(&held);
    let subscription = bus.register(move |_: &Placed, _: &Context| {
        let _captured = &captured;
        Ok(())
    });
    // Joined with one that has failed it is told to end, and nobody waits for it.
    let failed = fanfeed::Subscription::spawn(|_| Err("at once"));
    let joined = fanfeed::Subscription::join([subscription.unwrap(), failed]);
    joined.closed().wait();
    until(|| Arc::strong_count(&held) == 1);
}

#[test]
fn threads_register_and_unregister_at_once() {
    let bus = EventBus::new();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for n in 0..300 {
                    let own = bus.register(|_: &Placed, _: &Context| Ok(())).unwrap();
                    bus.dispatch(Placed(n));
                    if n % 10 == 0 {
                        bus.unregister_all("order.placed");
                        assert!(own.is_closed());
                    }
                }
            });
        }
    });
    assert_eq!(bus.unregister_all("order.placed"), 0);
}
