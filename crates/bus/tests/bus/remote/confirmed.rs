//! Dispatches whose caller waits until the server has the event.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use fanfeed_bus::{BusError, Context, EventBus};

use super::hooked::Hooked;
use super::{Ordered, broker, bus, next, orders};
use crate::support::{LONG, Placed, until};

fn over(broker: &Arc<Hooked>) -> EventBus {
    let bus = EventBus::over(broker.clone());
    bus.register_type::<Ordered>().unwrap();
    bus
}

/// A bus whose broker waits in each publish until `go` is dropped.
struct Gated {
    bus: EventBus,
    heard: Receiver<u64>,
    /// Has a value for each publish that has begun.
    begun: Receiver<()>,
    go: Sender<()>,
}

fn gated() -> Gated {
    let broker = Hooked::new(|_| ());
    let bus = over(&broker);
    let heard = orders(&bus);
    let (begins, begun) = unbounded();
    let (go, gate) = bounded(0);
    broker.on_publish(move |_| {
        let _ = begins.send(());
        let _ = gate.recv();
    });
    Gated {
        bus,
        heard,
        begun,
        go,
    }
}

#[test]
fn the_broker_has_the_event_before_the_local_listeners_have_it() {
    let broker = Hooked::new(|_| ());
    let (sending, listening) = (over(&broker), over(&broker));
    let heard = orders(&listening);
    let (tx, rx) = unbounded();
    let published = Arc::clone(&broker);
    let local = move |event: &Ordered, _: &Context<'_>| {
        Ok(tx.send((event.order, published.published().len()))?)
    };
    let _local = sending.register(local).unwrap();
    let dispatch = sending
        .dispatch_confirmed(Ordered { order: 7 }, LONG)
        .unwrap();
    assert_eq!(rx.try_recv(), Ok((7, 1)));
    assert!(dispatch.is_done() && dispatch.errors().is_empty());
    assert_eq!(next(&heard), 7);
    sending.close().unwrap();
    listening.close().unwrap();
}

#[test]
fn a_failure_is_told_to_the_caller_and_no_listener_is_called() {
    let broker = Hooked::new(|_| ());
    let bus = over(&broker);
    let heard = orders(&bus);
    broker.on_publish(|message| {
        if message.key().as_str().ends_with("ordered") {
            panic!("it cannot")
        }
    });
    let error = bus
        .dispatch_confirmed(Ordered { order: 7 }, LONG)
        .unwrap_err();
    assert!(
        matches!(&error, BusError::NotPublished(text) if text.contains("it cannot")),
        "{error}"
    );
    let error = bus.dispatch_confirmed(Placed(1), LONG).unwrap_err();
    assert!(matches!(error, BusError::NotRegistered { .. }), "{error}");
    bus.close().unwrap();
    let error = bus
        .dispatch_confirmed(Ordered { order: 8 }, LONG)
        .unwrap_err();
    assert!(error.is_closed(), "{error}");
    assert_eq!(bus.errors().len(), 3);
    assert!(heard.is_empty());
    let error = EventBus::new().dispatch_confirmed(Placed(1), LONG);
    assert!(matches!(error, Err(BusError::NoBroker)));
}

#[test]
fn close_waits_for_the_server_and_the_listeners_are_called() {
    let Gated {
        bus,
        heard,
        begun,
        go,
    } = gated();
    let dispatching = {
        let bus = bus.clone();
        thread::spawn(move || bus.dispatch_confirmed(Ordered { order: 7 }, LONG))
    };
    next(&begun);
    let closing = {
        let bus = bus.clone();
        thread::spawn(move || bus.close())
    };
    until(|| !bus.is_open());
    drop(go);
    let dispatch = dispatching.join().unwrap().unwrap();
    closing.join().unwrap().unwrap();
    assert!(dispatch.is_done() && dispatch.errors().is_empty());
    assert_eq!(heard.try_recv(), Ok(7));
}

