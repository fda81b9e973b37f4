//! The driver over a real server: Tansu 0.6.0, which keeps its data in memory.
//!
//! It is not killed here. Restarted without its topics, it answers a fetch with a new leader and no
//! topic, at which librdkafka 2.12.1 reads through a null pointer (`rd_kafka_metadata_update_op`)
//! and ends the process.

#[path = "../common/mod.rs"]
mod common;
mod sasl;
#[cfg(feature = "tls")]
mod tls;

use std::sync::Arc;
use std::time::Duration;

use common::{LONG, connect, count, options, publish, quick};
use fanfeed_broker::{ConnectError, Message, SubscriberExt};
use fanfeed_kafka::Config;
use fanfeed_testkit::numbers::{Census, under_load};
use fanfeed_testkit::refusal::{self, SECRET, says};
use fanfeed_testkit::{KafkaServer, Proxy, Tally, assert_is, scenario};

/// Everything that is published through one broker comes to a plain subscription and to a group of
/// another one, once.
///
/// The key is new to the server. Where its topic has records, Tansu 0.6.0 gives a wrong end: that
/// after the first record of the last batch.
fn works(config: &Config, key: &str, all: usize) {
    let (writer, reader) = (connect(config.clone()), connect(config.clone()));
    let (plain, group) = (Arc::new(Tally::new(all)), Arc::new(Tally::new(all)));
    let _plain = reader.subscribe(key, count(&plain)).unwrap();
    let _member = reader.subscribe_group(key, "g", count(&group)).unwrap();
    publish(&writer, key, 0..all);
    writer
        .publish_confirmed(Message::new("other", "x"), LONG)
        .unwrap();
    plain.wait_for(all, LONG);
    group.wait_for(all, LONG);
    plain.assert_exactly_once();
    group.assert_exactly_once();
    for broker in [writer, reader] {
        broker.close(LONG).unwrap();
    }
}

/// Connects, and returns the error, which comes long before the timeout on an idle machine.
fn refused(config: Config) -> ConnectError {
    refused_within(config, Duration::from_secs(10))
}

/// Connects with this timeout, and returns the error, which has to come within eight seconds more:
/// far above what it takes on a loaded machine, far below the 30 s for which librdkafka would wait
/// by itself.
fn refused_within(config: Config, timeout: Duration) -> ConnectError {
    let config = config.dial_timeout(timeout);
    refusal::refused(timeout + Duration::from_secs(8), || {
        fanfeed_kafka::connect(config, options())
    })
}

#[test]
fn plain_subscriptions_and_groups_work() {
    let server = KafkaServer::start();
    works(&quick(&server.url()), "chat.42", 2_000);
}

#[test]
fn a_server_that_wants_a_password() {
    let server = KafkaServer::without_users();
    let error = refused(quick(&server.url()));
    assert_is!(error, ConnectError::Denied(_));
    says(&error, &["may want a password", "user:password@"]);
    // Tansu takes SCRAM alone.
    let error = refused(quick(&server.url()).user("ann", SECRET));
    assert_is!(error, ConnectError::Denied(_));
    says(&error, &["PLAIN"]);
}

#[test]
fn nothing_is_lost_over_a_bad_line() {
    let proxy = Proxy::without_target();
    let port = proxy.address().port();
    let server = KafkaServer::known_as(port);
    proxy.aim(server.address());
    let config = quick(&format!("kafka://localhost:{port}"));
    let (writer, reader, other) = (
        connect(config.clone()),
        connect(config.clone()),
        connect(config),
    );
    let census = Census::start(&[&reader, &other], 8_000);
    under_load(&writer, "k", 8_000, scenario::spoil(&proxy));
    writer.flush(LONG).unwrap();
    census.complete();
    for broker in [writer, reader, other] {
        broker.close(LONG).unwrap();
    }
}
