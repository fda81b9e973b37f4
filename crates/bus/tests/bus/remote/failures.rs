use std::sync::Arc;

use crossbeam_channel::unbounded;
use fanfeed_broker::{Broker, Event as Happened, Message, MessageId, Publisher};
use fanfeed_bus::{BusError, BusEvent, Context, EventBus, Register};

use super::hooked::Hooked;
use super::{Ordered, TheirOrdered, next, orders};
use crate::support::{LONG, until};

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
