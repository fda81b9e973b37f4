//! What a listener may do: each works, or gives a clear error, and none deadlocks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};
use fanfeed::Subscription;
use fanfeed_bus::{BusError, BusOptions, Context, Dispatch, EventBus, Register};

use crate::support::{LONG, Paid, Placed, soon};

/// Registers a listener that is synchronous or not.
fn register(bus: &EventBus, is_asynchronous: bool, register: Register) -> Subscription {
    let register = match is_asynchronous {
        true => register.asynchronous(),
        false => register,
    };
    bus.register_with(register).unwrap()
}

/// Runs it with a synchronous listener and with an asynchronous one.
fn both(test: fn(bool)) {
    for is_asynchronous in [false, true] {
        soon(move || test(is_asynchronous));
    }
}

#[test]
fn dispatch() {
    both(|is_asynchronous| {
        let bus = EventBus::new();
        let (tx, rx) = unbounded();
        let inner = bus
            .register(move |event: &Paid, _: &Context| Ok(tx.send(event.0)?))
            .unwrap();
        let outer = Register::event(|event: &Placed, context: &Context| {
            context.bus().dispatch(Paid(event.0)).wait()?;
            Ok(())
        });
        let outer = register(&bus, is_asynchronous, outer);
        bus.dispatch(Placed(7)).wait().unwrap();
        assert_eq!(rx.try_recv(), Ok(7));
        drop((inner, outer));
    });
}

#[test]
fn dispatch_of_the_same_event_a_hundred_deep() {
    both(|is_asynchronous| {
        let bus = EventBus::new();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let listener = Register::event(move |event: &Placed, context: &Context| {
            counted.fetch_add(1, Ordering::Relaxed);
            if event.0 > 0 {
                context.bus().dispatch(Placed(event.0 - 1)).wait()?;
            }
            Ok(())
        });
        let subscription = register(&bus, is_asynchronous, listener);
        let dispatch = bus.dispatch(Placed(100));
        dispatch.wait().unwrap();
        assert_eq!(dispatch.errors().len(), 0);
        assert_eq!(count.load(Ordering::Relaxed), 101);
        subscription.unsubscribe();
        bus.close().unwrap();
        assert!(bus.errors().is_empty());
    });
}

#[test]
fn unsubscribe_on_another_thread_waits_for_the_innermost_of_twenty_calls() {
    soon(|| {
        let bus = EventBus::new();
        let (entered, has_entered) = bounded::<()>(0);
        let (go, gate) = bounded::<()>(0);
        let left = Arc::new(AtomicUsize::new(0));
        let leaving = Arc::clone(&left);
        let inner = bus.register(move |_: &Paid, context: &Context| {
            let token = context.token();
            entered.send(())?;
            gate.recv()?;
            assert!(token.wait_timeout(LONG));
            leaving.store(1, Ordering::SeqCst);
            Ok(())
        });
        let outer = bus.register(|event: &Placed, context: &Context| {
            match event.0 {
                0 => context.bus().dispatch(Paid(0)),
                n => context.bus().dispatch(Placed(n - 1)),
            };
            Ok(())
        });
        std::thread::scope(|scope| {
            scope.spawn(|| bus.dispatch(Placed(18)));
            has_entered.recv().unwrap();
            go.send(()).unwrap();
            inner.unwrap().unsubscribe();
            assert_eq!(left.load(Ordering::SeqCst), 1);
        });
        bus.close().unwrap();
        assert!(bus.errors().is_empty(), "{:?}", bus.errors());
        drop(outer);
    });
}

#[test]
fn dispatch_in_the_destructor_of_a_thread_local() {
    struct Last(EventBus);
    impl Drop for Last {
        fn drop(&mut self) {
            assert!(self.0.dispatch(Placed(2)).errors().is_empty());
        }
    }
    thread_local! {
        static LAST: std::cell::OnceCell<Last> = const { std::cell::OnceCell::new() };
    }
    soon(|| {
        let bus = EventBus::new();
        let (tx, rx) = unbounded();
        let nested = bus.register(move |event: &Paid, _: &Context| Ok(tx.send(event.0)?));
        let listener = bus.register(|event: &Placed, context: &Context| {
            context.bus().dispatch(Paid(event.0));
            Ok(())
        });
        let other = bus.clone();
        let thread = std::thread::spawn(move || {
            // Destroyed after the thread's place on the bus, which is made later, or before it.
            LAST.with(|last| drop(last.set(Last(other.clone()))));
            other.dispatch(Placed(1));
        });
        thread.join().unwrap();
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2]);
        listener.unwrap().unsubscribe();
        nested.unwrap().unsubscribe();
        bus.close().unwrap();
    });
}

