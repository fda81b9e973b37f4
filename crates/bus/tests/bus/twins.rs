//! The async twins of the verbs that wait: for the bus, for its close, and for the end of a name's
//! listeners.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ::tokio::runtime::Builder;
use ::tokio::sync::Notify;
use crossbeam_channel::unbounded;
use fanfeed_bus::{BusError, Context, EventBus, Register};

use crate::support::{LONG, Paid, Placed, soon};

/// A bus with an async listener that waits for a permit, and says when it has begun.
fn permitted() -> (EventBus, Arc<Notify>, Arc<Notify>) {
    let bus = EventBus::new();
    let (begun, permit) = <(Arc<Notify>, Arc<Notify>)>::default();
    let inside = (Arc::clone(&begun), Arc::clone(&permit));
    let register = Register::async_event(move |_: Arc<Placed>| {
        let (begun, permit) = (Arc::clone(&inside.0), Arc::clone(&inside.1));
        async move {
            begun.notify_one();
            permit.notified().await;
            Ok(())
        }
    });
    bus.register_with(register).unwrap().detach();
    (bus, begun, permit)
}

#[test]
fn on_the_only_thread_of_a_runtime_the_bus_is_waited_for_and_closed() {
    soon(|| {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (bus, begun, permit) = permitted();
            let dispatch = bus.dispatch(Placed(1));
            let waiting = tokio::spawn(bus.wait_async());
            begun.notified().await;
            assert!(!waiting.is_finished());
            // One that is given up leaves nothing.
            let mut given_up = Box::pin(bus.wait_async());
            std::future::poll_fn(|cx| {
                assert!(given_up.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            drop(given_up);
            permit.notify_one();
            waiting.await.unwrap().unwrap();
            assert!(dispatch.is_done());
            bus.wait_async().await.unwrap();

            let dispatch = bus.dispatch(Placed(2));
            begun.notified().await;
            let closing = tokio::spawn(bus.close_async());
            while bus.is_open() {
                tokio::task::yield_now().await;
            }
            assert!(bus.dispatch(Paid(1)).errors()[0].error().is_closed());
            permit.notify_one();
            closing.await.unwrap().unwrap();
            assert!(dispatch.is_done() && dispatch.errors().is_empty());
            bus.close_async().await.unwrap();
        });
    });
}

#[test]
fn on_the_only_thread_of_a_runtime_closing_is_given_up() {
    soon(|| {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (bus, begun, _permit) = permitted();
            let dispatch = bus.dispatch(Placed(1));
            begun.notified().await;
            let error = bus.close_timeout_async(Duration::from_millis(5)).await;
            assert!(error.unwrap_err().is_timeout());
            assert!(dispatch.is_done());
            assert!(matches!(dispatch.errors()[0].error(), BusError::Cancelled));
        });
    });
}

#[tokio::test]
async fn inside_a_listener_awaiting_its_bus_is_refused() {
    let bus = EventBus::new();
    let weak = bus.downgrade();
    let (tx, rx) = unbounded();
    let register = Register::async_event(move |_: Arc<Placed>| {
        let (bus, tx) = (weak.upgrade().unwrap(), tx.clone());
        async move {
            tx.send(bus.wait_async().await)?;
            tx.send(bus.close_async().await)?;
            Ok(tx.send(bus.close_timeout_async(LONG).await)?)
        }
    });
    bus.register_with(register).unwrap().detach();
    bus.dispatch(Placed(1)).await.unwrap();
    let told: Vec<_> = rx.try_iter().collect();
    assert_eq!(told.len(), 3);
    for told in told {
        assert!(told.unwrap_err().is_would_deadlock());
    }
    bus.close_async().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_is_waited_for_wakes() {
    let bus = EventBus::new();
    let pool = Register::event(|_: &Placed, _: &Context| Ok(())).asynchronous();
    let subscription = bus.register_with(pool).unwrap();
    for n in 0..500 {
        let dispatch = bus.dispatch(Placed(n));
        bus.wait_async().await.unwrap();
        assert!(dispatch.is_done());
    }
    drop(subscription);
}

#[tokio::test]
async fn all_listeners_of_a_name_are_unregistered_without_the_thread() {
    let bus = EventBus::new();
    let (begun, began) = crossbeam_channel::unbounded();
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let blocked = Register::event(move |_: &Placed, _: &Context| {
        begun.send(())?;
        let _ = gate.recv();
        Ok(())
    });
    let blocked = bus.register_with(blocked.asynchronous()).unwrap();
    bus.dispatch(Placed(1));
    began.recv_timeout(LONG).unwrap();
    let unregistered = tokio::spawn(bus.unregister_all_async("order.placed"));
    let closed = blocked.closed();
    tokio::task::spawn_blocking(move || closed.wait())
        .await
        .unwrap();
    // This thread runs other tasks, while the call is waited for.
    assert!(!unregistered.is_finished());
    drop(go);
    assert_eq!(unregistered.await.unwrap(), 1);
    assert_eq!(bus.unregister_all_async("order.placed").await, 0);

    let (tx, rx) = crossbeam_channel::unbounded();
    let own = Register::async_event(move |_: Arc<Placed>| {
        let (bus, tx) = (bus.clone(), tx.clone());
        async move { Ok(tx.send(bus.unregister_all_async("order.placed").await)?) }
    });
    let other = EventBus::new();
    other.register_with(own).unwrap().detach();
    other.dispatch(Placed(1)).await.unwrap();
    assert_eq!(rx.try_recv(), Ok(0));
}

/// It would wait for itself.
#[tokio::test]
async fn inside_a_listener_unregistering_all_of_its_name_does_not_wait() {
    let bus = EventBus::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let weak = bus.downgrade();
    let own = Register::async_event(move |_: Arc<Placed>| {
        let (bus, tx) = (weak.upgrade(), tx.clone());
        async move {
            let bus = bus.ok_or("it is gone")?;
            Ok(tx.send(bus.unregister_all_async("order.placed").await)?)
        }
    });
    bus.register_with(own).unwrap().detach();
    bus.dispatch(Placed(1)).await.unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    bus.close_async().await.unwrap();
}
