use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use fanfeed_broker::{Broker, Event as Happened, MemoryBroker};
use fanfeed_bus::{BusError, BusEvent, BusOptions, Context, Event, EventBus, GroupOptions};
use fanfeed_bus::{Register, RemoteOptions};

use super::hooked::Hooked;
use super::{Ordered, broker, bus, next, orders};
use crate::support::{LONG, Placed, until};

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
    let closing = bus.clone();
    let releasing = thread::spawn(move || {
        until(|| !closing.is_open());
        drop(go);
    });
    bus.close().unwrap();
    assert_eq!(rx.try_recv(), Ok(107));
    releasing.join().unwrap();
    assert!(listener.is_closed());

    let bus = super::bus(&broker);
    let listener = bus
        .listen_group("billing", |_: &Ordered, _: &Context<'_>| Ok(()))
        .unwrap();
    assert_eq!(bus.unregister_all(Ordered::NAME), 1);
    assert!(listener.is_closed());
    until(|| broker.health().subscriptions == 0);
}

/// A bus with one thread, which its listener of [`Placed`] occupies. The listener sends to the
/// receiver when it runs, and returns when the sender is dropped.
fn with_a_thread_to_occupy(broker: Arc<MemoryBroker>) -> (EventBus, Receiver<()>, Sender<()>) {
    let one_thread = BusOptions::new().threads(1).limit(1);
    let bus = RemoteOptions::new().bus(one_thread).over(broker);
    bus.register_type::<Ordered>().unwrap();
    let (begun, began) = unbounded();
    let (go, gate) = bounded::<()>(0);
    let listener = Register::event(move |_: &Placed, _: &Context<'_>| {
        begun.send(())?;
        let _ = gate.recv();
        Ok(())
    });
    bus.register_with(listener.asynchronous()).unwrap().detach();
    (bus, began, go)
}

/// Guards against an event that was acknowledged because its listener, which had ended before its
/// turn, had not failed. And against a group that gave it up, because this counted as its only
/// attempt.
#[test]
fn an_event_whose_listener_ends_before_its_turn_goes_to_another_member() {
    let broker = broker();
    let (leaving, began, go) = with_a_thread_to_occupy(broker.clone());
    let (tx, rx) = unbounded();
    let to = |at: &'static str| {
        let tx = tx.clone();
        move |event: &Ordered, _: &Context<'_>| Ok(tx.send((at, event.order))?)
    };
    let once = GroupOptions::new().attempts(1);
    let leaver = Register::event(to("leaver"))
        .group_with("billing", once)
        .asynchronous();
    let leaver = leaving.register_with(leaver).unwrap();
    leaving.dispatch(Placed(1));
    next(&began);
    let other = bus(&broker);
    other.dispatch(Ordered { order: 7 });
    // The event waits for the thread.
    until(|| leaving.pending() == 2);
    let _other = other.listen_group("billing", to("other")).unwrap();
    leaver.unsubscribe();
    drop(go);
    assert_eq!(next(&rx), ("other", 7));
    leaving.close().unwrap();
    assert_eq!(broker.stats().given_up, 0);
}

