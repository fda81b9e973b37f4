//! Channels of pub/sub: what is lost is reported, and what others publish is heard.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Foreign, LONG, RELEASES, config, connect, count, options, publish, quick};
use fanfeed_broker::{
    ConnectError, Message, PublishError, Start, Subscribe, SubscribeError, SubscribeOptions,
    SubscriberExt,
};
use fanfeed_redis::{Config, Mode};
use fanfeed_testkit::refusal::says;
use fanfeed_testkit::{Line, Proxy, RedisServer, Release, Tally, assert_is, scenario, wait_until};

fn pubsub(config: Config) -> Config {
    config.mode(Mode::PubSub)
}

#[test]
fn all_subscriptions_get_all_in_order() {
    for release in RELEASES {
        let server = RedisServer::start(release);
        let url = format!("{}?mode=pubsub", server.url());
        let (writer, reader) = (connect(quick(&url)), connect(quick(&url)));
        assert_eq!(reader.driver(), "redis-pubsub");
        let tallies: Vec<_> = (0..3).map(|_| Arc::new(Tally::new(5_000))).collect();
        let subscriptions: Vec<_> = tallies
            .iter()
            .map(|tally| {
                let options = SubscribeOptions::new().buffer(5_000);
                let request = Subscribe::new("all", count(tally)).options(options);
                reader.subscribe_with(request).unwrap()
            })
            .collect();
        publish(&writer, "all", 0..5_000);
        for tally in &tallies {
            tally.wait_complete(LONG);
            tally.assert_exactly_once();
            assert!(tally.order().is_sorted());
        }
        drop(subscriptions);
        // The channel is left when its last subscription ends.
        let mut foreign = Foreign::new(&server);
        wait_until("the server forgets the channel", || {
            foreign.run::<i64>("PUBLISH fanfeed:all x") == 0
        });
    }
}

#[test]
fn a_lost_connection_is_a_gap_of_each_subscription() {
    let server = RedisServer::start(Release::Old);
    let proxy = Proxy::start(server.address());
    let writer = connect(pubsub(config(&server)));
    let reader = connect(pubsub(quick(&server.url_through(proxy.address()))));
    let (one, two) = (Arc::new(Tally::new(20)), Arc::new(Tally::new(20)));
    let _one = reader.subscribe("one", count(&one)).unwrap();
    let _two = reader.subscribe("two", count(&two)).unwrap();
    publish(&writer, "one", 0..10);
    one.wait_for(10, LONG);
    let mut events = reader.events();
    proxy.refuse(true);
    proxy.cut();
    // Nobody hears these.
    publish(&writer, "one", 10..15);
    writer.flush(LONG).unwrap();
    proxy.refuse(false);
    let gaps = [(); 2].map(|()| scenario::gap(&mut events).1);
    assert_eq!(gaps, [None, None]);
    publish(&writer, "one", 15..20);
    publish(&writer, "two", 0..1);
    one.wait_for(15, LONG);
    two.wait_for(1, LONG);
    assert_eq!(one.order()[10..], [15, 16, 17, 18, 19]);
    assert_eq!(reader.stats().dropped, 2);
}

#[test]
fn a_line_that_stalls_is_left_and_reported() {
    let server = RedisServer::start(Release::Old);
    let proxy = Proxy::start(server.address());
    let url = server.url_through(proxy.address());
    let short = quick(&url).read_timeout(Duration::from_millis(300));
    let reader = connect(pubsub(short));
    let tally = Arc::new(Tally::new(10));
    let _subscription = reader.subscribe("k", count(&tally)).unwrap();
    let mut events = reader.events();
    proxy.stall(true);
    // The publishing side checks its connection more often, and may find its loss first.
    wait_until("the loss is seen", || {
        reader.health().inbound_fault.is_some()
    });
    proxy.stall(false);
    assert_eq!(scenario::gap(&mut events).1, None);
    let writer = connect(pubsub(config(&server)));
    publish(&writer, "k", 0..10);
    tally.wait_complete(LONG);
}

#[test]
fn a_message_whose_connection_was_lost_is_not_published_again() {
    let mut server = RedisServer::start(Release::Old);
    let writer = connect(pubsub(config(&server)));
    let mut events = writer.events();
    server.pause();
    let sent = writer.publish_confirmed(Message::new("k", "x"), Duration::from_secs(20));
    assert_is!(sent, Err(PublishError::Uncertain(_)));
    let (_, error) = scenario::publish_failed(&mut events);
    says(&error, &["before the server confirmed"]);
    server.resume();
    server.stop();
}

