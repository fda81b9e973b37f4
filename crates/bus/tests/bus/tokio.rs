//! Async listeners, and dispatches that are awaited.

use std::future::{Future, IntoFuture, pending};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::tokio::runtime::Builder;
use ::tokio::sync::{Notify, oneshot};
use crossbeam_channel::unbounded;
use fanfeed_bus::{AnyEvent, BusError, Context, Dispatch, EventBus, Register};

use crate::support::{LONG, OtherPlaced, Paid, Placed, soon, until};

#[tokio::test]
async fn async_listeners_run_on_the_runtime_and_a_dispatch_is_awaited() {
    let bus = EventBus::new();
    let (tx, rx) = unbounded();
    let (a, b, c) = (tx.clone(), tx.clone(), tx);
    let subscriptions = [
        Register::async_event(move |event: Arc<Placed>| {
            let a = a.clone();
            async move {
                tokio::task::yield_now().await;
                Ok(a.send(format!("typed {}", event.0))?)
            }
        }),
        Register::async_named("order.placed", move |event: Arc<dyn AnyEvent>| {
            let b = b.clone();
            async move { Ok(b.send(format!("named {}", event.name()))?) }
        }),
        Register::async_all(move |event: Arc<dyn AnyEvent>| {
            let c = c.clone();
            async move { Ok(c.send(format!("all {:?}", event.payload()["order"]))?) }
        }),
    ]
    .map(|register| bus.register_with(register).unwrap());
    let dispatch = bus.dispatch(Placed(7));
    assert!(!dispatch.is_done());
    dispatch.await.unwrap();
    let mut got: Vec<_> = rx.try_iter().collect();
    got.sort();
    assert_eq!(got, ["all Uint(7)", "named order.placed", "typed 7"]);
    bus.dispatch(Paid(1));
    drop(subscriptions);
}

#[tokio::test]
async fn their_errors_and_panics_are_reported() {
    let bus = EventBus::new();
    let subscriptions = [
        Register::async_event(|event: Arc<Placed>| async move { Err(event.0.to_string().into()) }),
        Register::async_event(|_: Arc<Placed>| async { panic!("polled") }),
        Register::async_event(|event: Arc<Placed>| {
            assert!(event.0 == 0, "made");
            async { Ok(()) }
        }),
        Register::async_event(|_: Arc<OtherPlaced>| async { Ok(()) }),
    ]
    .map(|register| bus.register_with(register.name("l")).unwrap());
    let dispatch = bus.dispatch(Placed(7));
    let done = dispatch.done();
    let told = tokio::task::spawn_blocking(move || {
        let _ = done.recv();
        let mut told: Vec<_> = dispatch
            .errors()
            .iter()
            .map(|error| error.error().to_string())
            .collect();
        told.sort();
        told
    });
    let told = told.await.unwrap();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told[0], "the listener failed: 7");
    assert_eq!(told[1], "the listener panicked: made");
    assert_eq!(told[2], "the listener panicked: polled");
    assert!(
        told[3].starts_with("the listener takes events of type"),
        "{told:?}"
    );
    assert_eq!(bus.errors().len(), 4);
    drop(subscriptions);
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn endless(dropped: &Arc<AtomicUsize>, begun: &Arc<Notify>) -> Register {
    let (dropped, begun) = (Arc::clone(dropped), Arc::clone(begun));
    Register::async_event(move |_: Arc<Placed>| {
        let (held, begun) = (Dropped(Arc::clone(&dropped)), Arc::clone(&begun));
        async move {
            begun.notify_one();
            pending::<()>().await;
            drop(held);
            Ok(())
        }
    })
}

