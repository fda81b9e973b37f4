//! Destructors of events and of values that listeners captured. They are user code. The last
//! owner's thread runs them.

use std::sync::Mutex;
use std::thread::{self, ThreadId};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use fanfeed_bus::{BusError, BusOptions, Context, Event, EventBus, Register};

use crate::support::{LONG, Paid, Placed, soon};

/// Closes the bus when it is dropped, and tells what that gave.
struct Closer(EventBus, Sender<Result<(), BusError>>);

impl Drop for Closer {
    fn drop(&mut self) {
        let _ = self.1.send(self.0.close());
    }
}

/// A listener on a thread of the bus that tells when it is entered, and waits at a gate.
struct Gate {
    has_entered: Receiver<()>,
    go: Sender<()>,
}

fn gated(register: impl FnOnce(Box<dyn Fn() + Send + Sync>)) -> Gate {
    let (entered, has_entered) = bounded(0);
    let (go, gate) = bounded::<()>(0);
    register(Box::new(move || {
        let _ = entered.send(());
        let _ = gate.recv();
    }));
    Gate { has_entered, go }
}

fn is_would_deadlock(told: &Receiver<Result<(), BusError>>) -> bool {
    let told = told.recv_timeout(LONG).expect("it hangs");
    told.is_err_and(|error| error.is_would_deadlock())
}

#[test]
fn of_another_listener_that_close_on_a_thread_of_the_bus() {
    soon(|| {
        let bus = EventBus::new();
        let (tell, told) = unbounded();
        let closer = Closer(bus.clone(), tell);
        let owner = bus.register(move |_: &Paid, _: &Context| {
            let _captured = &closer;
            Ok(())
        });
        let gate = gated(|stay| {
            let listener = Register::event(move |_: &Placed, _: &Context| {
                stay();
                Ok(())
            });
            bus.register_with(listener.asynchronous()).unwrap().detach();
        });
        let dispatch = bus.dispatch(Placed(1));
        gate.has_entered.recv().unwrap();
        // The thread of the bus has the old table, and drops it after its call.
        drop(owner);
        drop(gate.go);
        assert!(is_would_deadlock(&told));
        dispatch.wait().unwrap();
        bus.close().unwrap();
    });
}

#[test]
fn of_the_running_listener_that_close() {
    soon(|| {
        let bus = EventBus::new();
        let (tell, told) = unbounded();
        let closer = Closer(bus.clone(), tell);
        let own = Mutex::new(None);
        let gate = gated(|stay| {
            let listener = Register::event(move |_: &Placed, _: &Context| {
                let _captured = &closer;
                stay();
                Ok(())
            });
            let subscription = bus.register_with(listener.asynchronous()).unwrap();
            *own.lock().unwrap() = Some(subscription);
        });
        // Inside a listener it is unregistered without a wait.
        let unregister = bus.register(move |_: &Paid, _: &Context| {
            drop(own.lock().unwrap().take());
            Ok(())
        });
        let dispatch = bus.dispatch(Placed(1));
        gate.has_entered.recv().unwrap();
        bus.dispatch(Paid(1));
        drop(gate.go);
        assert!(is_would_deadlock(&told));
        dispatch.wait().unwrap();
        drop(unregister);
        bus.close().unwrap();
    });
}

/// An event that closes the bus when it is dropped.
struct Closing(#[allow(dead_code)] Closer);

impl Event for Closing {
    const NAME: &'static str = "bus.closing";
}

#[test]
fn of_an_event_that_close_on_a_thread_of_the_bus() {
    soon(|| {
        let bus = EventBus::new();
        let (tell, told) = unbounded();
        let gate = gated(|stay| {
            let listener = Register::event(move |_: &Closing, _: &Context| {
                stay();
                Ok(())
            });
            bus.register_with(listener.asynchronous()).unwrap().detach();
        });
        let dispatch = bus.dispatch(Closing(Closer(bus.clone(), tell)));
        gate.has_entered.recv().unwrap();
        drop(gate.go);
        assert!(is_would_deadlock(&told));
        dispatch.wait().unwrap();
        bus.close().unwrap();
    });
}

#[test]
fn of_an_event_that_close_timeout_gives_up() {
    soon(|| {
        let bus = BusOptions::new().threads(1).limit(1).build();
        let (tell, told) = unbounded();
        let gate = gated(|stay| {
            let listener = Register::event(move |_: &Placed, _: &Context| {
                stay();
                Ok(())
            });
            bus.register_with(listener.asynchronous()).unwrap().detach();
        });
        let listener = Register::event(|_: &Closing, _: &Context| Ok(()));
        bus.register_with(listener.asynchronous()).unwrap().detach();
        let running = bus.dispatch(Placed(1));
        gate.has_entered.recv().unwrap();
        let queued = bus.dispatch(Closing(Closer(bus.clone(), tell)));
        let error = bus.close_timeout(Duration::from_millis(1)).unwrap_err();
        assert!(error.is_timeout());
        assert!(is_would_deadlock(&told));
        assert!(queued.is_done());
        assert!(matches!(queued.errors()[0].error(), BusError::Cancelled));
        drop(gate.go);
        running.wait().unwrap();
    });
}

/// Sends when it is dropped, and waits until that is received. Not by the receiving thread, if it
/// is the last owner.
struct Tell(Sender<()>, ThreadId);

impl Drop for Tell {
    fn drop(&mut self) {
        if thread::current().id() != self.1 {
            let _ = self.0.send(());
        }
    }
}

#[test]
fn of_a_listener_keep_unsubscribe_from_nothing() {
    soon(|| {
        let bus = EventBus::new();
        let (told, rx) = bounded(0);
        let (tell, (entered, has_entered)) = (Tell(told, thread::current().id()), bounded(0));
        let own = bus.register(move |_: &Placed, context: &Context| {
            let _captured = &tell;
            entered.send(())?;
            assert!(context.token().wait_timeout(LONG));
            Ok(())
        });
        let own = own.unwrap();
        let other = bus.clone();
        let dispatching = thread::spawn(move || drop(other.dispatch(Placed(1))));
        has_entered.recv().unwrap();
        own.unsubscribe();
        // If the dispatching thread drops the listener, it does so now or later.
        let _ = rx.recv();
        dispatching.join().unwrap();
    });
}