#[test]
fn register_which_gets_the_next_event() {
    both(|is_asynchronous| {
        let bus = EventBus::new();
        let (tx, rx) = unbounded();
        let listener = Register::event(move |_: &Placed, context: &Context| {
            let tx = tx.clone();
            let later = move |event: &Placed, _: &Context| Ok(tx.send(event.0)?);
            context.bus().register(later)?.detach();
            Ok(())
        });
        let listener = register(&bus, is_asynchronous, listener);
        bus.dispatch(Placed(1)).wait().unwrap();
        assert!(rx.try_recv().is_err());
        listener.unsubscribe();
        bus.dispatch(Placed(2)).wait().unwrap();
        assert_eq!(rx.try_recv(), Ok(2));
        assert!(bus.errors().is_empty());
    });
}

#[test]
fn unregister_itself() {
    both(|is_asynchronous| {
        let bus = EventBus::new();
        let own = Arc::new(Mutex::new(None::<Subscription>));
        let count = Arc::new(AtomicUsize::new(0));
        let (inside, counted) = (Arc::clone(&own), Arc::clone(&count));
        let listener = Register::event(move |_: &Placed, _: &Context| {
            counted.fetch_add(1, Ordering::Relaxed);
            let own = inside.lock().unwrap().take();
            own.unwrap().unsubscribe();
            Ok(())
        });
        *own.lock().unwrap() = Some(register(&bus, is_asynchronous, listener));
        bus.dispatch(Placed(1)).wait().unwrap();
        bus.dispatch(Placed(1)).wait().unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert!(bus.errors().is_empty());
    });
}

#[test]
fn unregister_one_that_comes_after_it() {
    let bus = EventBus::new();
    let victim = Arc::new(Mutex::new(None::<Subscription>));
    let inside = Arc::clone(&victim);
    let first = bus.register(move |_: &Placed, _: &Context| {
        drop(inside.lock().unwrap().take());
        Ok(())
    });
    let second = bus
        .register(|_: &Placed, _: &Context| panic!("it was unregistered"))
        .unwrap();
    *victim.lock().unwrap() = Some(second);
    assert!(bus.dispatch(Placed(1)).errors().is_empty());
    drop(first);
}

#[test]
fn unregister_all_of_its_name() {
    both(|is_asynchronous| {
        let bus = EventBus::new();
        let listener = Register::event(|_: &Placed, context: &Context| {
            assert_eq!(context.bus().unregister_all("order.placed"), 1);
            assert_eq!(context.bus().unregister_all("order.placed"), 0);
            Ok(())
        });
        let subscription = register(&bus, is_asynchronous, listener);
        let dispatch = bus.dispatch(Placed(1));
        dispatch.wait().unwrap();
        assert!(dispatch.errors().is_empty(), "{:?}", dispatch.errors());
        assert!(subscription.is_closed());
    });
}

#[test]
fn unregister_each_other_on_two_threads() {
    both(|is_asynchronous| {
        let bus = EventBus::new();
        let other = [(), ()].map(|()| Arc::new(Mutex::new(None::<Subscription>)));
        let (meet, met) = bounded::<()>(0);
        let (a, b) = (Arc::clone(&other[0]), Arc::clone(&other[1]));
        let first = Register::event(move |_: &Placed, _: &Context| {
            meet.send(())?;
            b.lock().unwrap().as_ref().unwrap().unsubscribe();
            Ok(())
        });
        let second = Register::event(move |_: &Paid, _: &Context| {
            met.recv()?;
            a.lock().unwrap().as_ref().unwrap().unsubscribe();
            Ok(())
        });
        *other[0].lock().unwrap() = Some(register(&bus, is_asynchronous, first));
        *other[1].lock().unwrap() = Some(register(&bus, is_asynchronous, second));
        std::thread::scope(|scope| {
            scope.spawn(|| bus.dispatch(Placed(1)).wait().unwrap());
            scope.spawn(|| bus.dispatch(Paid(1)).wait().unwrap());
        });
        assert!(bus.errors().is_empty(), "{:?}", bus.errors());
    });
}

#[test]
fn wait_for_its_own_dispatch() {
    soon(|| {
        let bus = EventBus::new();
        let (give, given) = bounded::<Dispatch>(1);
        let (tx, rx) = unbounded();
        let listener = Register::event(move |_: &Placed, _: &Context| {
            let own = given.recv()?;
            tx.send(own.wait())?;
            tx.send(own.wait_timeout(LONG))?;
            Ok(())
        });
        let subscription = bus.register_with(listener.asynchronous()).unwrap();
        give.send(bus.dispatch(Placed(1))).unwrap();
        for _ in 0..2 {
            assert!(rx.recv().unwrap().unwrap_err().is_would_deadlock());
        }
        bus.wait().unwrap();
        drop(subscription);
    });
}

