use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};
use fanfeed_broker::{Broker, Event as Happened, FlushError, Message, MessageId, Publisher};
use fanfeed_bus::{BusError, BusEvent, Context, EventBus, Register};

use super::hooked::Hooked;
use super::{Ordered, TheirOrdered, next, orders};
use crate::support::{LONG, Placed, soon, until};

fn bus(broker: &Arc<Hooked>) -> EventBus {
    let bus = EventBus::over(broker.clone());
    bus.register_type::<Ordered>().unwrap();
    bus
}

/// Guards against a member that stayed at the broker with a listener that had ended.
#[test]
fn a_member_that_ends_before_the_broker_has_answered_is_taken_off() {
    let broker = Hooked::new(|broker| {
        let envelope = r#"{"fanfeed":1,"id":"1","name":"order.ordered","time":0,"origin":"them","payload":{"order":7}}"#;
        let message = Message::new("events:order.ordered", envelope);
        broker.publish(message).unwrap();
        until(|| broker.stats().delivered == 1);
    });
    let bus = bus(&broker);
    let (tx, rx) = unbounded();
    let listener = move |event: &Ordered, _: &Context<'_>| Ok(tx.send(event.order)?);
    let register = Register::event(listener).once().group("billing");
    let listener = bus.register_with(register).unwrap();
    assert_eq!(next(&rx), 7);
    assert!(listener.is_closed());
    until(|| broker.inner().health().subscriptions == 0);
    assert!(bus.errors().is_empty(), "{:?}", bus.errors());
}

/// Guards against a bus that took a subscription for live which the server had refused.
#[test]
fn a_subscription_that_the_server_refuses_later_is_reported_and_made_again() {
    let broker = Hooked::new(|_| ());
    let bus = bus(&broker);
    let mut events = bus.events();
    let first = orders(&bus);
    broker.refuse_all();
    broker.events.send(Happened::SubscriptionFailed {
        key: "events:order.ordered".into(),
        group: None,
        error: "NOPERM".into(),
    });
    let BusEvent::Error(error) = events.recv_timeout(LONG).unwrap() else {
        panic!("it is no error");
    };
    assert_eq!(error.event(), "order.ordered");
    assert!(matches!(error.error(), BusError::NotSubscribed(text) if &**text == "NOPERM"));
    let second = orders(&bus);
    self::bus(&broker).dispatch(Ordered { order: 7 });
    assert_eq!([next(&first), next(&second)], [7, 7]);
}

#[test]
fn a_failure_of_an_event_that_is_not_remembered_is_told_by_the_bus() {
    let broker = Hooked::new(|_| ());
    let bus = bus(&broker);
    let mut events = bus.events();
    for key in ["other:order.ordered", "events:order.ordered"] {
        broker.events.send(Happened::PublishFailed {
            id: MessageId::parse("forgotten"),
            key: key.into(),
            error: "NOPERM".into(),
        });
    }
    let told = events.recv_timeout(LONG).unwrap();
    let BusEvent::Broker(Happened::PublishFailed { key, .. }) = told else {
        panic!("{told}");
    };
    assert_eq!(key.as_str(), "events:order.ordered");
}

#[test]
fn what_a_listener_dispatches_in_turn_is_published_after_its_event() {
    let broker = Hooked::new(|_| ());
    let bus = bus(&broker);
    bus.register_type_as::<TheirOrdered>("second").unwrap();
    let _chain = bus
        .register(|_: &Ordered, context: &Context<'_>| {
            context.bus().dispatch(TheirOrdered {
                order: 2,
                note: None,
            });
            Ok(())
        })
        .unwrap();
    bus.dispatch(Ordered { order: 1 });
    let expected = ["events:order.ordered", "events:second"];
    assert_eq!(broker.published(), expected);
}

#[test]
fn a_broker_that_panics_is_reported_and_the_dispatch_is_done() {
    let broker = Hooked::new(|_| ());
    let bus = bus(&broker);
    let heard = orders(&bus);
    broker.on_publish(|_| panic!("it cannot"));
    let dispatch = bus.dispatch(Ordered { order: 7 });
    dispatch.wait().unwrap();
    assert_eq!(next(&heard), 7);
    let errors = dispatch.errors();
    assert!(
        matches!(errors[0].error(), BusError::NotPublished(text) if text.contains("it cannot")),
        "{errors:?}"
    );
    bus.close().unwrap();
}

