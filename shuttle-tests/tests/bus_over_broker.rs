//! The bus over a broker: it holds a subscription for each name that has listeners, and none once
//! it is closed.
//!
//! Programs: a listener is registered while the only other listener of its name is unregistered; a
//! listener, and a member of a group, are registered while the bus closes; all listeners of a name
//! are unregistered while a member of a group joins; a type gets another name while a listener of
//! it is registered. The code is `crates/bus` over `crates/broker` themselves, in memory. Not
//! modelled: arc-swap, crossbeam's channels and the clock.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release --test bus_over_broker
//! ```
#![cfg(fanfeed_shuttle)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfeed_broker::{Broker, MemoryBroker, MemoryOptions, PoolOptions};
use fanfeed_bus::{
    BusError, BusEvent, BusOptions, Context, Event, EventBus, RemoteOptions, Subscription,
};
use fanfeed_shuttle_tests::{Schedules, Why};
use serde::{Deserialize, Serialize};
use shuttle::thread;

#[derive(Serialize, Deserialize)]
struct First;

impl Event for First {
    const NAME: &'static str = "first";
}

struct Second;

impl Event for Second {
    const NAME: &'static str = "second";
}

fn over() -> (Arc<MemoryBroker>, EventBus) {
    let pool = PoolOptions::new().threads(1);
    let broker = Arc::new(MemoryOptions::new().pool(pool).build());
    let local = BusOptions::new().threads(1).limit(1);
    let bus = RemoteOptions::new().bus(local).over(broker.clone());
    (broker, bus)
}

fn listen(bus: &EventBus) -> Result<Subscription, BusError> {
    bus.register(|_: &First, _: &Context| Ok(()))
}

fn join_group(bus: &EventBus) -> Result<Subscription, BusError> {
    bus.listen_group("group", |_: &First, _: &Context| Ok(()))
}

/// A listener is registered while the only other one of its name is unregistered.
fn a_listener_comes_as_another_goes() {
    let (broker, bus) = over();
    let leaver = listen(&bus).unwrap();
    let coming = {
        let bus = bus.clone();
        thread::spawn(move || listen(&bus).unwrap())
    };
    drop(leaver);
    let stayer = coming.join().unwrap();
    let held = broker.health().subscriptions;
    assert_eq!(held, 1, "with a listener there is one subscription");
    drop(stayer);
    let held = broker.health().subscriptions;
    assert_eq!(held, 0, "without listeners there is no subscription");
}

/// Something is registered while a listener closes the bus. A `close` inside a listener does not
/// wait.
fn the_bus_closes(register: fn(&EventBus) -> Result<Subscription, BusError>) {
    let (broker, bus) = over();
    bus.register_type::<First>().unwrap();
    let close = |_: &Second, context: &Context<'_>| {
        let closed = context.bus().close();
        assert!(closed.is_err_and(|error| error.is_would_deadlock()));
        Ok(())
    };
    bus.register(close).unwrap().detach();
    let registering = {
        let bus = bus.clone();
        thread::spawn(move || register(&bus))
    };
    bus.dispatch(Second);
    // Kept: when it is dropped, its subscription ends anyway.
    let registered = registering.join().unwrap();
    if let Err(error) = &registered {
        assert!(error.is_closed(), "{error}");
    }
    let held = broker.health().subscriptions;
    assert_eq!(held, 0, "a closed bus has no subscription");
}

/// All listeners of a name are unregistered while a member of a group joins. It has joined, or has
/// ended.
fn a_member_joins() {
    let (broker, bus) = over();
    bus.register_type::<First>().unwrap();
    let joining = {
        let bus = bus.clone();
        thread::spawn(move || join_group(&bus).unwrap())
    };
    bus.unregister_all(First::NAME);
    let member = joining.join().unwrap();
    let held = broker.health().subscriptions;
    let expected = usize::from(!member.is_closed());
    assert_eq!(held, expected, "a member that ended has no subscription");
}

/// A type gets another name while a listener of it is registered: the listener has that name, or is
/// reported.
fn a_type_is_renamed() {
    let (_broker, bus) = over();
    bus.register_type::<First>().unwrap();
    let mut events = bus.events();
    let calls = Arc::new(AtomicUsize::new(0));
    let registering = {
        let (bus, calls) = (bus.clone(), Arc::clone(&calls));
        thread::spawn(move || {
            bus.register(move |_: &First, _: &Context| {
                calls.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
        })
    };
    bus.register_type_as::<First>("other").unwrap();
    let _listener = registering.join().unwrap().unwrap();
    bus.dispatch(First);
    let mut is_reported = false;
    while let Ok(event) = events.try_recv() {
        is_reported |= matches!(event, BusEvent::Renamed { .. });
    }
    assert!(
        is_reported || calls.load(Ordering::Relaxed) == 1,
        "a listener that gets nothing is reported"
    );
}

#[test]
fn a_listener_whose_type_gets_another_name_is_reported() {
    Schedules::new().hold(a_type_is_renamed);
}

#[test]
fn a_listener_looks_for_another_name_once_it_is_registered() {
    Schedules::new()
        .because(Why::Says("a listener that gets nothing is reported"))
        .find("bus::listener_is_renamed_unseen", a_type_is_renamed);
}

#[test]
fn a_name_is_subscribed_to_as_it_is_wanted() {
    Schedules::new().hold(a_listener_comes_as_another_goes);
}

#[test]
fn whether_a_name_is_wanted_is_looked_at_under_its_lock() {
    Schedules::new().because(Why::Says("there is")).find(
        "bus::name_is_wanted_before_the_lock",
        a_listener_comes_as_another_goes,
    );
}

#[test]
fn a_name_in_use_is_not_forgotten() {
    Schedules::new().because(Why::Says("there is")).find(
        "bus::name_is_forgotten_in_use",
        a_listener_comes_as_another_goes,
    );
}

#[test]
fn a_closed_bus_is_subscribed_to_nothing() {
    Schedules::new().hold(|| the_bus_closes(listen));
}

#[test]
fn a_closed_bus_is_in_no_group() {
    Schedules::new().hold(|| the_bus_closes(join_group));
}

#[test]
fn a_thread_that_has_joined_looks_whether_the_bus_has_closed() {
    Schedules::new()
        .because(Why::Says("a closed bus has no subscription"))
        .find("bus::member_joins_a_closed_bus", || {
            the_bus_closes(join_group)
        });
}

#[test]
fn a_member_that_ended_as_it_joined_has_no_subscription() {
    Schedules::new().hold(a_member_joins);
}

#[test]
fn a_member_that_ended_before_it_had_joined_leaves() {
    Schedules::new()
        .because(Why::Says("a member that ended has no subscription"))
        .find("bus::member_that_ended_stays", a_member_joins);
}
