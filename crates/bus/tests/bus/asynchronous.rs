//! Listeners on the threads of the bus.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{after, bounded, select, unbounded};
use fanfeed_bus::{AnyEvent, BusError, BusEvent, BusOptions, Context, EventBus, Register};

use crate::support::{LONG, Paid, Placed, soon, until};

#[test]
fn dispatch_returns_before_they_do_and_its_handle_says_when_they_have() {
    let bus = EventBus::new();
    let (go, gate) = bounded::<()>(0);
    let listener = Register::event(move |event: &Placed, _: &Context| {
        gate.recv().unwrap();
        Err(event.0.to_string().into())
    });
    let subscription = bus.register_with(listener.asynchronous()).unwrap();
    let dispatch = bus.dispatch(Placed(7));
    assert!(!dispatch.is_done());
    assert!(dispatch.errors().is_empty());
    assert!(
        dispatch
            .wait_timeout(Duration::from_millis(5))
            .unwrap_err()
            .is_timeout()
    );
    let done = dispatch.done();
    select! {
        recv(done) -> _ => panic!("it is not done"),
        recv(after(Duration::from_millis(5))) -> _ => {}
    }
    go.send(()).unwrap();
    select! {
        recv(done) -> over => assert!(over.is_err()),
        recv(after(LONG)) -> _ => panic!("it is not told"),
    }
    assert!(dispatch.is_done());
    dispatch.wait().unwrap();
    assert!(
        dispatch.done().recv().is_err(),
        "also one that is asked for later"
    );
    assert_eq!(
        dispatch.errors()[0].error().to_string(),
        "the listener failed: 7"
    );
    drop(subscription);
}

#[test]
fn a_synchronous_dispatch_is_done_from_the_start() {
    let bus = EventBus::new();
    let dispatch = bus.dispatch(Placed(1));
    assert!(dispatch.is_done());
    assert!(
        dispatch
            .done()
            .recv_timeout(LONG)
            .is_err_and(|error| error.is_disconnected())
    );
    dispatch.wait().unwrap();
    dispatch.wait_timeout(Duration::ZERO).unwrap();
}

#[test]
fn synchronous_ones_run_here_and_the_others_elsewhere() {
    let bus = EventBus::new();
    let (tx, rx) = unbounded();
    let (here, there) = (tx.clone(), tx);
    let own = thread::current().id();
    let a = bus
        .register(move |_: &Placed, _: &Context| Ok(here.send(("here", thread::current().id()))?));
    let there = Register::all(move |event: &dyn AnyEvent, _: &Context| {
        assert_eq!(event.name(), "order.placed");
        assert_eq!(event.downcast_ref::<Placed>().unwrap().0, 3);
        Ok(there.send(("there", thread::current().id()))?)
    });
    let b = bus.register_with(there.asynchronous()).unwrap();
    bus.dispatch(Placed(3)).wait().unwrap();
    let mut got: Vec<_> = rx.try_iter().collect();
    got.sort_by_key(|(name, _)| *name);
    assert_eq!(got[0], ("here", own));
    assert!(got[1].0 == "there" && got[1].1 != own);
    drop((a, b));
}

#[test]
fn blocked_listeners_delay_nobody_else() {
    let bus = BusOptions::new().threads(2).build();
    let (go, gate) = bounded::<()>(0);
    let blocked = Register::event(move |_: &Placed, _: &Context| {
        let _ = gate.recv();
        Ok(())
    });
    let blocked = bus.register_with(blocked.asynchronous()).unwrap();
    let (tx, rx) = unbounded();
    let quick = Register::event(move |event: &Paid, _: &Context| Ok(tx.send(event.0)?));
    let quick = bus.register_with(quick.asynchronous()).unwrap();
    let dispatches: Vec<_> = (0..40).map(|n| bus.dispatch(Placed(n))).collect();
    bus.dispatch(Paid(1));
    assert_eq!(rx.recv_timeout(LONG), Ok(1));
    drop(go);
    for dispatch in &dispatches {
        dispatch.wait_timeout(LONG).unwrap();
    }
    drop((blocked, quick));
}

