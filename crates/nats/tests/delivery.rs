//! What operators and other programs see, and what the contract asks beyond the suite.

mod common;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_nats::HeaderMap;
use common::{LONG, RELEASES, connect, core, count, jetstream, publish, quick, with_jetstream};
use fanfeed_broker::{
    Context, Drivers, Event, HandlerError, Message, Start, Subscribe, SubscribeOptions,
    SubscriberExt,
};
use fanfeed_nats::Mode;
use fanfeed_testkit::refusal::says;
use fanfeed_testkit::{NatsServer, Release, Tally, scenario, wait_until};
use futures_core::Stream;
use serde_json::Value;

/// Another program: the client library alone.
struct Foreign {
    runtime: tokio::runtime::Runtime,
    client: async_nats::Client,
}

impl Foreign {
    fn new(server: &NatsServer) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = runtime.block_on(async_nats::connect(server.url())).unwrap();
        Foreign { runtime, client }
    }

    fn ask(&self, subject: &str) -> Value {
        let answer = self
            .runtime
            .block_on(self.client.request(subject.to_owned(), "".into()))
            .unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }

    /// Returns when the server knows the subscription.
    fn subscribe(&self, subject: &str) -> async_nats::Subscriber {
        let echo = self.client.new_inbox();
        self.runtime.block_on(async {
            let subscriber = self.client.subscribe(subject.to_owned()).await.unwrap();
            let mut echoes = self.client.subscribe(echo.clone()).await.unwrap();
            self.client.publish(echo, "".into()).await.unwrap();
            next(&mut echoes).await;
            subscriber
        })
    }

    fn next(&self, subscriber: &mut async_nats::Subscriber) -> async_nats::Message {
        let next = async { tokio::time::timeout(LONG, next(subscriber)).await };
        self.runtime.block_on(next).expect("it comes in time")
    }

    fn publish(&self, subject: &str, headers: HeaderMap, payload: &str) {
        self.runtime.block_on(async {
            let payload = payload.to_owned().into();
            let sent = self
                .client
                .publish_with_headers(subject.to_owned(), headers, payload);
            sent.await.unwrap();
            self.client.flush().await.unwrap();
        });
    }
}

async fn next(subscriber: &mut async_nats::Subscriber) -> async_nats::Message {
    let next = poll_fn(|context| Pin::new(&mut *subscriber).poll_next(context));
    next.await.expect("the subscription goes on")
}

#[test]
fn a_thousand_subscriptions_are_live_when_they_are_returned() {
    for release in RELEASES {
        let server = NatsServer::start(release);
        let (reader, writer) = (connect(core(&server)), connect(core(&server)));
        let tally = Arc::new(Tally::new(1_000));
        let mut subscriptions = Vec::new();
        for number in 0..1_000 {
            let key = format!("k.{number}");
            subscriptions.push(reader.subscribe(&*key, count(&tally)).unwrap());
            writer
                .publish(Message::new(key, number.to_string()))
                .unwrap();
        }
        tally.wait_complete(LONG);
        tally.assert_exactly_once();
    }
}

#[test]
fn a_message_of_core_needs_no_headers_for_its_identity_and_time() {
    let server = NatsServer::start(Release::New);
    let foreign = Foreign::new(&server);
    let mut theirs = foreign.subscribe("fanfeed.k.k");
    let (reader, writer) = (connect(core(&server)), connect(core(&server)));
    let (tx, rx) = crossbeam_channel::unbounded();
    let _plain = reader
        .subscribe("k", move |message, _| Ok(tx.send(message.clone())?))
        .unwrap();
    let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let (chosen, named) = (Message::new("k", "1"), Message::new("k", "2"));
    let (chosen, named) = (chosen.with_id("order-7"), named.name("Placed"));
    for (sent, has_headers) in [
        (Message::new("k", "0"), false),
        (chosen, false),
        (Message::new("k", "").with_id("a b"), true),
        (named, true),
    ] {
        let sent = sent.with_timestamp(time);
        writer.publish(sent.clone()).unwrap();
        let got = rx.recv_timeout(LONG).unwrap();
        assert_eq!(got.id(), sent.id());
        assert_eq!(got.timestamp(), time);
        assert_eq!(got.event_name(), sent.event_name());
        let seen = foreign.next(&mut theirs);
        assert_eq!(seen.payload, sent.payload());
        assert_eq!(seen.headers.is_some(), has_headers);
        let reply = format!("fanfeed.m.{}.1700000000123", sent.id());
        let expected = (!has_headers).then_some(&*reply);
        assert_eq!(seen.reply.as_deref(), expected);
    }
}

