//! What cannot be used is refused within its time, and says what would be right.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{Cluster, LONG, connect, options};
use fanfeed_broker::{
    BrokerSubscription, ConnectError, Message, PublishError, Start, Subscribe, SubscribeError,
    SubscribeOptions, SubscriberExt,
};
use fanfeed_kafka::Config;
use fanfeed_testkit::refusal::{self, SECRET, saying, says};
use fanfeed_testkit::server::free_port;
use fanfeed_testkit::{assert_is, scenario, wait_until};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

/// The dial timeout of these tests, and a second more.
const SOON: Duration = Duration::from_secs(4);

fn refused(config: Config, limit: Duration) -> ConnectError {
    refusal::refused(limit, || fanfeed_kafka::connect(config, options()))
}

/// A server that gives each connection to `serve`.
fn server(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(connection) = connection else { return };
            thread::spawn(move || serve(connection));
        }
    });
    address
}

fn at(address: SocketAddr) -> Config {
    Config::new([address.to_string()]).dial_timeout(Duration::from_secs(3))
}

#[test]
fn nobody_there() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let error = refused(at(address), Duration::from_secs(3));
    assert_is!(error, ConnectError::Unreachable { .. });
    says(&error, &[&address.to_string()]);
}

#[test]
fn nobody_answers() {
    let config = at(saying("")).dial_timeout(Duration::from_millis(700));
    let error = refused(config, Duration::from_secs(3));
    assert_is!(error, ConnectError::Timeout { .. });
}

#[test]
fn another_protocol() {
    for serve in [
        (|mut connection: TcpStream| {
            let mut bytes = [0; 64];
            let _ = connection.read(&mut bytes);
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            let _ = connection.read(&mut bytes);
        }) as fn(TcpStream),
        |mut connection| {
            let mut bytes = [0; 64];
            let _ = connection.read(&mut bytes);
        },
    ] {
        let error = refused(at(server(serve)), SOON);
        assert_is!(error, ConnectError::WrongProtocol(_));
    }
}

/// Reads one request, and returns its kind, its version and its number.
fn request(connection: &mut TcpStream) -> Option<(i16, i16, [u8; 4])> {
    let mut size = [0; 4];
    connection.read_exact(&mut size).ok()?;
    let mut body = vec![0; u32::from_be_bytes(size) as usize];
    connection.read_exact(&mut body).ok()?;
    let short = |at: usize| i16::from_be_bytes([body[at], body[at + 1]]);
    Some((short(0), short(2), [body[4], body[5], body[6], body[7]]))
}

fn answer(connection: &mut TcpStream, number: [u8; 4], body: &[u8]) {
    let mut bytes = (body.len() as u32 + 4).to_be_bytes().to_vec();
    bytes.extend(number);
    bytes.extend(body);
    let _ = connection.write_all(&bytes);
}

/// A server that takes no password.
fn refuse_password(mut connection: TcpStream) {
    while let Some((kind, version, number)) = request(&mut connection) {
        match kind {
            // ApiVersions: that version is not known; then the kinds of requests that are.
            18 if version > 0 => answer(
                &mut connection,
                number,
                &[0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 0],
            ),
            18 => {
                let mut body = vec![0, 0];
                let kinds: [(u16, u16); 5] = [(18, 0), (17, 1), (36, 0), (3, 1), (22, 0)];
                body.extend((kinds.len() as u32).to_be_bytes());
                for (kind, most) in kinds {
                    body.extend([kind, 0, most].iter().flat_map(|n| n.to_be_bytes()));
                }
                answer(&mut connection, number, &body);
            }
            // SaslHandshake: PLAIN is known.
            17 => answer(&mut connection, number, b"\0\0\0\0\0\x01\0\x05PLAIN"),
            // SaslAuthenticate: refused, with a text that repeats the password.
            _ => {
                let text = format!("wrong password {SECRET}");
                let mut body = vec![0, 58, 0, text.len() as u8];
                body.extend(text.as_bytes());
                body.extend([0; 4]);
                answer(&mut connection, number, &body);
            }
        }
    }
}