#[test]
fn a_slow_subscriber_loses_what_has_no_room_and_holds_nobody() {
    let server = RedisServer::start(Release::Old);
    let broker = connect(pubsub(config(&server)));
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let slow = move |_: &Message, _: &fanfeed_broker::Context| {
        let _ = gate.recv();
        Ok(())
    };
    let options = SubscribeOptions::new().buffer(4);
    let _slow = broker
        .subscribe_with(Subscribe::new("k", slow).options(options))
        .unwrap();
    let fast = Arc::new(Tally::new(500));
    let options = SubscribeOptions::new().buffer(500);
    let _fast = broker
        .subscribe_with(Subscribe::new("k", count(&fast)).options(options))
        .unwrap();
    publish(&broker, "k", 0..500);
    fast.wait_complete(LONG);
    wait_until("the drops are counted", || broker.stats().dropped >= 400);
    drop(go);
}

#[test]
fn what_others_publish_is_heard_and_what_is_too_large_is_reported() {
    let server = RedisServer::start(Release::New);
    let reader = connect(pubsub(config(&server).max_message(100)));
    let mut events = reader.events();
    let (tx, rx) = crossbeam_channel::unbounded();
    let _subscription = reader
        .subscribe("chat 42", move |message, _| {
            tx.send(message.clone())?;
            Ok(())
        })
        .unwrap();
    let mut foreign = Foreign::new(&server).0;
    for text in [&"x".repeat(200)[..], "fanfeed/1\nno head", "hello"] {
        let publish = redis::cmd("PUBLISH")
            .arg("fanfeed:chat%2042")
            .arg(text)
            .exec(&mut foreign);
        publish.unwrap();
    }
    assert_eq!(rx.recv_timeout(LONG).unwrap().payload(), "hello");
    for part in ["at most 100", "head"] {
        says(scenario::undecodable(&mut events), &[part]);
    }
}

#[test]
fn groups_and_old_messages_are_refused() {
    let server = RedisServer::start(Release::Old);
    let broker = connect(pubsub(config(&server)));
    let error = broker.subscribe_group("k", "g", |_, _| Ok(())).unwrap_err();
    assert_is!(error, SubscribeError::Unsupported(_));
    let options = SubscribeOptions::new().start(Start::After("1-0".into()));
    let old = Subscribe::new("k", |_: &Message, _: &fanfeed_broker::Context| Ok(()));
    let error = broker.subscribe_with(old.options(options)).unwrap_err();
    assert_is!(error, SubscribeError::Unsupported(_));
}

#[tokio::test]
async fn it_can_be_used_and_dropped_in_async_code() {
    let server = RedisServer::start(Release::Old);
    scenario::used_and_dropped(connect(pubsub(config(&server))));
}

#[test]
fn permissions() {
    let server = RedisServer::builder(Release::Old)
        .line("user deaf on >hunter2 ~* resetchannels +@all")
        .line("user mute on >hunter2 ~* &fanfeed:{* resetkeys +@all")
        .start();
    let user = |name: &str| pubsub(config(&server)).user(name).password("hunter2");
    // It may not even hear itself.
    let error = fanfeed_redis::connect(user("deaf"), options()).unwrap_err();
    assert_is!(error, ConnectError::Denied(text) if text.contains("channels of the prefix"));
    let broker = connect(user("mute"));
    let error = broker.subscribe("k", |_, _| Ok(())).unwrap_err();
    says(&error, &["channels of the prefix"]);
    let error = broker
        .publish_confirmed(Message::new("k", "x"), LONG)
        .unwrap_err();
    says(&error, &["channels of the prefix"]);
}

#[test]
fn a_permission_that_is_taken_away_is_told() {
    let server = RedisServer::builder(Release::Old)
        .line("user u on >hunter2 ~* &* +@all")
        .start();
    let broker = connect(pubsub(config(&server)).user("u").password("hunter2"));
    let tally = Arc::new(Tally::new(10));
    let subscription = broker.subscribe("k", count(&tally)).unwrap();
    let mut events = broker.events();
    let mut foreign = Foreign::new(&server);
    let () = foreign.run("ACL SETUSER u resetchannels");
    scenario::disconnected(&mut events);
    let () = foreign.run("ACL SETUSER u &*");
    wait_until("it is connected again", || broker.health().is_up());
    publish(&broker, "k", 0..10);
    tally.wait_complete(LONG);
    assert!(!subscription.is_closed());
}
