//! The examples as a user runs them, over each driver.

use std::process::Command;

use fanfeed_testkit::{NatsServer, RedisServer, Release};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

/// Replays the flights over the broker of that URL, and gives what was printed.
#[track_caller]
fn replay(url: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_flights"))
        .arg(url)
        .output()
        .expect("the example runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{errors}");
    printed
}

/// Every flight is counted though a worker is killed. How the workers share them is up to the
/// server, and to which of them is quick.
#[track_caller]
fn loses_nothing(url: &str) {
    let printed = replay(url);
    assert!(
        printed.contains(" 20000 of 20000 flights counted"),
        "{printed}"
    );
}

#[test]
fn flights_in_memory() {
    loses_nothing("memory:");
}

#[test]
fn flights_over_redis() {
    let server = RedisServer::start(Release::Old);
    loses_nothing(&server.url());
}

#[test]
fn flights_over_jetstream() {
    let server = NatsServer::builder(Release::Old).jetstream().start();
    loses_nothing(&format!("{}?ack_wait=2s", server.url()));
}

#[test]
fn flights_over_nats_core_say_what_is_missing() {
    let server = NatsServer::start(Release::Old);
    let printed = replay(&format!("{}?mode=core", server.url()));
    assert!(printed.contains(" of 20000 flights counted"), "{printed}");
}

#[test]
fn flights_over_kafka() {
    let cluster: BaseProducer = ClientConfig::new()
        .set("test.mock.num.brokers", "1")
        .create()
        .expect("the mock cluster starts");
    let servers = cluster
        .client()
        .mock_cluster()
        .map(|mock| mock.bootstrap_servers());
    let servers = servers.expect("there is a mock cluster");
    loses_nothing(&format!(
        "kafka://{servers}?session_timeout=2s&rdkafka.heartbeat.interval.ms=200"
    ));
}

/// Publishes and bills all orders, over the broker of that URL.
#[track_caller]
fn bills_all(url: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_workers"))
        .arg(url)
        .output()
        .expect("the example runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && printed.contains("billed 100 orders here"),
        "{printed}\n{errors}"
    );
}

#[test]
fn workers_in_memory() {
    bills_all("memory:");
}

#[test]
fn workers_over_redis() {
    bills_all(&RedisServer::start(Release::Old).url());
}

#[test]
fn workers_over_jetstream() {
    let server = NatsServer::builder(Release::Old).jetstream().start();
    bills_all(&server.url());
}