#[test]
fn the_queue_is_flushed_though_listeners_have_used_up_the_time() {
    let broker = Hooked::new(|_| ());
    let bus = bus(&broker);
    let (tx, timeouts) = unbounded();
    broker.on_flush(move |timeout| {
        tx.send(timeout).unwrap();
        Ok(())
    });
    let (begun, began) = unbounded();
    let (go, gate) = bounded::<()>(0);
    let stuck = move |_: &Ordered, _: &Context<'_>| {
        begun.send(())?;
        let _ = gate.recv();
        Ok(())
    };
    let stuck = Register::event(stuck).asynchronous();
    bus.register_with(stuck).unwrap().detach();
    bus.dispatch(Ordered { order: 7 });
    next(&began);
    let error = bus.close_timeout(Duration::ZERO).unwrap_err();
    assert!(matches!(error, BusError::CloseTimeout { .. }), "{error}");
    assert!(next(&timeouts) >= Duration::from_millis(100));
    drop(go);
}

/// Guards against a second `close`, beside the first, after which nobody heard what the first one's
/// flush told.
#[test]
fn a_second_close_waits_until_the_first_has_told_what_failed() {
    let broker = Hooked::new(|_| ());
    let bus = bus(&broker);
    let mut events = bus.events();
    let (begun, began) = unbounded();
    let (go, gate) = bounded::<()>(0);
    broker.on_flush(move |_| {
        begun.send(()).unwrap();
        gate.recv().map_err(|_| FlushError::Closed)
    });
    let (tx, closed) = unbounded();
    let closing: Vec<_> = ["first", "second"]
        .into_iter()
        .map(|name| {
            let (bus, tx) = (bus.clone(), tx.clone());
            let closing = thread::spawn(move || {
                bus.close().unwrap();
                tx.send(name).unwrap();
            });
            if name == "first" {
                next(&began);
            }
            closing
        })
        .collect();
    assert!(closed.recv_timeout(Duration::from_millis(50)).is_err());
    broker.events.send(Happened::PublishFailed {
        id: MessageId::parse("forgotten"),
        key: "events:order.ordered".into(),
        error: "NOPERM".into(),
    });
    drop(go);
    for thread in closing {
        thread.join().unwrap();
    }
    let told = events.recv_timeout(LONG).unwrap();
    assert!(
        matches!(told, BusEvent::Broker(Happened::PublishFailed { .. })),
        "{told}"
    );
}