/// Guards against an event that a group gave up because a member, whose bus was being closed, had
/// refused it.
#[test]
fn an_event_that_a_closed_bus_refuses_goes_to_another_member() {
    let (subscribed, answer) = (unbounded(), bounded::<()>(0));
    let broker = Hooked::new(move |_| {
        subscribed.0.send(()).unwrap();
        let _ = answer.1.recv();
    });
    let leaving = EventBus::over(broker.clone());
    leaving.register_type::<Ordered>().unwrap();
    let listening = {
        let leaving = leaving.clone();
        thread::spawn(move || {
            let options = GroupOptions::new()
                .attempts(1)
                .backoff(Duration::from_millis(10));
            let member = Register::event(|_: &Ordered, _: &Context<'_>| Ok(()));
            leaving.register_with(member.group_with("billing", options))
        })
    };
    // The member is live at the broker, and the bus does not have its subscription yet.
    next(&subscribed.1);
    leaving.close().unwrap();
    let other = bus(&broker.inner());
    other.dispatch(Ordered { order: 7 });
    until(|| broker.inner().health().pending == 0);
    let (tx, rx) = unbounded();
    let listener = move |event: &Ordered, _: &Context<'_>| Ok(tx.send(event.order)?);
    let _other = other.listen_group("billing", listener).unwrap();
    drop(answer.0);
    assert!(listening.join().unwrap().is_err());
    assert_eq!(next(&rx), 7);
    assert_eq!(broker.inner().stats().given_up, 0);
    assert!(leaving.errors().is_empty(), "{:?}", leaving.errors());
}

/// Guards against an event whose only attempt was one that the deadline of `close_timeout` had
/// ended.
#[test]
fn an_event_that_waits_for_a_thread_at_the_deadline_goes_to_another_member() {
    let broker = broker();
    let (leaving, began, go) = with_a_thread_to_occupy(broker.clone());
    let once = GroupOptions::new().attempts(1);
    let member = Register::event(|_: &Ordered, _: &Context<'_>| Ok(()));
    let member = member.group_with("billing", once).asynchronous();
    leaving.register_with(member).unwrap().detach();
    leaving.dispatch(Placed(1));
    next(&began);
    let other = bus(&broker);
    other.dispatch(Ordered { order: 7 });
    until(|| leaving.pending() == 2);
    let (tx, rx) = unbounded();
    let listener = move |event: &Ordered, _: &Context<'_>| Ok(tx.send(event.order)?);
    let _other = other.listen_group("billing", listener).unwrap();
    let closed = leaving.close_timeout(Duration::from_millis(20));
    assert!(closed.unwrap_err().is_timeout());
    assert_eq!(next(&rx), 7);
    assert_eq!(broker.stats().given_up, 0);
    drop(go);
}

/// Guards against members that a bus which was being closed told to end one after another.
#[test]
fn all_members_leave_a_bus_that_is_closed_though_one_of_them_is_busy() {
    let broker = broker();
    let (closing, other) = (bus(&broker), bus(&broker));
    let (begun, began) = unbounded();
    let (go, gate) = bounded::<()>(0);
    let busy = move |_: &Ordered, _: &Context<'_>| {
        begun.send(())?;
        let _ = gate.recv();
        Ok(())
    };
    closing.listen_group("busy", busy).unwrap().detach();
    let idle = |_: &Ordered, _: &Context<'_>| Ok(());
    closing.listen_group("idle", idle).unwrap().detach();
    let _plain = orders(&closing);
    other.dispatch(Ordered { order: 1 });
    next(&began);
    let close = {
        let closing = closing.clone();
        thread::spawn(move || closing.close())
    };
    until(|| broker.health().subscriptions == 0);
    let (tx, rx) = unbounded();
    let listener = move |event: &Ordered, _: &Context<'_>| Ok(tx.send(event.order)?);
    let _idle = other.listen_group("idle", listener).unwrap();
    other.dispatch(Ordered { order: 2 });
    assert_eq!(next(&rx), 2);
    drop(go);
    close.join().unwrap().unwrap();
}

/// Guards against members that stayed at the broker and refused each event, because `close` had
/// given up.
#[test]
fn a_bus_that_is_closed_inside_a_listener_hears_other_processes_no_more() {
    let broker = broker();
    let (closing, other) = (bus(&broker), bus(&broker));
    let (tx, rx) = unbounded();
    let close = move |_: &Ordered, context: &Context<'_>| Ok(tx.send(context.bus().close())?);
    closing.register(close).unwrap().detach();
    let idle = |_: &Ordered, _: &Context<'_>| Ok(());
    closing.listen_group("idle", idle).unwrap().detach();
    other.dispatch(Ordered { order: 1 });
    assert!(matches!(next(&rx), Err(BusError::WouldDeadlock)));
    until(|| broker.health().subscriptions == 0);
    let refused = closing.listen_group("idle", idle).unwrap_err();
    assert!(refused.is_closed(), "{refused}");
    closing.close().unwrap();
}

#[test]
fn a_member_handles_as_many_events_at_once_as_it_is_told_to() {
    let bus = bus(&broker());
    let (begun, began) = unbounded();
    let (go, gate) = bounded::<()>(0);
    let blocked = move |event: &Ordered, _: &Context<'_>| {
        begun.send(event.order)?;
        let _ = gate.recv();
        Ok(())
    };
    let options = GroupOptions::new().concurrency(3);
    let blocked = Register::event(blocked).group_with("billing", options);
    bus.register_with(blocked).unwrap().detach();
    for order in 0..4 {
        bus.dispatch(Ordered { order });
    }
    let mut first = [(); 3].map(|()| next(&began));
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2]);
    assert!(began.recv_timeout(Duration::from_millis(50)).is_err());
    drop(go);
    assert_eq!(next(&began), 3);
    bus.close().unwrap();
}

#[test]
fn a_group_gives_an_event_up_after_as_many_attempts_as_it_is_told() {
    let bus = bus(&broker());
    let mut events = bus.events();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let fails = move |_: &Ordered, _: &Context<'_>| {
        counted.fetch_add(1, Ordering::Relaxed);
        Err("no".into())
    };
    let options = GroupOptions::new()
        .attempts(3)
        .backoff(Duration::from_millis(1));
    let fails = Register::event(fails).group_with("billing", options);
    bus.register_with(fails).unwrap().detach();
    bus.dispatch(Ordered { order: 7 });
    while !matches!(
        events.recv_timeout(LONG).unwrap(),
        BusEvent::Broker(Happened::GaveUp { .. })
    ) {}
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert_eq!(bus.errors().len(), 3);
    bus.close().unwrap();
}

/// Guards against a member that could read nothing, and gave up what waited for the group.
#[test]
fn a_member_whose_name_has_no_type_yet_is_refused_and_told_what_would_be_right() {
    let broker = broker();
    let bus = EventBus::over(broker.clone());
    let listener = |_: &Ordered, _: &Context<'_>| Ok(());
    let refused = bus.listen_group("billing", listener).unwrap_err();
    assert!(
        matches!(&refused, BusError::NotSubscribed(text)
            if text.contains("order.ordered") && text.contains("`register_type`")),
        "{refused}"
    );
    assert_eq!(broker.health().subscriptions, 0);
    bus.register_type_as::<Ordered>("order.ordered.v2").unwrap();
    let member = bus.listen_group("billing", listener).unwrap();
    assert_eq!(broker.health().subscriptions, 1);
    drop(member);
    bus.close().unwrap();
}

#[test]
fn options_of_a_group_that_make_no_sense_are_refused() {
    let bus = bus(&broker());
    let listener = |_: &Ordered, _: &Context<'_>| Ok(());
    let options = GroupOptions::new().concurrency(0);
    let register = Register::event(listener).group_with("billing", options);
    let refused = bus.register_with(register).unwrap_err();
    assert!(refused.to_string().contains("at least 1"), "{refused}");
}
