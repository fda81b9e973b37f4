//! The bus: which listeners are called while listeners are unregistered and the bus is closed, and
//! which waiters the last one wakes.
//!
//! Programs: two threads that dispatch while a listener is unregistered, and one that stays; a
//! dispatch that its handle and the bus wait for; a destructor that waits for the thread that
//! unregisters; a listener whose timeout ends as it returns; a wait for what follows from a
//! dispatch of another thread; two threads that dispatch while the bus is closed; a listener that
//! waits on the only thread of the bus. The code is `crates/bus` itself, over its `src/sync.rs`.
//! Not modelled: arc-swap, crossbeam's channels and the clock.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release --test bus
//! ```
#![cfg(fanfeed_shuttle)]

use std::sync::Arc;
use std::time::Duration;

use fanfeed_bus::{BusOptions, Context, Event, EventBus, Register};
use fanfeed_shuttle_tests::{Schedules, Why};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

struct First;

impl Event for First {
    const NAME: &'static str = "first";
}

struct Second;

impl Event for Second {
    const NAME: &'static str = "second";
}

/// A bus with one thread at most. It starts it for the first asynchronous listener.
fn bus() -> EventBus {
    BusOptions::new().threads(1).limit(1).build()
}

fn dispatching(bus: &EventBus, count: usize) -> thread::JoinHandle<usize> {
    let bus = bus.clone();
    thread::spawn(move || (0..count).map(|_| bus.dispatch(First).errors().len()).sum())
}

/// Two threads dispatch to two listeners, of which the first is unregistered. What it holds is
/// dropped in the end.
fn a_listener_leaves() {
    let bus = bus();
    let is_over = Arc::new(AtomicBool::new(false));
    let (over, held) = (Arc::clone(&is_over), Arc::new(()));
    let captured = Arc::clone(&held);
    let leaver = bus
        .register(move |_: &First, _: &Context| {
            let _captured = &captured;
            assert!(!over.load(Ordering::SeqCst), "it is delivered too late");
            thread::yield_now();
            assert!(!over.load(Ordering::SeqCst), "it was not waited for");
            Ok(())
        })
        .unwrap();
    let stayer = bus.register(|_: &First, _: &Context| Ok(())).unwrap();
    let dispatching = [dispatching(&bus, 2), dispatching(&bus, 1)];
    leaver.unsubscribe();
    is_over.store(true, Ordering::SeqCst);
    for thread in dispatching {
        assert_eq!(thread.join().unwrap(), 0, "{:?}", bus.errors());
    }
    assert_eq!(
        Arc::strong_count(&held),
        1,
        "what it captured is still held"
    );
    drop((leaver, stayer));
}

/// A thread dispatches while another one unregisters the listener, and stays. It drops the table
/// that has the listener.
fn a_listener_leaves_a_thread_that_stays() {
    let bus = bus();
    let held = Arc::new(());
    let captured = Arc::clone(&held);
    let leaver = bus.register(move |_: &First, _: &Context| {
        let _captured = &captured;
        Ok(())
    });
    let leaver = leaver.unwrap();
    let leaving = thread::spawn(move || drop(leaver));
    bus.dispatch(First);
    leaving.join().unwrap();
    assert_eq!(
        Arc::strong_count(&held),
        1,
        "what it captured is still held"
    );
}

/// Two threads unregister listeners, and neither the table without the first nor the one without
/// the second stays in the slot of a thread that has dispatched.
fn two_listeners_leave() {
    let bus = bus();
    let held = Arc::new(());
    let leavers = [(), ()].map(|()| {
        let captured = Arc::clone(&held);
        let listener = move |_: &First, _: &Context| {
            let _captured = &captured;
            Ok(())
        };
        bus.register(listener).unwrap()
    });
    bus.dispatch(First);
    let leaving = leavers.map(|leaver| thread::spawn(move || drop(leaver)));
    bus.dispatch(First);
    for thread in leaving {
        thread.join().unwrap();
    }
    assert_eq!(
        Arc::strong_count(&held),
        1,
        "what it captured is still held"
    );
}

/// Waits until it is told to go on when it is dropped, unless by the thread that tells it.
struct Waits {
    told: Arc<(Mutex<bool>, Condvar)>,
    by: thread::ThreadId,
}

impl Drop for Waits {
    fn drop(&mut self) {
        if thread::current().id() == self.by {
            return;
        }
        let mut is_told = self.told.0.lock().unwrap();
        while !*is_told {
            is_told = self.told.1.wait(is_told).unwrap();
        }
    }
}