#[test]
fn at_the_deadline_of_close_its_listeners_are_given_up() {
    let Gated {
        bus,
        heard,
        begun,
        go,
    } = gated();
    let dispatching = {
        let bus = bus.clone();
        thread::spawn(move || bus.dispatch_confirmed(Ordered { order: 7 }, LONG))
    };
    next(&begun);
    let closed = bus.close_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(closed.is_timeout(), "{closed}");
    drop(go);
    let dispatch = dispatching.join().unwrap().unwrap();
    dispatch.wait().unwrap();
    assert!(matches!(dispatch.errors()[0].error(), BusError::Cancelled));
    assert!(heard.is_empty());
}

#[test]
fn a_listener_confirms_what_it_dispatches_in_turn() {
    let broker = broker();
    let (first, second) = (bus(&broker), EventBus::over(broker.clone()));
    second.register_type_as::<Ordered>("second").unwrap();
    let heard = orders(&second);
    let chained = second.downgrade();
    let chain = move |event: &Ordered, _: &Context<'_>| {
        let second = chained.upgrade().ok_or("it is gone")?;
        let order = event.order + 1;
        second.dispatch_confirmed(Ordered { order }, LONG)?.wait()?;
        Ok(())
    };
    let _chain = first.register(chain).unwrap();
    let dispatch = first.dispatch(Ordered { order: 1 });
    assert!(dispatch.errors().is_empty(), "{:?}", dispatch.errors());
    assert_eq!(next(&heard), 2);
}

#[cfg(feature = "tokio")]
mod in_async_code {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context as Polling, Poll, Waker};

    use fanfeed_bus::Register;

    use super::*;

    #[tokio::test]
    async fn it_waits_without_the_thread_and_close_waits_for_it() {
        let broker = broker();
        let bus = bus(&broker);
        let (tx, rx) = unbounded();
        let second = EventBus::over(broker.clone());
        second.register_type_as::<Ordered>("second").unwrap();
        let heard = orders(&second);
        let listener = Register::async_event(move |event: Arc<Ordered>| {
            let (tx, second) = (tx.clone(), second.clone());
            async move {
                tx.send(())?;
                // The bus is being closed by now, perhaps.
                tokio::task::yield_now().await;
                let order = event.order + 1;
                second
                    .dispatch_confirmed_async(Ordered { order }, LONG)
                    .await?
                    .await?;
                Ok(())
            }
        });
        bus.register_with(listener).unwrap().detach();
        let dispatch = bus
            .dispatch_confirmed_async(Ordered { order: 1 }, LONG)
            .await
            .unwrap();
        bus.close_async().await.unwrap();
        assert_eq!((rx.try_recv(), heard.try_recv()), (Ok(()), Ok(2)));
        assert!(dispatch.errors().is_empty(), "{:?}", dispatch.errors());
    }

    #[test]
    fn a_future_that_is_dropped_calls_no_listener_and_holds_up_nobody() {
        let Gated { bus, heard, go, .. } = gated();
        {
            let dispatch = bus.dispatch_confirmed_async(Ordered { order: 7 }, LONG);
            let mut dispatch = pin!(dispatch);
            let mut cx = Polling::from_waker(Waker::noop());
            assert!(dispatch.as_mut().poll(&mut cx).is_pending());
            assert!(bus.wait_timeout(Duration::from_millis(1)).is_err());
        }
        bus.wait().unwrap();
        drop(go);
        bus.close().unwrap();
        assert!(heard.is_empty());
    }

    /// Guards against a future that was not polled again, and for which `close` waited.
    #[test]
    fn close_does_not_wait_for_a_future_that_is_not_polled() {
        let Gated { bus, heard, go, .. } = gated();
        let dispatch = bus.dispatch_confirmed_async(Ordered { order: 7 }, LONG);
        let mut dispatch = pin!(dispatch);
        let mut cx = Polling::from_waker(Waker::noop());
        assert!(dispatch.as_mut().poll(&mut cx).is_pending());
        drop(go);
        let closing = bus.clone();
        crate::support::soon(move || closing.close()).unwrap();
        assert_eq!(heard.try_recv(), Ok(7));
        let mut polled = Poll::Pending;
        until(|| {
            polled = dispatch.as_mut().poll(&mut cx);
            polled.is_ready()
        });
        let Poll::Ready(Ok(dispatch)) = polled else {
            panic!("{polled:?}");
        };
        assert!(dispatch.is_done());
    }
}