#[test]
fn the_password_is_refused() {
    let config = at(server(refuse_password)).user("ann", SECRET);
    let error = refused(config, SOON);
    assert_is!(error, ConnectError::Denied(_));
    says(&error, &["wrong password <redacted>"]);
}

#[test]
fn too_old() {
    let cluster = Cluster::start(1);
    // As in Kafka 0.10: no producer ids.
    cluster
        .mock()
        .apiversion(RDKafkaApiKey::InitProducerId, None, None)
        .unwrap();
    let error = refused(cluster.config(), SOON);
    assert_is!(error, ConnectError::TooOld { .. });
    says(&error, &["0.11"]);
}

#[test]
fn a_property_that_librdkafka_does_not_know() {
    let error = refused(
        Config::new(["localhost:1"]).property("no.such", SECRET),
        SOON,
    );
    assert_is!(error, ConnectError::BadConfig(_));
    says(&error, &["no.such"]);
}

#[test]
fn a_lazy_broker_connects_when_the_cluster_is_there() {
    let cluster = Cluster::start(1);
    cluster.mock().broker_down(1).unwrap();
    let broker = fanfeed_kafka::connect(cluster.config(), options().lazy(true)).unwrap();
    let (sender, receiver) = crossbeam_channel::unbounded();
    let subscription = broker
        .subscribe("k", move |message, _| Ok(sender.send(message.clone())?))
        .unwrap();
    assert!(subscription.ready(Duration::from_millis(100)).is_err());
    cluster.mock().broker_up(1).unwrap();
    subscription.ready(LONG).unwrap();
    fanfeed_broker::Publisher::publish(&broker, Message::new("k", "x")).unwrap();
    assert_eq!(receiver.recv_timeout(LONG).unwrap().payload(), &b"x"[..]);
}

fn foreign(cluster: &Cluster) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", cluster.servers().join(","))
        .set("message.max.bytes", "3000000")
        .create()
        .unwrap()
}

#[test]
fn what_is_too_large_is_refused_here_and_skipped_on_receipt() {
    let cluster = Cluster::start(1);
    cluster.topic("k", 1);
    let broker = connect(cluster.config().max_message(1000));
    let error = broker
        .publish(Message::new("k", vec![0; 1000]))
        .unwrap_err();
    assert_is!(
        error,
        PublishError::TooLarge {
            size: 1001,
            limit: 1000
        }
    );
    let (sender, receiver) = crossbeam_channel::unbounded();
    let (plain, group) = (sender.clone(), sender);
    let _plain = broker
        .subscribe("k", move |message, _| {
            Ok(plain.send(message.payload().len())?)
        })
        .unwrap();
    let _group = broker
        .subscribe_group("k", "g", move |message, _| {
            Ok(group.send(message.payload().len())?)
        })
        .unwrap();
    let mut events = broker.events();
    let producer = foreign(&cluster);
    let large = vec![0; 2_000_000];
    for payload in [&large[..], b"fits"] {
        producer
            .send(BaseRecord::<(), _>::to("k").payload(payload))
            .unwrap();
    }
    producer.flush(LONG).unwrap();
    for _ in 0..2 {
        says(scenario::undecodable(&mut events), &["at most 1000"]);
    }
    assert_eq!(receiver.recv_timeout(LONG), Ok(4));
    assert_eq!(receiver.recv_timeout(LONG), Ok(4));
}