/// A thread that dispatches drops what a listener captured. That waits for the thread that
/// unregisters the listener.
fn a_destructor_waits() {
    let bus = bus();
    let told = Arc::new((Mutex::new(false), Condvar::new()));
    let waits = Waits {
        told: Arc::clone(&told),
        by: thread::current().id(),
    };
    let leaver = bus.register(move |_: &First, _: &Context| {
        let _captured = &waits;
        Ok(())
    });
    let dispatching = dispatching(&bus, 1);
    leaver.unwrap().unsubscribe();
    *told.0.lock().unwrap() = true;
    told.1.notify_all();
    assert_eq!(dispatching.join().unwrap(), 0);
}

/// One thread waits for the handle of a dispatch, and one for the bus. Both find the asynchronous
/// listener done.
fn the_last_listener_is_waited_for() {
    let bus = bus();
    let done = Arc::new(AtomicBool::new(false));
    let doing = Arc::clone(&done);
    let listener = Register::event(move |_: &First, _: &Context| {
        thread::yield_now();
        doing.store(true, Ordering::SeqCst);
        Ok(())
    });
    bus.register_with(listener.asynchronous()).unwrap().detach();
    let dispatch = bus.dispatch(First);
    let waiting = {
        let (bus, done) = (bus.clone(), Arc::clone(&done));
        thread::spawn(move || {
            bus.wait().unwrap();
            assert!(done.load(Ordering::SeqCst), "the bus did not wait");
        })
    };
    dispatch.wait().unwrap();
    assert!(done.load(Ordering::SeqCst), "the dispatch did not wait");
    waiting.join().unwrap();
}

/// A thread that knows that a dispatch has begun on another one waits for the bus. The listener
/// there dispatches an event to an asynchronous listener, which is waited for too.
fn what_follows_is_waited_for() {
    let bus = bus();
    let done = Arc::new(AtomicBool::new(false));
    let doing = Arc::clone(&done);
    let second = Register::event(move |_: &Second, _: &Context| {
        doing.store(true, Ordering::SeqCst);
        Ok(())
    });
    bus.register_with(second.asynchronous()).unwrap().detach();
    let begun = Arc::new((Mutex::new(false), Condvar::new()));
    let beginning = Arc::clone(&begun);
    bus.register(move |_: &First, context: &Context| {
        *beginning.0.lock().unwrap() = true;
        beginning.1.notify_all();
        context.bus().dispatch(Second);
        Ok(())
    })
    .unwrap()
    .detach();
    let dispatching = dispatching(&bus, 1);
    let mut has_begun = begun.0.lock().unwrap();
    while !*has_begun {
        has_begun = begun.1.wait(has_begun).unwrap();
    }
    drop(has_begun);
    bus.wait().unwrap();
    assert!(
        done.load(Ordering::SeqCst),
        "what follows was not waited for"
    );
    dispatching.join().unwrap();
}

/// Two threads dispatch while the bus is closed. Each event is delivered before `close` returns, or
/// refused.
fn the_bus_is_closed() {
    let bus = bus();
    let (is_closed, called) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (closed, counted) = (Arc::clone(&is_closed), Arc::clone(&called));
    bus.register(move |_: &First, _: &Context| {
        assert!(!closed.load(Ordering::SeqCst), "close has returned");
        thread::yield_now();
        assert!(!closed.load(Ordering::SeqCst), "close has returned");
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    })
    .unwrap()
    .detach();
    let dispatching = [dispatching(&bus, 2), dispatching(&bus, 1)];
    bus.close().unwrap();
    is_closed.store(true, Ordering::SeqCst);
    let refused: usize = dispatching
        .map(|thread| thread.join().unwrap())
        .into_iter()
        .sum();
    let errors = bus.errors();
    let are_refusals = errors.iter().all(|error| error.error().is_closed());
    assert!(
        are_refusals,
        "close has returned, or cut a call off: {errors:?}"
    );
    let called = called.load(Ordering::SeqCst);
    assert_eq!(
        called + refused,
        3,
        "an event was lost, since close has returned"
    );
}

/// A listener on the only thread of the bus waits for another one.
fn a_listener_waits() {
    let bus = bus();
    let inner = Register::event(|_: &Second, _: &Context| Ok(()));
    bus.register_with(inner.asynchronous()).unwrap().detach();
    let outer = Register::event(|_: &First, context: &Context| {
        Ok(context.bus().dispatch(Second).wait()?)
    });
    bus.register_with(outer.asynchronous()).unwrap().detach();
    let dispatch = bus.dispatch(First);
    dispatch.wait().unwrap();
    assert!(dispatch.errors().is_empty());
    bus.close().unwrap();
}