#[test]
fn lean_messages_have_only_what_somebody_chose() {
    let server = with_jetstream(Release::New);
    let foreign = Foreign::new(&server);
    for mode in [Mode::Core, Mode::JetStream] {
        // The readers need not know of it.
        let reader = connect(quick(&server.url()).mode(mode));
        let writer = connect(quick(&server.url()).mode(mode).lean(true));
        let mut theirs = foreign.subscribe("fanfeed.k.lean");
        let (tx, rx) = crossbeam_channel::unbounded();
        let _plain = reader
            .subscribe("lean", move |message, _| Ok(tx.send(message.clone())?))
            .unwrap();
        let old = UNIX_EPOCH + Duration::from_secs(1);
        let sent = Message::new("lean", "0").with_timestamp(old);
        let receipt = writer.publish_confirmed(sent.clone(), LONG).unwrap();
        assert_eq!(receipt.id, *sent.id());
        let got = rx.recv_timeout(LONG).unwrap();
        assert_eq!(got.payload(), sent.payload());
        assert!(got.timestamp().elapsed().unwrap() < LONG, "{got:?}");
        match receipt.position {
            Some(position) => {
                let stored = got.timestamp().duration_since(UNIX_EPOCH).unwrap();
                let id = format!("fanfeed:{position}:{}", stored.as_nanos());
                assert_eq!(got.id().to_string(), id);
            }
            None => assert!(got.id().is_generated() && got.id() != sent.id()),
        }
        assert!(foreign.next(&mut theirs).headers.is_none());
        for sent in [
            Message::new("lean", "1").with_id("order-7"),
            Message::new("lean", "2").name("Placed"),
            Message::new("lean", "3").header("a", "b"),
        ] {
            writer.publish(sent.clone()).unwrap();
            let got = rx.recv_timeout(LONG).unwrap();
            assert_eq!(got.id(), sent.id());
            assert_eq!(got.headers(), sent.headers());
            assert_eq!(got.event_name(), sent.event_name());
        }
    }
}

#[test]
fn what_other_programs_write_is_delivered() {
    let server = with_jetstream(Release::Old);
    let foreign = Foreign::new(&server);
    for mode in [Mode::Core, Mode::JetStream] {
        let broker = connect(quick(&server.url()).mode(mode).max_message(100));
        let (tx, rx) = crossbeam_channel::unbounded();
        let _plain = broker
            .subscribe("chat.42", move |message, _| Ok(tx.send(message.clone())?))
            .unwrap();
        let mut events = broker.events();
        let mut headers = HeaderMap::new();
        headers.insert("lang", "en");
        headers.insert("Fanfeed-Name", "MessagePosted");
        foreign.publish("fanfeed.k.chat.42", headers, "hello");
        let message = rx.recv_timeout(LONG).unwrap();
        assert_eq!(message.event_name(), Some("MessagePosted"));
        assert_eq!(message.headers().get("lang"), Some("en"));
        assert_eq!(message.payload(), &b"hello"[..]);

        let mut headers = HeaderMap::new();
        headers.insert("Fanfeed-Time", "noon");
        foreign.publish("fanfeed.k.chat.42", headers, "bad");
        foreign.publish("fanfeed.k.chat.42", HeaderMap::new(), &"x".repeat(200));
        foreign.publish("fanfeed.k.chat.42", HeaderMap::new(), "last");
        assert_eq!(rx.recv_timeout(LONG).unwrap().payload(), &b"last"[..]);
        for part in ["Fanfeed-Time", "at most 100"] {
            says(scenario::undecodable(&mut events), &[part]);
        }
    }
}

#[test]
fn a_message_that_means_something_to_the_server_is_only_a_message() {
    let server = with_jetstream(Release::New);
    let broker = connect(jetstream(&server));
    let tally = Arc::new(Tally::new(3));
    let counting = count(&tally);
    let _plain = broker
        .subscribe("k", move |message, context| {
            assert_eq!(message.headers().get("Nats-Rollup"), Some("all"));
            counting(message, context)
        })
        .unwrap();
    for number in 0..3 {
        let message = Message::new("k", number.to_string()).header("Nats-Rollup", "all");
        broker.publish_confirmed(message, LONG).unwrap();
    }
    tally.wait_complete(LONG);
    let info = Foreign::new(&server).ask("$JS.API.STREAM.INFO.fanfeed");
    assert_eq!(info["state"]["messages"], 3);
}

#[test]
fn a_message_may_be_passed_on_under_another_key_and_is_stored_once_under_one() {
    let server = with_jetstream(Release::Old);
    let broker = connect(jetstream(&server));
    let message = Message::new("one", "x");
    let first = broker.publish_confirmed(message.clone(), LONG).unwrap();
    let again = broker.publish_confirmed(message.clone(), LONG).unwrap();
    assert_eq!(first.position, again.position);
    let other = broker
        .publish_confirmed(message.with_key("two"), LONG)
        .unwrap();
    assert_ne!(first.position, other.position);
}

