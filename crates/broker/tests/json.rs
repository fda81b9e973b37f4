//! Values published and received as JSON.

mod common;

use std::time::Duration;

use common::eventually;
use crossbeam_channel::unbounded;
use fanfeed_broker::{Broker, BrokerExt, Event, MemoryBroker, Message, Publisher};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    items: Vec<String>,
}

#[test]
fn values_arrive_and_what_does_not_decode_is_reported_without_its_content() {
    let broker = MemoryBroker::new();
    let mut events = broker.events();
    let (tx, rx) = unbounded();
    let in_group = tx.clone();
    let _plain = broker
        .subscribe_json("orders", move |order: Order, _| Ok(tx.send(order)?))
        .unwrap();
    let _member = broker
        .subscribe_group_json("orders", "g", move |order: Order, _| {
            Ok(in_group.send(order)?)
        })
        .unwrap();
    broker
        .publish(Message::new("orders", r#"{"id": "secret"}"#))
        .unwrap();
    let order = || Order {
        id: 7,
        items: vec!["tea".to_owned()],
    };
    broker.publish_json("orders", &order()).unwrap();
    for _ in 0..2 {
        assert_eq!(rx.recv_timeout(Duration::from_secs(10)).unwrap(), order());
    }
    let mut reported = 0;
    eventually("both are reported", || {
        reported += events
            .try_iter()
            .filter(|event| {
                assert!(!event.to_string().contains("secret"));
                matches!(event, Event::Undecodable { .. })
            })
            .count();
        reported == 2
    });
    eventually("both are counted", || broker.stats().given_up == 2);
}