/// A listener returns while its timer fires. What is reported stands on the dispatch once that is
/// done.
fn a_listener_overruns() {
    let bus = bus();
    let listener = Register::event(|_: &First, _: &Context| Ok(()));
    let listener = listener.asynchronous().timeout(Duration::ZERO);
    bus.register_with(listener).unwrap().detach();
    let dispatch = bus.dispatch(First);
    dispatch.wait().unwrap();
    let on_dispatch = dispatch.errors().len();
    bus.close().unwrap();
    assert_eq!(dispatch.errors().len(), on_dispatch, "it came too late");
}

#[test]
fn an_overrun_stands_on_the_dispatch() {
    Schedules::new().hold(a_listener_overruns);
}

#[test]
fn a_timer_counts_in_its_dispatch() {
    Schedules::new()
        .because(Why::Says("it came too late"))
        .find("bus::timer_does_not_count", a_listener_overruns);
}

#[test]
fn nothing_is_delivered_after_unsubscribe() {
    Schedules::new().hold(a_listener_leaves);
}

#[test]
fn a_dispatch_looks_whether_the_listener_has_ended() {
    // The listener panics, and the bus reports that.
    Schedules::new()
        .because(Why::Says("it is delivered too late"))
        .find("bus::calls_without_a_look", a_listener_leaves);
}

#[test]
fn unsubscribe_waits_for_calls() {
    Schedules::new()
        .because(Why::Says("it was not waited for"))
        .find("bus::unsubscribe_does_not_wait", a_listener_leaves);
}

#[test]
fn a_call_that_ends_wakes_unsubscribe() {
    Schedules::new()
        .because(Why::Deadlock)
        .find("bus::listener_wakes_nobody", a_listener_leaves);
}

#[test]
fn what_a_listener_captured_is_dropped() {
    Schedules::new().hold(a_listener_leaves_a_thread_that_stays);
}

#[test]
fn what_two_listeners_captured_is_dropped() {
    Schedules::new().hold(two_listeners_leave);
}

#[test]
fn an_idle_thread_loses_its_old_table() {
    Schedules::new()
        .because(Why::Says("what it captured is still held"))
        .find("bus::stale_table_is_kept", a_listener_leaves);
}

#[test]
fn a_busy_thread_drops_its_old_table_after_its_visit() {
    Schedules::new()
        .because(Why::Says("what it captured is still held"))
        .find(
            "bus::visit_does_not_look_at_the_version",
            a_listener_leaves_a_thread_that_stays,
        );
}

#[test]
fn a_destructor_keeps_no_thread_waiting() {
    Schedules::new().hold(a_destructor_waits);
}

#[test]
fn a_visit_wakes_before_it_drops() {
    Schedules::new()
        .because(Why::Deadlock)
        .find("bus::visit_drops_before_it_wakes", a_destructor_waits);
}

#[test]
fn waits_end_with_the_last_listener() {
    Schedules::new().hold(the_last_listener_is_waited_for);
}

#[test]
fn the_last_listener_wakes_the_handle() {
    Schedules::new().because(Why::Deadlock).find(
        "bus::last_listener_wakes_nobody",
        the_last_listener_is_waited_for,
    );
}

#[test]
fn a_waiter_looks_under_the_lock() {
    Schedules::new().because(Why::Deadlock).find(
        "bus::waiter_looks_before_the_lock",
        the_last_listener_is_waited_for,
    );
}

#[test]
fn the_last_dispatch_wakes_the_bus() {
    Schedules::new()
        .because(Why::Deadlock)
        .find("bus::visit_wakes_nobody", the_last_listener_is_waited_for);
}

#[test]
fn a_wait_includes_what_follows() {
    Schedules::new().hold(what_follows_is_waited_for);
}

#[test]
fn what_follows_has_the_epoch_of_its_cause() {
    Schedules::new()
        .because(Why::Says("what follows was not waited for"))
        .find("bus::what_follows_is_new", what_follows_is_waited_for);
}

#[test]
fn close_lets_nothing_through() {
    Schedules::new().hold(the_bus_is_closed);
}

#[test]
fn a_dispatch_looks_at_the_phase() {
    Schedules::new()
        .because(Why::Says("close has returned"))
        .find(
            "bus::dispatch_does_not_look_at_the_phase",
            the_bus_is_closed,
        );
}

#[test]
fn close_waits_for_dispatches() {
    Schedules::new()
        .because(Why::Says("close has returned"))
        .find("bus::close_does_not_wait", the_bus_is_closed);
}

#[test]
fn a_listener_that_waits_is_replaced() {
    Schedules::new().hold(a_listener_waits);
}

#[test]
fn without_a_replacement_it_waits_forever() {
    Schedules::new()
        .because(Why::Deadlock)
        .find("bus::waiting_thread_is_not_replaced", a_listener_waits);
}