#[test]
fn records_of_other_programs_are_messages() {
    let cluster = Cluster::start(1);
    cluster.topic("chat.42", 1);
    let broker = cluster.connect();
    let (sender, receiver) = crossbeam_channel::unbounded();
    let _plain = broker
        .subscribe("chat.42", move |message, _| {
            Ok(sender.send(message.clone())?)
        })
        .unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "trace",
            value: Some("7"),
        })
        .insert(Header {
            key: "ff-name",
            value: Some("Posted"),
        });
    let producer = foreign(&cluster);
    let record = BaseRecord::<(), _>::to("chat.42")
        .payload("hello")
        .headers(headers);
    producer.send(record).unwrap();
    producer
        .send(BaseRecord::<str, ()>::to("chat.42").key("tombstone"))
        .unwrap();
    producer.flush(LONG).unwrap();
    let message = receiver.recv_timeout(LONG).unwrap();
    assert_eq!(
        (message.event_name(), message.headers().get("trace")),
        (Some("Posted"), Some("7"))
    );
    assert_eq!(message.id().to_string(), "chat.42/0@0");
    assert!(receiver.recv_timeout(LONG).unwrap().payload().is_empty());
}

#[test]
fn positions_that_make_no_sense_are_refused() {
    let cluster = Cluster::start(1);
    let broker = cluster.connect();
    for position in ["yesterday", "9@1", "0@-1"] {
        let request = Subscribe::new("k", |_: &Message, _: &fanfeed_broker::Context| Ok(()));
        let request = request.options(SubscribeOptions::new().start(Start::After(position.into())));
        let error = broker.subscribe_with(request).unwrap_err();
        assert_is!(error, SubscribeError::Refused(_));
    }
}

#[test]
fn a_topic_that_may_not_be_written_fails_its_messages_alone() {
    let cluster = Cluster::start(1);
    let broker = cluster.connect();
    cluster.topic("secret", 1);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.mock().topic_error("secret", denied).unwrap();
    let mut events = broker.events();
    broker.publish(Message::new("secret", "x")).unwrap();
    broker.publish(Message::new("open", "x")).unwrap();
    let failed = scenario::publish_failed(&mut events);
    assert_eq!(failed.0, "secret");
    says(failed.1, &["may not be used"]);
    let error = broker.subscribe("secret", |_, _| Ok(())).unwrap_err();
    assert_is!(error, SubscribeError::Refused(_));
    broker
        .publish_confirmed(Message::new("open", "x"), LONG)
        .unwrap();
    wait_until("the counters say it", || broker.stats().publish_failed == 1);
}

#[test]
fn close_commits_what_was_handled() {
    let cluster = Cluster::start(1);
    // No commit in time but the last.
    let config = cluster.config().commit_interval(Duration::from_secs(3600));
    let broker = connect(config.clone());
    let seen = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&seen);
    let _member = broker
        .subscribe_group("k", "g", move |_, _| {
            counting.fetch_add(1, Ordering::AcqRel);
            Ok(())
        })
        .unwrap();
    common::publish(&broker, "k", 0..100);
    wait_until("all are handled", || seen.load(Ordering::Acquire) == 100);
    broker.close(LONG).unwrap();
    let next = connect(config);
    let (sender, receiver) = crossbeam_channel::unbounded();
    let _member = next
        .subscribe_group("k", "g", move |message, _| {
            Ok(sender.send(common::number(message))?)
        })
        .unwrap();
    common::publish(&next, "k", 100..101);
    assert_eq!(receiver.recv_timeout(LONG), Ok(100), "nothing comes again");
}

/// The error with which a subscription ends.
fn end_of(subscription: &BrokerSubscription) -> String {
    let error = subscription.err().recv_timeout(LONG);
    error.expect("it ends with an error").to_string()
}

/// Lets that many requests of a kind fail.
fn deny(cluster: &Cluster, kind: RDKafkaApiKey, error: RDKafkaRespErr, times: usize) {
    cluster.mock().request_errors(kind, &vec![error; times]);
}