#[tokio::test]
async fn unsubscribe_drops_the_futures_under_way_without_a_thread_of_the_runtime() {
    let bus = EventBus::new();
    let (dropped, begun) = <(Arc<AtomicUsize>, Arc<Notify>)>::default();
    let subscription = bus.register_with(endless(&dropped, &begun)).unwrap();
    let dispatches = [bus.dispatch(Placed(1)), bus.dispatch(Placed(2))];
    begun.notified().await;
    subscription.unsubscribe();
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
    for dispatch in dispatches {
        assert!(dispatch.is_done());
        assert!(matches!(dispatch.errors()[0].error(), BusError::Cancelled));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overrun_drops_the_future() {
    let bus = EventBus::new();
    let (dropped, begun) = <(Arc<AtomicUsize>, Arc<Notify>)>::default();
    let register = endless(&dropped, &begun).timeout(Duration::from_millis(5));
    let subscription = bus.register_with(register).unwrap();
    let dispatch = bus.dispatch(Placed(1));
    tokio::task::spawn_blocking(move || {
        dispatch.wait_timeout(LONG).unwrap();
        let errors = dispatch.errors();
        assert!(
            matches!(errors[..], [ref error] if matches!(error.error(), BusError::Overran(_))),
            "{errors:?}"
        );
    })
    .await
    .unwrap();
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(bus.errors().len(), 1);
    assert!(!subscription.is_closed());
}

#[tokio::test]
async fn at_the_deadline_of_close_futures_are_dropped() {
    let bus = EventBus::new();
    let (dropped, begun) = <(Arc<AtomicUsize>, Arc<Notify>)>::default();
    bus.register_with(endless(&dropped, &begun))
        .unwrap()
        .detach();
    let dispatch = bus.dispatch(Placed(1));
    begun.notified().await;
    let error = bus.close_timeout(Duration::from_millis(5)).unwrap_err();
    assert!(matches!(
        error,
        BusError::CloseTimeout {
            pending: 1,
            running: 0
        }
    ));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert!(dispatch.is_done());
}

#[test]
fn a_runtime_that_is_shut_down_ends_the_calls() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let bus = EventBus::new();
    let (dropped, begun) = <(Arc<AtomicUsize>, Arc<Notify>)>::default();
    let register = endless(&dropped, &begun).on(runtime.handle().clone());
    let subscription = bus.register_with(register).unwrap();
    let first = bus.dispatch(Placed(1));
    runtime.block_on(begun.notified());
    drop(runtime);
    let late = bus.dispatch(Placed(2));
    for dispatch in [first, late] {
        dispatch.wait_timeout(LONG).unwrap();
        assert!(matches!(dispatch.errors()[0].error(), BusError::Cancelled));
    }
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
    drop(subscription);
}

#[test]
fn without_a_runtime_it_is_refused() {
    let bus = EventBus::new();
    let refused = bus.register_with(Register::async_event(|_: Arc<Placed>| async { Ok(()) }));
    assert!(matches!(refused, Err(BusError::NoRuntime)));
}

#[tokio::test]
async fn inside_a_listener_awaiting_its_own_dispatch_is_refused() {
    let bus = EventBus::new();
    let (give, given) = oneshot::channel::<Dispatch>();
    let given = Mutex::new(Some(given));
    let (tx, rx) = unbounded();
    let register = Register::async_event(move |_: Arc<Placed>| {
        let (given, tx) = (given.lock().unwrap().take().unwrap(), tx.clone());
        async move {
            let own = given.await?;
            Ok(tx.send(own.await)?)
        }
    });
    let subscription = bus.register_with(register).unwrap();
    let dispatch = bus.dispatch(Placed(1));
    let done = dispatch.done();
    give.send(dispatch).unwrap();
    tokio::task::spawn_blocking(move || {
        let _ = done.recv();
    })
    .await
    .unwrap();
    assert!(rx.recv().unwrap().unwrap_err().is_would_deadlock());
    drop(subscription);
}

#[tokio::test]
async fn inside_a_listener_another_dispatch_is_awaited() {
    let bus = EventBus::new();
    let inner = Register::event(|_: &Paid, _: &Context| Ok(())).asynchronous();
    bus.register_with(inner).unwrap().detach();
    let weak = bus.downgrade();
    let outer = Register::async_event(move |event: Arc<Placed>| {
        let bus = weak.upgrade().unwrap();
        async move { Ok(bus.dispatch(Paid(event.0)).await?) }
    });
    let outer = bus.register_with(outer).unwrap();
    bus.dispatch(Placed(1)).await.unwrap();
    assert!(bus.errors().is_empty());
    drop(outer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inside_a_listener_it_unregisters_itself_and_waits_for_nobody() {
    let bus = EventBus::new();
    let own = Arc::new(Mutex::new(None::<fanfeed::Subscription>));
    let inside = Arc::clone(&own);
    let register = Register::async_event(move |_: Arc<Placed>| {
        let inside = Arc::clone(&inside);
        async move {
            inside.lock().unwrap().take().unwrap().unsubscribe();
            Ok(())
        }
    });
    *own.lock().unwrap() = Some(bus.register_with(register).unwrap());
    bus.dispatch(Placed(1)).await.unwrap();
    assert!(own.lock().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsubscribe_during_polls() {
    let bus = EventBus::new();
    for _ in 0..200 {
        let over = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&over);
        let register = Register::async_event(move |_: Arc<Placed>| {
            let seen = Arc::clone(&seen);
            async move {
                for _ in 0..10 {
                    assert_eq!(seen.load(Ordering::SeqCst), 0, "it is polled too late");
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
        });
        let subscription = bus.register_with(register).unwrap();
        let dispatches: Vec<_> = (0..4).map(|n| bus.dispatch(Placed(n))).collect();
        tokio::task::yield_now().await;
        subscription.unsubscribe();
        over.store(1, Ordering::SeqCst);
        for dispatch in dispatches {
            assert!(dispatch.is_done());
            let errors = dispatch.errors();
            let are_cuts = errors
                .iter()
                .all(|error| matches!(error.error(), BusError::Cancelled));
            assert!(are_cuts, "{errors:?}");
        }
    }
}

#[tokio::test]
async fn one_that_is_called_once_is_called_once() {
    let bus = EventBus::new();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let register = Register::async_event(move |_: Arc<Placed>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    });
    let subscription = bus.register_with(register.once()).unwrap();
    let (first, second) = (bus.dispatch(Placed(1)), bus.dispatch(Placed(2)));
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(subscription.is_closed());
    assert!(bus.errors().is_empty());
}

#[test]
fn the_last_handle_may_be_dropped_inside_a_runtime() {
    soon(|| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let bus = EventBus::new();
            let register = Register::async_event(|_: Arc<Placed>| async { Ok(()) });
            let subscription = bus.register_with(register).unwrap();
            bus.dispatch(Placed(1));
            drop(bus);
            subscription.closed().await;
        });
    });
}

#[test]
fn a_timeout_of_nothing_is_reported_once() {
    soon(|| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let bus = EventBus::new();
        let (dropped, begun) = <(Arc<AtomicUsize>, Arc<Notify>)>::default();
        let register = endless(&dropped, &begun).on(runtime.handle().clone());
        let subscription = bus.register_with(register.timeout(Duration::ZERO));
        for n in 0..300 {
            let dispatch = bus.dispatch(Placed(n));
            dispatch.wait().unwrap();
            let errors = dispatch.errors();
            assert!(
                matches!(errors[..], [ref error] if matches!(error.error(), BusError::Overran(_))),
                "{errors:?}"
            );
        }
        drop(subscription);
    });
}

/// Waits for a sender when it is dropped.
struct Waits(crossbeam_channel::Receiver<()>);

impl Drop for Waits {
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}

#[test]
fn a_future_that_overran_and_is_slow_to_drop_holds_up_no_other_timeout() {
    soon(|| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let bus = EventBus::new();
        let (go, gate) = crossbeam_channel::bounded::<()>(0);
        let slow = Register::async_event(move |_: Arc<Placed>| {
            let waits = Waits(gate.clone());
            async move {
                pending::<()>().await;
                drop(waits);
                Ok(())
            }
        });
        let slow = slow.on(runtime.handle().clone());
        let slow = bus.register_with(slow.timeout(Duration::from_millis(1)));
        let first = bus.dispatch(Placed(1));
        let other = Register::event(|_: &Paid, context: &Context| {
            assert!(context.token().wait_timeout(LONG));
            Ok(())
        });
        let other = bus.register_with(other.timeout(Duration::from_millis(20)));
        let errors = bus.dispatch(Paid(1)).errors();
        assert!(matches!(errors[0].error(), BusError::Overran(_)));
        assert!(!first.is_done(), "its future has not been dropped");
        drop(go);
        first.wait().unwrap();
        drop((slow, other));
    });
}

