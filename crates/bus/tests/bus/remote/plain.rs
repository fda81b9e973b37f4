use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::unbounded;
use fanfeed_broker::{Broker, MemoryBroker};
use fanfeed_bus::{AnyEvent, BusError, BusEvent, Context, Event, EventBus, EventRegistry};
use fanfeed_bus::{Register, RemoteOptions};

use super::{Ordered, TheirOrdered, broker, bus, next, orders};
use crate::support::{Placed, until};

fn subscriptions(broker: &MemoryBroker) -> usize {
    broker.health().subscriptions
}

#[test]
fn an_event_reaches_the_listeners_of_all_buses_once() {
    let broker = broker();
    let buses = [bus(&broker), bus(&broker), bus(&broker)];
    let heard = buses.each_ref().map(orders);
    for (order, bus) in (0..).zip(&buses) {
        let dispatch = bus.dispatch(Ordered { order });
        dispatch.wait().unwrap();
        assert!(dispatch.errors().is_empty(), "{:?}", dispatch.errors());
    }
    for heard in &heard {
        let mut got: Vec<_> = (0..3).map(|_| next(heard)).collect();
        got.sort_unstable();
        assert_eq!(got, [0, 1, 2]);
    }
    for bus in &buses {
        bus.close().unwrap();
    }
    assert!(heard.iter().all(|heard| heard.try_recv().is_err()));
}

#[test]
fn a_local_listener_gets_the_event_itself_at_once() {
    let broker = broker();
    let bus = bus(&broker);
    let heard = orders(&bus);
    bus.dispatch(Ordered { order: 7 });
    assert_eq!(heard.try_recv(), Ok(7));
}

#[test]
fn another_codebase_has_another_type_of_the_name() {
    let broker = broker();
    let ours = bus(&broker);
    let theirs = EventBus::over(broker.clone());
    theirs.register_type::<TheirOrdered>().unwrap();
    let (tx, rx) = unbounded();
    let listener = move |event: &TheirOrdered, _: &Context<'_>| {
        Ok(tx.send((event.order, event.note.clone()))?)
    };
    let _listener = theirs.register(listener).unwrap();
    let heard = orders(&ours);
    ours.dispatch(Ordered { order: 7 });
    assert_eq!(next(&rx), (7, None));
    theirs.dispatch(TheirOrdered {
        order: 8,
        note: Some("fast".to_owned()),
    });
    assert_eq!([next(&heard), next(&heard)], [7, 8]);
}

#[test]
fn a_versioned_event_has_a_name_for_each_version() {
    let broker = broker();
    let old = EventBus::over(broker.clone());
    old.register_type_as::<TheirOrdered>("order.ordered.v1")
        .unwrap();
    let new = EventBus::over(broker.clone());
    // Reads both versions, and writes the last.
    new.register_type_as::<TheirOrdered>("order.ordered.v1")
        .unwrap();
    new.register_type_as::<Ordered>("order.ordered.v2").unwrap();
    let (tx, rx) = unbounded();
    let (one, two) = (tx.clone(), tx);
    let _v1 = new
        .register(move |event: &TheirOrdered, _: &Context<'_>| {
            Ok(one.send(("v1", u64::from(event.order)))?)
        })
        .unwrap();
    let _v2 = new
        .register(move |event: &Ordered, _: &Context<'_>| Ok(two.send(("v2", event.order))?))
        .unwrap();
    old.dispatch(TheirOrdered {
        order: 1,
        note: None,
    });
    assert_eq!(next(&rx), ("v1", 1));
    let sender = bus(&broker);
    sender
        .register_type_as::<Ordered>("order.ordered.v2")
        .unwrap();
    sender.dispatch(Ordered { order: 2 });
    assert_eq!(next(&rx), ("v2", 2));
}