#[test]
fn a_topic_that_may_not_be_read_any_more_ends_its_subscriptions() {
    let cluster = Cluster::start(1);
    let broker = cluster.connect();
    let (sender, receiver) = crossbeam_channel::unbounded();
    let handler = || {
        let sender = sender.clone();
        move |message: &Message, _: &fanfeed_broker::Context| Ok(sender.send(message.clone())?)
    };
    let plain = broker.subscribe("k", handler()).unwrap();
    let member = broker.subscribe_group("k", "g", handler()).unwrap();
    broker.publish(Message::new("k", "x")).unwrap();
    for _ in 0..2 {
        receiver.recv_timeout(LONG).unwrap();
    }
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    deny(&cluster, RDKafkaApiKey::Fetch, denied, 10_000);
    for subscription in [&plain, &member] {
        let error = end_of(subscription);
        says(&error, &["may not be used"]);
    }
    // librdkafka does not say it again.
    let error = broker.subscribe("k", handler()).unwrap_err();
    assert_is!(error, SubscribeError::Refused(_));
    cluster.mock().clear_request_errors(RDKafkaApiKey::Fetch);
    let _plain = broker.subscribe("k", handler()).unwrap();
    broker.publish(Message::new("k", "y")).unwrap();
    assert_eq!(receiver.recv_timeout(LONG).unwrap().payload(), &b"y"[..]);
}

#[test]
fn of_several_topics_only_that_which_may_not_be_read_ends() {
    let cluster = Cluster::start(1);
    // Only the errors of the consumer say it in time.
    let broker = connect(cluster.config().refresh(Duration::from_secs(2)));
    let (sender, receiver) = crossbeam_channel::unbounded();
    let subscribe = |key: &str, group: Option<&str>| {
        let sender = sender.clone();
        let handler =
            move |message: &Message, _: &fanfeed_broker::Context| Ok(sender.send(message.clone())?);
        match group {
            None => broker.subscribe(key, handler).unwrap(),
            Some(group) => broker.subscribe_group(key, group, handler).unwrap(),
        }
    };
    let denied: Vec<_> = [None, Some("g")]
        .map(|group| subscribe("secret", group))
        .into();
    let allowed: Vec<_> = [None, Some("g")]
        .map(|group| subscribe("open", group))
        .into();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.mock().topic_error("secret", error).unwrap();
    for subscription in &denied {
        let error = end_of(subscription);
        says(&error, &["secret may not be used"]);
    }
    broker.publish(Message::new("open", "x")).unwrap();
    for subscription in &allowed {
        receiver.recv_timeout(LONG).unwrap();
        assert!(!subscription.is_closed());
    }
}

#[test]
fn a_group_that_may_not_be_used_any_more_ends_its_members() {
    use RDKafkaApiKey as Api;
    use RDKafkaRespErr as Fault;
    let denied = Fault::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    for kind in [Api::OffsetCommit, Api::JoinGroup] {
        let cluster = Cluster::start(1);
        let broker = cluster.connect();
        let (sender, receiver) = crossbeam_channel::unbounded();
        let subscribe = |key: &str, group: &str| {
            let sender = sender.clone();
            broker.subscribe_group(key, group, move |message, _| {
                Ok(sender.send(message.clone())?)
            })
        };
        let member = subscribe("k", "g").unwrap();
        let _plain = broker.subscribe("k", |_, _| Ok(())).unwrap();
        broker.publish(Message::new("k", "x")).unwrap();
        receiver.recv_timeout(LONG).unwrap();
        deny(&cluster, kind, denied, 10_000);
        if kind == Api::JoinGroup {
            let unknown = Fault::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
            deny(&cluster, Api::Heartbeat, unknown, 1);
        } else {
            broker.publish(Message::new("k", "y")).unwrap();
        }
        let error = end_of(&member);
        says(&error, &["group"]);
        // So is a new group, and the connection stays.
        deny(&cluster, Api::OffsetFetch, denied, 10_000);
        let error = subscribe("other", "h").unwrap_err();
        assert_is!(error, SubscribeError::Refused(_));
        assert!(broker.health().is_up());
    }
}