#[test]
fn the_limit_of_threads_is_kept_and_reported() {
    let bus = BusOptions::new().threads(2).limit(3).build();
    let mut events = bus.events();
    let (go, gate) = bounded::<()>(0);
    let (running, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let reached = Arc::clone(&most);
    let blocked = Register::event(move |_: &Placed, _: &Context| {
        reached.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _ = gate.recv();
        running.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    });
    let blocked = bus.register_with(blocked.asynchronous()).unwrap();
    for n in 0..10 {
        bus.dispatch(Placed(n));
    }
    let event = events.recv_timeout(LONG).unwrap();
    assert!(
        matches!(event, BusEvent::PoolExhausted { limit: 3 }),
        "{event}"
    );
    drop(go);
    bus.wait_timeout(LONG).unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
    drop(blocked);
}

#[test]
fn a_waiting_listener_is_replaced_however_many_wait() {
    let bus = BusOptions::new().threads(1).limit(1).build();
    let inner = Register::event(|_: &Paid, _: &Context| Ok(())).asynchronous();
    let inner = bus.register_with(inner).unwrap();
    let outer = Register::event(|event: &Placed, context: &Context| {
        Ok(context.bus().dispatch(Paid(event.0)).wait()?)
    });
    let outer = bus.register_with(outer.asynchronous()).unwrap();
    let dispatches: Vec<_> = (0..20).map(|n| bus.dispatch(Placed(n))).collect();
    for dispatch in dispatches {
        dispatch.wait_timeout(LONG).unwrap();
        assert!(dispatch.errors().is_empty());
    }
    drop((inner, outer));
}

#[test]
fn the_bus_waits_for_what_was_dispatched_and_what_follows_from_it() {
    let bus = EventBus::new();
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    let second = Register::event(move |_: &Paid, _: &Context| {
        thread::sleep(Duration::from_millis(2));
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let second = bus.register_with(second.asynchronous()).unwrap();
    let first = Register::event(|event: &Placed, context: &Context| {
        thread::sleep(Duration::from_millis(2));
        context.bus().dispatch(Paid(event.0));
        Ok(())
    });
    let first = bus.register_with(first.asynchronous()).unwrap();
    for round in 1..20 {
        bus.dispatch(Placed(1));
        bus.wait().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), round);
    }
    drop((first, second));
}

#[test]
fn the_bus_does_not_wait_for_what_others_dispatch_later() {
    let bus = EventBus::new();
    let listener = Register::event(|_: &Placed, _: &Context| {
        thread::sleep(Duration::from_micros(100));
        Ok(())
    });
    let subscription = bus.register_with(listener.asynchronous()).unwrap();
    let stop = Arc::new(AtomicUsize::new(0));
    let busy = {
        let (bus, stop) = (bus.clone(), Arc::clone(&stop));
        thread::spawn(move || {
            let mut before = bus.dispatch(Placed(0));
            while stop.load(Ordering::Relaxed) == 0 {
                // There is never a moment without a dispatch.
                let next = bus.dispatch(Placed(0));
                before.wait().unwrap();
                before = next;
            }
        })
    };
    for _ in 0..20 {
        bus.wait_timeout(LONG).unwrap();
    }
    stop.store(1, Ordering::Relaxed);
    busy.join().unwrap();
    drop(subscription);
}

#[test]
fn the_bus_waits_for_synchronous_listeners_of_other_threads() {
    let bus = EventBus::new();
    let (entered, has_entered) = bounded(0);
    let (go, gate) = bounded::<()>(0);
    let left = Arc::new(AtomicUsize::new(0));
    let leaving = Arc::clone(&left);
    let subscription = bus.register(move |_: &Placed, _: &Context| {
        entered.send(())?;
        let _ = gate.recv();
        leaving.store(1, Ordering::SeqCst);
        Ok(())
    });
    let other = bus.clone();
    let dispatching = thread::spawn(move || drop(other.dispatch(Placed(1))));
    has_entered.recv().unwrap();
    assert!(
        bus.wait_timeout(Duration::from_millis(5))
            .unwrap_err()
            .is_timeout()
    );
    let waiting = {
        let (bus, left) = (bus.clone(), Arc::clone(&left));
        thread::spawn(move || {
            bus.wait().unwrap();
            assert_eq!(left.load(Ordering::SeqCst), 1);
        })
    };
    drop(go);
    waiting.join().unwrap();
    dispatching.join().unwrap();
    drop(subscription);
}

#[test]
fn a_dropped_handle_changes_nothing_and_errors_are_on_the_bus() {
    let bus = EventBus::new();
    let listener = Register::event(|_: &Placed, _: &Context| Err("no".into()));
    let subscription = bus.register_with(listener.asynchronous()).unwrap();
    drop(bus.dispatch(Placed(1)));
    bus.wait().unwrap();
    assert!(matches!(bus.errors()[0].error(), BusError::Failed(_)));
    drop(subscription);
}

#[test]
fn many_threads_dispatch_and_wait() {
    let bus = EventBus::new();
    let sum = Arc::new(Mutex::new(0));
    let adding = Arc::clone(&sum);
    let listener = Register::event(move |event: &Placed, _: &Context| {
        *adding.lock().unwrap() += event.0;
        Ok(())
    });
    let subscription = bus.register_with(listener.asynchronous()).unwrap();
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                for n in 0..500 {
                    let dispatch = bus.dispatch(Placed(n));
                    if n % 3 == 0 {
                        dispatch.wait().unwrap();
                    }
                }
                bus.wait().unwrap();
            });
        }
    });
    assert_eq!(*sum.lock().unwrap(), 4 * 499 * 500 / 2);
    drop(subscription);
}

#[test]
fn threads_end_with_the_bus() {
    soon(|| {
        let bus = EventBus::new();
        let (tx, rx) = unbounded::<()>();
        let listener = Register::event(move |_: &Placed, _: &Context| Ok(tx.send(())?));
        bus.register_with(listener.asynchronous()).unwrap().detach();
        let handle = bus.downgrade();
        bus.dispatch(Placed(1));
        drop(bus);
        // What was dispatched is finished. Then the listener, and its sender, are dropped.
        assert_eq!(rx.iter().count(), 1);
        until(|| handle.upgrade().is_none());
    });
}