#[test]
fn a_dispatch_keeps_the_last_waker_alone_and_wakes_it_when_nothing_is_pending() {
    struct Asks(EventBus, AtomicUsize);
    impl std::task::Wake for Asks {
        fn wake(self: Arc<Self>) {
            self.0.wait().unwrap();
            self.1.store(1 + self.0.pending(), Ordering::SeqCst);
        }
    }
    soon(|| {
        let bus = EventBus::new();
        let (go, gate) = crossbeam_channel::bounded::<()>(0);
        let listener = Register::event(move |_: &Placed, _: &Context| {
            let _ = gate.recv();
            Ok(())
        });
        let subscription = bus.register_with(listener.asynchronous());
        let mut future = Box::pin(bus.dispatch(Placed(1)).into_future());
        let wakers = [(); 3].map(|()| Arc::new(Asks(bus.clone(), AtomicUsize::new(0))));
        for waker in &wakers {
            let waker = std::task::Waker::from(Arc::clone(waker));
            let polled = future
                .as_mut()
                .poll(&mut std::task::Context::from_waker(&waker));
            assert!(polled.is_pending());
        }
        assert_eq!([0, 1, 2].map(|n| Arc::strong_count(&wakers[n])), [1, 1, 2]);
        drop(go);
        until(|| wakers[2].1.load(Ordering::SeqCst) == 1);
        drop((future, subscription));
    });
}

/// Guards against an async listener that was skipped without an error.
#[test]
fn at_the_deadline_of_close_one_that_was_not_begun_is_given_up() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let bus = EventBus::new();
    let (begun, began) = unbounded();
    let (go, gate) = unbounded::<()>();
    let blocked = move |_: &Placed, _: &Context<'_>| {
        begun.send(())?;
        let _ = gate.recv();
        Ok(())
    };
    bus.register(blocked).unwrap().detach();
    let skipped = Register::async_event(|_: Arc<Placed>| async { Ok(()) });
    let skipped = skipped.on(runtime.handle().clone()).name("skipped");
    bus.register_with(skipped).unwrap().detach();
    let dispatching = {
        let bus = bus.clone();
        std::thread::spawn(move || bus.dispatch(Placed(1)))
    };
    began.recv_timeout(LONG).unwrap();
    let closed = bus.close_timeout(Duration::from_millis(10)).unwrap_err();
    assert!(closed.is_timeout(), "{closed}");
    drop(go);
    let errors = dispatching.join().unwrap().errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].listener(), Some("skipped"));
    assert!(matches!(errors[0].error(), BusError::Cancelled));
}
