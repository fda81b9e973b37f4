use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_channel::unbounded;
use fanfeed_broker::Broker;
use fanfeed_bus::{Context, Event, Register};

use super::{Ordered, broker, bus, next};
use crate::support::until;

#[test]
fn an_event_goes_to_one_listener_of_a_group() {
    let broker = broker();
    let buses = [bus(&broker), bus(&broker)];
    let (tx, rx) = unbounded();
    let listeners: Vec<_> = buses
        .iter()
        .enumerate()
        .flat_map(|(at, bus)| {
            let tx = tx.clone();
            ["billing", "audit"].map(|group| {
                let tx = tx.clone();
                let listener = move |event: &Ordered, _: &Context<'_>| {
                    Ok(tx.send((group, at, event.order))?)
                };
                bus.listen_group(group, listener).unwrap()
            })
        })
        .collect();
    for order in 0..20 {
        let dispatch = buses[0].dispatch(Ordered { order });
        assert!(dispatch.is_done() && dispatch.errors().is_empty());
    }
    let mut got: Vec<_> = (0..40)
        .map(|_| next(&rx))
        .map(|(group, _, order)| (group, order))
        .collect();
    got.sort_unstable();
    let each = ["audit", "billing"].into_iter();
    let expected: Vec<_> = each
        .flat_map(|group| (0..20).map(move |order| (group, order)))
        .collect();
    assert_eq!(got, expected);
    drop(listeners);
    until(|| broker.health().subscriptions == 0);
    assert!(rx.try_recv().is_err());
}

#[test]
fn the_dispatching_process_may_be_the_one() {
    let bus = bus(&broker());
    let (tx, rx) = unbounded();
    let listener = move |event: &Ordered, _: &Context<'_>| Ok(tx.send(event.order)?);
    let _listener = bus.listen_group("billing", listener).unwrap();
    bus.dispatch(Ordered { order: 7 });
    assert_eq!(next(&rx), 7);
}

#[test]
fn a_listener_that_fails_gets_the_event_again() {
    let bus = bus(&broker());
    let (tx, rx) = unbounded();
    let calls = Arc::new(AtomicU32::new(0));
    let listener = move |event: &Ordered, _: &Context<'_>| {
        if calls.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err("not yet".into());
        }
        Ok(tx.send(event.order)?)
    };
    let register = Register::event(listener)
        .group("billing")
        .name("billing")
        .asynchronous();
    let listener = bus.register_with(register).unwrap();
    assert_eq!(listener.name(), Some("billing"));
    bus.dispatch(Ordered { order: 7 });
    assert_eq!(next(&rx), 7);
    assert_eq!(bus.errors()[0].listener(), Some("billing"));
}

#[test]
fn unregister_all_ends_groups_too_and_close_waits_for_them() {
    let broker = broker();
    let bus = bus(&broker);
    let (tx, rx) = unbounded();
    let (go, went) = unbounded::<()>();
    let listener = move |event: &Ordered, _: &Context<'_>| {
        tx.send(event.order)?;
        let _ = went.recv();
        Ok(tx.send(event.order + 100)?)
    };
    let listener = bus.listen_group("billing", listener).unwrap();
    bus.dispatch(Ordered { order: 7 });
    assert_eq!(next(&rx), 7);
    drop(go);
    bus.close().unwrap();
    assert_eq!(rx.try_recv(), Ok(107));
    assert!(listener.is_closed());

    let bus = super::bus(&broker);
    let listener = bus
        .listen_group("billing", |_: &Ordered, _: &Context<'_>| Ok(()))
        .unwrap();
    assert_eq!(bus.unregister_all(Ordered::NAME), 1);
    assert!(listener.is_closed());
    until(|| broker.health().subscriptions == 0);
}
