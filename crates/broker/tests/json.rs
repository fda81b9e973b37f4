//! Values published and received as JSON.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::eventually;
use crossbeam_channel::unbounded;
use fanfeed_broker::middleware::DeadLetter;
use fanfeed_broker::{
    Broker, BrokerExt, Context, Event, Handler, JsonHandler, MemoryBroker, Message, Publisher,
    Subscribe, SubscribeOptions, Subscriber, SubscriberExt,
};
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

const SOON: Duration = Duration::from_secs(10);

/// Subscribes the handler with options and inside a `DeadLetter`, and sends it a value and a
/// message that does not decode.
fn check_dead_letter(broker: &MemoryBroker, handler: impl Handler + 'static) -> Message {
    let (tx, rx) = unbounded();
    let _dead = broker
        .subscribe("dead", move |message, _| Ok(tx.send(message.clone())?))
        .unwrap();
    let handler = DeadLetter::new(Arc::new(broker.clone()), "dead", 3, handler);
    let options = SubscribeOptions::new().name("typed").concurrency(2);
    let request = Subscribe::new("orders", handler).options(options);
    let subscription = broker.subscribe_with(request).unwrap();
    assert_eq!(subscription.name(), Some("typed"));
    broker.publish(Message::new("orders", "no JSON")).unwrap();
    let dead = rx.recv_timeout(SOON).unwrap();
    broker.publish_json("orders", &7).unwrap();
    eventually("both are handled", || broker.stats().delivered == 3);
    dead
}

#[test]
fn a_typed_handler_takes_options_and_middleware() {
    let broker = MemoryBroker::new();
    let mut events = broker.events();
    let (tx, rx) = unbounded();
    let handler = JsonHandler::new(move |n: u32, _: &Context| Ok(tx.send(n)?));
    let dead = check_dead_letter(&broker, handler);
    assert_eq!(dead.payload(), &b"no JSON"[..]);
    assert_eq!(dead.headers().get("fanfeed-dead-key"), Some("orders"));
    assert_eq!(rx.recv_timeout(SOON), Ok(7));
    let undecodable = |event: &Event| matches!(event, Event::Undecodable { .. });
    assert_eq!(events.try_iter().filter(undecodable).count(), 1);
    assert_eq!(broker.stats().given_up, 0, "it has a dead letter");
}

#[cfg(feature = "tokio")]
mod asynchronous {
    use super::*;
    use fanfeed_broker::{AsyncBrokerExt, AsyncJsonHandler};

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn values_arrive_at_async_closures() {
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
        let mut events = broker.events();
        let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
        let in_group = tx.clone();
        let _plain = broker
            .subscribe_json_async("orders", move |order: Order| {
                let tx = tx.clone();
                async move { Ok(tx.send(order)?) }
            })
            .await
            .unwrap();
        let _member = broker
            .subscribe_group_json_async("orders", "g", move |order: Order| {
                let tx = in_group.clone();
                async move { Ok(tx.send(order)?) }
            })
            .await
            .unwrap();
        let bad = Message::new("orders", r#"{"id": "secret"}"#);
        broker.publish(bad).unwrap();
        let order = || Order {
            id: 7,
            items: vec!["tea".to_owned()],
        };
        broker.publish_json_async("orders", &order()).await.unwrap();
        for _ in 0..2 {
            let next = tokio::time::timeout(SOON, rx.recv()).await;
            assert_eq!(next.unwrap().unwrap(), order());
        }
        eventually("both are counted", || broker.stats().given_up == 2);
        let told = events.try_iter().filter(|event| {
            assert!(!event.to_string().contains("secret"));
            matches!(event, Event::Undecodable { .. })
        });
        assert_eq!(told.count(), 2);
    }

    #[test]
    fn an_async_typed_handler_takes_options_and_middleware() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let broker = MemoryBroker::new();
        let (tx, rx) = unbounded();
        let handler = AsyncJsonHandler::on(runtime.handle().clone(), move |n: u32| {
            let tx = tx.clone();
            async move { Ok(tx.send(n)?) }
        });
        let dead = check_dead_letter(&broker, handler);
        assert_eq!(dead.payload(), &b"no JSON"[..]);
        assert_eq!(rx.recv_timeout(SOON), Ok(7));
    }
}