#[test]
fn a_type_that_is_registered_twice_is_dispatched_under_the_last_name() {
    let bus = bus(&broker());
    bus.register_type_as::<Ordered>("a").unwrap();
    bus.register_type_as::<Ordered>("b").unwrap();
    let (tx, rx) = unbounded();
    let _all = bus
        .register_all(move |event: &dyn AnyEvent, _: &Context<'_>| {
            Ok(tx.send(event.name().to_owned())?)
        })
        .unwrap();
    bus.dispatch(Ordered { order: 1 });
    assert_eq!(next(&rx), "b");
    let registry = bus.registry().unwrap();
    let names: Vec<_> = registry
        .names()
        .iter()
        .map(|name| name.to_string())
        .collect();
    assert_eq!(names, ["a", "b", Ordered::NAME]);
    assert!(registry.is_registered("a") && !registry.is_registered("c"));
}

/// Guards against events that a listener misses in silence.
#[test]
fn a_listener_of_a_type_that_gets_another_name_later_is_told() {
    let bus = EventBus::over(broker());
    let mut events = bus.events();
    let listener = Register::event(|_: &Ordered, _: &Context<'_>| Ok(())).name("early");
    let _early = bus.register_with(listener).unwrap();
    let _other = bus.register(|_: &Placed, _: &Context<'_>| Ok(())).unwrap();
    bus.register_type_as::<Ordered>("v2").unwrap();
    let BusEvent::Renamed { listener, from, to } = events.try_recv().unwrap() else {
        panic!("it is something else");
    };
    assert_eq!((&*listener, &*from, &*to), ("early", Ordered::NAME, "v2"));
    let member = |_: &Ordered, _: &Context<'_>| Ok(());
    let _member = bus.listen_group("billing", member).unwrap();
    bus.register_type_as::<Ordered>("v3").unwrap();
    let told = events.try_recv().unwrap().to_string();
    assert!(
        told.contains("is registered for v2") && told.contains("under v3"),
        "{told}"
    );
    assert!(events.try_recv().is_err());
}

#[test]
fn a_type_that_is_not_registered_is_local_and_reported() {
    let broker = broker();
    let bus = bus(&broker);
    let (tx, rx) = unbounded();
    let _listener = bus
        .register(move |event: &Placed, _: &Context<'_>| Ok(tx.send(event.0)?))
        .unwrap();
    let dispatch = bus.dispatch(Placed(7));
    assert_eq!(rx.try_recv(), Ok(7));
    let errors = dispatch.errors();
    assert_eq!(errors.len(), 1);
    assert!(
        matches!(errors[0].error(), BusError::NotRegistered { type_name } if type_name.ends_with("Placed"))
    );
    assert_eq!(errors[0].listener(), None);
    assert!(errors[0].to_string().contains("register_type"));
    assert_eq!(bus.errors().len(), 1);
}

#[test]
fn what_cannot_be_published_stands_on_the_dispatch() {
    let broker = broker();
    let small = RemoteOptions::new().max_event(64).over(broker.clone());
    small.register_type::<Ordered>().unwrap();
    let heard = orders(&small);
    let errors = small.dispatch(Ordered { order: 7 }).errors();
    assert!(matches!(errors[0].error(), BusError::TooLarge { limit: 64, size } if *size > 64));
    assert_eq!(next(&heard), 7);

    let bad = bus(&broker);
    bad.register_type_as::<Ordered>("a*b").unwrap();
    let errors = bad.dispatch(Ordered { order: 7 }).errors();
    assert!(matches!(errors[0].error(), BusError::NotPublished(text) if text.contains('*')));
    let refused = bad
        .register(|_: &Ordered, _: &Context<'_>| Ok(()))
        .unwrap_err();
    assert!(matches!(refused, BusError::NotSubscribed(_)), "{refused}");

    let closed = bus(&broker);
    broker.close(Duration::from_secs(1)).unwrap();
    let errors = closed.dispatch(Ordered { order: 7 }).errors();
    assert!(matches!(errors[0].error(), BusError::NotPublished(_)));
    assert_eq!(closed.errors().len(), 1);
}

#[test]
fn listeners_for_all_events_hear_names_that_are_registered_later() {
    let broker = broker();
    let listening = EventBus::over(broker.clone());
    let (tx, rx) = unbounded();
    let all = listening
        .register_all(move |event: &dyn AnyEvent, _: &Context<'_>| {
            Ok(tx.send((event.name().to_owned(), event.payload()))?)
        })
        .unwrap();
    assert_eq!(subscriptions(&broker), 0);
    listening.register_type::<Ordered>().unwrap();
    assert_eq!(subscriptions(&broker), 1);
    bus(&broker).dispatch(Ordered { order: 7 });
    let (name, payload) = next(&rx);
    assert_eq!(
        (&*name, payload["order"].to_string()),
        ("order.ordered", "7".to_owned())
    );
    all.unsubscribe();
    until(|| subscriptions(&broker) == 0);
}

#[test]
fn buses_can_share_a_registry() {
    let registry = EventRegistry::new();
    let broker = broker();
    let [one, other] = [(); 2].map(|()| {
        RemoteOptions::new()
            .registry(registry.clone())
            .over(broker.clone())
    });
    one.register_type::<Ordered>().unwrap();
    let heard = orders(&other);
    one.dispatch(Ordered { order: 7 });
    assert_eq!(next(&heard), 7);
    EventRegistry::global()
        .register_as::<Ordered>("global")
        .unwrap();
    assert!(EventRegistry::global().is_registered("global"));
}

#[test]
fn the_broker_holds_a_subscription_for_each_name_that_has_listeners() {
    let broker = broker();
    let bus = bus(&broker);
    let listener = || bus.register(|_: &Ordered, _: &Context<'_>| Ok(())).unwrap();
    let (one, other) = (listener(), listener());
    assert_eq!(subscriptions(&broker), 1);
    one.unsubscribe();
    assert_eq!(subscriptions(&broker), 1);
    other.unsubscribe();
    until(|| subscriptions(&broker) == 0);
    listener().detach();
    listener().detach();
    assert_eq!(bus.unregister_all(Ordered::NAME), 2);
    assert_eq!(bus.unregister_all(Ordered::NAME), 0);
    until(|| subscriptions(&broker) == 0);
    listener().detach();
    bus.close().unwrap();
    until(|| subscriptions(&broker) == 0);
    assert!(!broker.is_closed());
    let dropped = super::bus(&broker);
    dropped
        .register(|_: &Ordered, _: &Context<'_>| Ok(()))
        .unwrap()
        .detach();
    drop(dropped);
    until(|| subscriptions(&broker) == 0);
}

#[test]
fn a_bus_in_memory_has_no_types_and_no_groups() {
    let bus = EventBus::new();
    assert!(matches!(
        bus.register_type::<Ordered>(),
        Err(BusError::NoBroker)
    ));
    let group = bus.listen_group("g", |_: &Ordered, _: &Context<'_>| Ok(()));
    assert!(matches!(group, Err(BusError::NoBroker)));
}

#[test]
fn a_bus_over_a_broker_shows_it() {
    let broker = broker();
    let bus = bus(&broker);
    let _heard = orders(&bus);
    let health = bus.broker().unwrap().health();
    assert!(health.is_up() && health.subscriptions == 1);
    assert!(EventBus::new().broker().is_none());
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn what_waits_for_the_broker_has_async_twins() {
    let broker = broker();
    let sending = bus(&broker);
    let listening = EventBus::over(broker.clone());
    let (tx, rx) = unbounded();
    let all = tx.clone();
    let all = Register::all(move |event: &dyn AnyEvent, _: &Context<'_>| {
        Ok(all.send(event.name().to_owned())?)
    });
    let _all = listening.register_with_async(all).await.unwrap();
    let name = Ordered::NAME;
    let typed = listening.register_type_as_async::<Ordered>(name);
    typed.await.unwrap();
    let registry = EventRegistry::new();
    registry.register_as_async::<Ordered>(name).await.unwrap();
    let empty = registry.register_as_async::<Ordered>("").await;
    assert!(matches!(empty, Err(BusError::BadName)));
    let listener = Register::async_event(move |event: Arc<Ordered>| {
        let tx = tx.clone();
        async move { Ok(tx.send(event.order.to_string())?) }
    });
    let listener = listening.register_with_async(listener).await.unwrap();
    sending.dispatch(Ordered { order: 7 });
    let take = move || {
        let mut got = [next(&rx), next(&rx)];
        got.sort();
        got
    };
    let got = tokio::task::spawn_blocking(take).await.unwrap();
    assert_eq!(got, ["7", name]);
    listener.unsubscribe();
    listening.close_async().await.unwrap();
    let late = Register::event(|_: &Ordered, _: &Context<'_>| Ok(()));
    let late = listening.register_with_async(late).await.unwrap_err();
    assert!(late.is_closed(), "{late}");
}

#[cfg(all(feature = "tokio", feature = "redis"))]
#[tokio::test]
async fn a_bus_from_a_configuration_is_made_in_async_code() {
    use fanfeed_bus::{BusConfig, RedisConfig};

    let bus = EventBus::from_config_async(BusConfig::Memory);
    bus.await.unwrap().close_async().await.unwrap();
    let away = RedisConfig::new().address("127.0.0.1:1");
    let error = EventBus::from_config_async(away).await.unwrap_err();
    assert!(matches!(error, BusError::NotConnected(_)), "{error}");
}

#[test]
fn a_listener_registers_and_unregisters_while_events_arrive() {
    let broker = broker();
    let (sending, listening) = (bus(&broker), bus(&broker));
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let _listener = listening
        .register(move |event: &Ordered, context: &Context<'_>| {
            let inner = context
                .bus()
                .register(|_: &Ordered, _: &Context<'_>| Ok(()))?;
            context.bus().dispatch(Placed(event.order));
            inner.unsubscribe();
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
    for order in 0..50 {
        sending.dispatch(Ordered { order });
    }
    until(|| calls.load(Ordering::Relaxed) == 50);
    sending.close().unwrap();
    listening.close().unwrap();
}

#[test]
fn a_name_is_subscribed_to_if_it_has_listeners_whatever_threads_do() {
    let broker = broker();
    let (sending, listening) = (bus(&broker), bus(&broker));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let listener = |_: &Ordered, _: &Context<'_>| Ok(());
                    listening.register(listener).unwrap().unsubscribe();
                }
            });
        }
        for order in 0..100 {
            sending.dispatch(Ordered { order });
        }
    });
    until(|| subscriptions(&broker) == 0);
    let heard = orders(&listening);
    assert_eq!(subscriptions(&broker), 1);
    sending.dispatch(Ordered { order: 7 });
    assert_eq!(next(&heard), 7);
    assert!(listening.errors().is_empty(), "{:?}", listening.errors());
}

#[test]
fn a_listener_that_is_registered_while_the_bus_closes_is_refused_or_ended() {
    for _ in 0..20 {
        let broker = broker();
        let bus = bus(&broker);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let listener = |_: &Ordered, _: &Context<'_>| Ok(());
                    let (plain, group) = (
                        bus.register(listener),
                        bus.listen_group("billing", listener),
                    );
                    for listener in [plain, group] {
                        match listener {
                            Ok(listener) => listener.closed().wait(),
                            Err(error) => assert!(error.is_closed(), "{error}"),
                        }
                    }
                });
            }
            scope.spawn(|| bus.close().unwrap());
        });
        until(|| subscriptions(&broker) == 0);
    }
}

#[test]
fn a_bus_that_is_closed_dispatches_nothing_more() {
    let broker = broker();
    let (sending, listening) = (bus(&broker), bus(&broker));
    let heard = orders(&listening);
    for order in 0..100 {
        sending.dispatch(Ordered { order });
    }
    sending.close().unwrap();
    let errors = sending.dispatch(Ordered { order: 100 }).errors();
    assert!(errors[0].error().is_closed());
    let got: Vec<_> = (0..100).map(|_| next(&heard)).collect();
    assert_eq!(got, (0..100).collect::<Vec<_>>());
    listening.close().unwrap();
    assert!(heard.is_empty());
}