#[test]
fn operators_find_groups_and_dead_letters_by_their_names() {
    for release in RELEASES {
        let server = with_jetstream(release);
        let broker = connect(jetstream(&server));
        let _member = scenario::rejects_one(&broker, "chat.42", "mail");
        let foreign = Foreign::new(&server);
        wait_until("everything is acknowledged", || {
            let info = foreign.ask("$JS.API.CONSUMER.INFO.fanfeed.mail@chat=2E42");
            info["num_ack_pending"] == 0 && info["ack_floor"]["stream_seq"] == 3
        });
        wait_until("the rejected message is with the dead", || {
            let info = foreign.ask("$JS.API.STREAM.INFO.fanfeed=dead");
            info["state"]["messages"] == 1
        });
        let request = r#"{"last_by_subj":"fanfeed.d.mail.chat.42"}"#;
        let answer = foreign
            .runtime
            .block_on(
                foreign
                    .client
                    .request("$JS.API.STREAM.MSG.GET.fanfeed=dead", request.into()),
            )
            .unwrap();
        let letter: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(letter["message"]["data"], "MQ==", "{letter}");
    }
}

/// The stream of the dead is gone, and somebody else listens to its subjects and says nothing.
#[test]
fn a_burial_that_nobody_answers_is_tried_again() {
    let server = with_jetstream(Release::Old);
    let broker = connect(jetstream(&server).answer_timeout(Duration::from_millis(300)));
    let handled = Arc::new(Tally::new(2));
    let counting = count(&handled);
    let rejecting = move |message: &Message, context: &Context| {
        counting(message, context)?;
        Err(HandlerError::Reject)
    };
    let _member = broker.subscribe_group("k", "g", rejecting).unwrap();
    let others = Arc::new(Tally::new(10));
    let _other = broker
        .subscribe_group("other", "g", count(&others))
        .unwrap();
    let mut events = broker.events();
    let foreign = Foreign::new(&server);
    let letters = || foreign.ask("$JS.API.STREAM.INFO.fanfeed=dead")["state"]["messages"].clone();
    publish(&broker, "k", 0..1);
    wait_until("the first is with the dead", || letters() == 1);
    let listening = foreign.client.subscribe("fanfeed.d.>");
    let _listener = foreign.runtime.block_on(listening).unwrap();
    foreign.ask("$JS.API.STREAM.DELETE.fanfeed=dead");
    publish(&broker, "k", 1..2);
    publish(&broker, "other", 0..10);
    others.wait_complete(LONG);
    wait_until("the second is with the dead", || letters() == 1);
    wait_until("both are acknowledged", || {
        let info = foreign.ask("$JS.API.CONSUMER.INFO.fanfeed.g@k");
        info["num_ack_pending"] == 0 && info["ack_floor"]["consumer_seq"] == 2
    });
    handled.assert_exactly_once();
    let is_lost = |event| matches!(event, Event::Disconnected { .. });
    assert!(!events.try_iter().any(is_lost));
}

#[test]
fn a_leaving_subscription_leaves_no_consumer() {
    let server = with_jetstream(Release::Old);
    let broker = connect(jetstream(&server));
    let foreign = Foreign::new(&server);
    let consumers = || {
        let info = foreign.ask("$JS.API.STREAM.INFO.fanfeed");
        info["state"]["consumer_count"].as_u64().unwrap()
    };
    let subscription = broker.subscribe("k", |_, _| Ok(())).unwrap();
    assert_eq!(consumers(), 1);
    drop(subscription);
    wait_until("the consumer is gone", || consumers() == 0);
}

#[test]
fn a_group_begins_where_it_is_told_and_goes_on_where_it_was() {
    let server = with_jetstream(Release::New);
    let broker = connect(jetstream(&server));
    publish(&broker, "k", 0..10);
    broker.flush(LONG).unwrap();
    let tally = Arc::new(Tally::new(20));
    let join = || {
        let options = SubscribeOptions::new().start(Start::Earliest);
        let request = Subscribe::new("k", count(&tally))
            .group("g")
            .options(options);
        broker.subscribe_with(request).unwrap()
    };
    let member = join();
    tally.wait_for(10, LONG);
    drop(member);
    publish(&broker, "k", 10..20);
    broker.flush(LONG).unwrap();
    let _member = join();
    tally.wait_complete(LONG);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_used_and_dropped_inside_a_runtime() {
    let server = with_jetstream(Release::Old);
    for mode in ["core", "jetstream"] {
        let url = format!("{}?mode={mode}", server.url());
        let broker = Drivers::new()
            .with(fanfeed_nats::driver())
            .connect(&url)
            .unwrap();
        assert_eq!(broker.driver(), format!("nats-{mode}"));
        scenario::used_and_dropped(broker);
    }
}

#[tokio::test]
async fn a_broker_is_used_and_dropped_inside_a_runtime_of_one_thread() {
    let server = NatsServer::start(Release::New);
    let broker = connect(core(&server));
    let tally = Arc::new(Tally::new(10));
    let _subscription = broker.subscribe("k", count(&tally)).unwrap();
    publish(&broker, "k", 0..10);
    tally.wait_complete(LONG);
    broker.close(LONG).unwrap();
}