#[test]
fn wait_for_each_other() {
    soon(|| {
        let bus = EventBus::new();
        let (give, given) = unbounded::<(u64, Dispatch)>();
        let (tx, rx) = unbounded();
        let given = Mutex::new(given);
        let listener = Register::event(move |_: &Placed, _: &Context| {
            let other = given.lock().unwrap().recv()?.1;
            tx.send(other.wait())?;
            Ok(())
        });
        let subscription = bus.register_with(listener.asynchronous()).unwrap();
        let (first, second) = (bus.dispatch(Placed(1)), bus.dispatch(Placed(2)));
        // Whichever listener takes which: each waits for itself or for the other one.
        give.send((2, second)).unwrap();
        give.send((1, first)).unwrap();
        let results = [rx.recv().unwrap(), rx.recv().unwrap()];
        let refused = results
            .iter()
            .filter(|result| matches!(result, Err(BusError::WouldDeadlock)));
        assert!(refused.count() >= 1, "{results:?}");
        bus.wait().unwrap();
        drop(subscription);
    });
}

#[test]
fn wait_for_the_bus() {
    both(|is_asynchronous| {
        let bus = EventBus::new();
        let (tx, rx) = unbounded();
        let listener = Register::event(move |_: &Placed, context: &Context| {
            tx.send(context.bus().wait())?;
            tx.send(context.bus().wait_timeout(LONG))?;
            Ok(())
        });
        let subscription = register(&bus, is_asynchronous, listener);
        bus.dispatch(Placed(1)).wait().unwrap();
        for _ in 0..2 {
            assert!(rx.recv().unwrap().unwrap_err().is_would_deadlock());
        }
        drop(subscription);
    });
}

#[test]
fn wait_for_another_bus() {
    both(|is_asynchronous| {
        let (bus, other) = (EventBus::new(), BusOptions::new().threads(1).build());
        let slow = Register::event(|_: &Paid, _: &Context| {
            std::thread::sleep(Duration::from_millis(2));
            Ok(())
        });
        let slow = other.register_with(slow.asynchronous()).unwrap();
        let inside = other.clone();
        let listener = Register::event(move |_: &Placed, _: &Context| {
            inside.dispatch(Paid(1));
            Ok(inside.wait()?)
        });
        let subscription = register(&bus, is_asynchronous, listener);
        let dispatch = bus.dispatch(Placed(1));
        dispatch.wait().unwrap();
        assert!(dispatch.errors().is_empty());
        drop((slow, subscription));
    });
}

#[test]
fn wait_for_the_bus_whose_listener_waits_for_this_one() {
    both(|is_asynchronous| {
        let buses = [EventBus::new(), EventBus::new()];
        let (meet, met) = bounded::<()>(0);
        let (tx, rx) = unbounded();
        let (other, result) = (buses[1].clone(), tx.clone());
        let first = Register::event(move |_: &Placed, _: &Context| {
            meet.send(())?;
            Ok(result.send(other.wait())?)
        });
        let (other, result) = (buses[0].clone(), tx);
        let second = Register::event(move |_: &Placed, _: &Context| {
            met.recv()?;
            Ok(result.send(other.wait())?)
        });
        let first = register(&buses[0], is_asynchronous, first);
        let second = register(&buses[1], is_asynchronous, second);
        std::thread::scope(|scope| {
            for bus in &buses {
                scope.spawn(|| bus.dispatch(Placed(1)).wait().unwrap());
            }
        });
        let results = [rx.recv().unwrap(), rx.recv().unwrap()];
        let refused = results.iter().filter(|result| result.is_err());
        assert_eq!(refused.count(), 1, "{results:?}");
        drop((first, second));
    });
}

#[test]
fn close() {
    both(|is_asynchronous| {
        let bus = EventBus::new();
        let (tx, rx) = unbounded();
        let listener = Register::event(move |_: &Placed, context: &Context| {
            tx.send(context.bus().close())?;
            tx.send(context.bus().close_timeout(LONG))?;
            Ok(())
        });
        let subscription = register(&bus, is_asynchronous, listener);
        bus.dispatch(Placed(1)).wait().unwrap();
        for _ in 0..2 {
            assert!(rx.recv().unwrap().unwrap_err().is_would_deadlock());
        }
        assert!(!bus.is_open());
        assert!(bus.dispatch(Placed(1)).errors()[0].error().is_closed());
        bus.close().unwrap();
        assert!(subscription.is_closed());
    });
}

#[test]
fn drop_the_last_handle() {
    both(|is_asynchronous| {
        let bus = EventBus::new();
        let held = Arc::new(Mutex::new(None));
        let inside = Arc::clone(&held);
        let listener = Register::event(move |_: &Placed, _: &Context| {
            drop(inside.lock().unwrap().take());
            Ok(())
        });
        let subscription = register(&bus, is_asynchronous, listener);
        *held.lock().unwrap() = Some(bus.clone());
        bus.dispatch(Placed(1)).wait().unwrap();
        drop(bus);
        subscription.closed().wait();
    });
}