/// Guards against a `close` that waited, beyond its deadline, for a server that did not answer
/// another thread.
#[test]
fn close_does_not_wait_for_a_subscription_under_way_which_ends_later() {
    let (begun, began) = unbounded();
    let (go, gate) = bounded::<()>(0);
    let broker = Hooked::new(move |_| {
        begun.send(()).unwrap();
        let _ = gate.recv();
    });
    let bus = bus(&broker);
    let registering = {
        let bus = bus.clone();
        thread::spawn(move || bus.register(|_: &Ordered, _: &Context<'_>| Ok(())))
    };
    next(&began);
    let closing = bus.clone();
    soon(move || closing.close_timeout(Duration::from_millis(20))).unwrap();
    assert_eq!(broker.inner().health().subscriptions, 1);
    drop(go);
    match registering.join().unwrap() {
        Ok(listener) => listener.closed().wait(),
        Err(error) => assert!(error.is_closed(), "{error}"),
    }
    until(|| broker.inner().health().subscriptions == 0);
}

/// Guards against failures that were lost because the broker told more of them at once than it
/// keeps for a reader.
#[test]
fn all_failures_of_a_queue_that_the_broker_gives_up_stand_on_their_dispatches() {
    const QUEUE: u64 = 8192;
    let broker = Hooked::new(|_| ());
    let bus = bus(&broker);
    let ids = Arc::new(Mutex::new(Vec::new()));
    let published = Arc::clone(&ids);
    broker.on_publish(move |message| published.lock().unwrap().push(message.id().clone()));
    let events = broker.events.clone();
    broker.on_flush(move |_| {
        for id in std::mem::take(&mut *ids.lock().unwrap()) {
            events.send(Happened::PublishFailed {
                id,
                key: "events:order.ordered".into(),
                error: "the broker was closed".into(),
            });
        }
        Ok(())
    });
    let dispatches: Vec<_> = (0..QUEUE)
        .map(|order| bus.dispatch(Ordered { order }))
        .collect();
    bus.close().unwrap();
    let told = dispatches.iter().filter(|dispatch| {
        let errors = dispatch.errors();
        matches!(&errors[..], [error] if matches!(error.error(), BusError::NotPublished(_)))
    });
    assert_eq!(told.count() as u64, QUEUE);
    assert_eq!(bus.errors().len() as u64 + bus.errors_dropped(), QUEUE);
}

/// Guards against a bus whose listeners lasted, and a future that never ended, because the broker
/// had panicked.
#[test]
fn a_broker_that_panics_does_not_keep_a_bus_open() {
    let is_well = Arc::new(AtomicBool::new(true));
    let looked = Arc::clone(&is_well);
    let broker =
        Hooked::new(move |_| assert!(looked.load(Ordering::SeqCst), "it cannot subscribe"));
    let bus = bus(&broker);
    let (tx, ended) = unbounded::<()>();
    let listener = move |_: &Ordered, _: &Context<'_>| Ok(tx.send(())?);
    bus.register(listener).unwrap().detach();
    is_well.store(false, Ordering::SeqCst);
    for refused in [
        bus.register(|_: &Placed, _: &Context<'_>| Ok(())),
        bus.listen_group("billing", |_: &Ordered, _: &Context<'_>| Ok(())),
    ] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(&refused, BusError::NotSubscribed(text) if text.contains("it cannot subscribe")),
            "{refused}"
        );
    }
    assert_eq!(broker.inner().health().subscriptions, 1);
    broker.on_flush(|_| panic!("it cannot flush"));
    let closed = bus.close().unwrap_err();
    assert!(
        matches!(&closed, BusError::NotPublished(text) if text.contains("it cannot flush")),
        "{closed}"
    );
    assert!(ended.recv_timeout(LONG).unwrap_err().is_disconnected());
}

/// Guards against a thread that waited for the lock of a name which it held itself: it had dropped
/// a listener under it.
#[test]
fn a_listener_that_owns_one_of_its_name_is_dropped_beside_a_registration() {
    let (begun, began) = unbounded();
    let (go, gate) = bounded::<()>(0);
    let blocks = Arc::new(AtomicBool::new(false));
    let looked = Arc::clone(&blocks);
    let broker = Hooked::new(move |_| {
        if looked.load(Ordering::SeqCst) {
            begun.send(()).unwrap();
            let _ = gate.recv();
        }
    });
    let bus = bus(&broker);
    let owned = bus.register(|_: &Ordered, _: &Context<'_>| Ok(())).unwrap();
    let owner = move |_: &Ordered, _: &Context<'_>| {
        assert!(!owned.is_closed());
        Ok(())
    };
    let owner = bus.register(owner).unwrap();
    broker.refuse_all();
    blocks.store(true, Ordering::SeqCst);
    let registering = {
        let bus = bus.clone();
        thread::spawn(move || {
            let listener = bus.register(|_: &Ordered, _: &Context<'_>| Ok(()));
            listener.unwrap().detach();
        })
    };
    // It has the lock of the name, and the table that has the owner.
    next(&began);
    let unregistering = thread::spawn(move || owner.unsubscribe());
    // For the other thread to replace the table. If it is slower, the test sees less, and passes.
    thread::sleep(Duration::from_millis(20));
    blocks.store(false, Ordering::SeqCst);
    drop(go);
    soon(move || {
        registering.join().unwrap();
        unregistering.join().unwrap();
    });
    bus.close().unwrap();
}

/// Guards against errors of a bus that was closed, for what arrived meanwhile.
#[test]
fn what_arrives_while_the_bus_closes_is_no_error() {
    let (begun, began) = unbounded();
    let (go, gate) = bounded::<()>(0);
    let broker = Hooked::new(move |broker| {
        begun.send(()).unwrap();
        let _ = gate.recv();
        let envelope = r#"{"fanfeed":1,"id":"1","name":"order.ordered","time":0,"origin":"them","payload":{"order":7}}"#;
        let message = Message::new("events:order.ordered", envelope);
        broker.publish(message).unwrap();
        until(|| broker.stats().delivered == 1);
    });
    let bus = bus(&broker);
    let (tx, rx) = unbounded();
    let registering = {
        let bus = bus.clone();
        let listener = move |event: &Ordered, _: &Context<'_>| Ok(tx.send(event.order)?);
        thread::spawn(move || bus.register(listener))
    };
    next(&began);
    bus.close().unwrap();
    drop(go);
    drop(registering.join().unwrap());
    assert!(rx.try_recv().is_err());
    assert!(bus.errors().is_empty(), "{:?}", bus.errors());
}
