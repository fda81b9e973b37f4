//! The bus over Kafka: librdkafka's mock cluster, to which other processes connect too, and Tansu, a real server.

use fanfeed_bus::EventBus;
use fanfeed_examples::connect;
use fanfeed_testkit::KafkaServer;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

use crate::processes::{all_are_paid, all_are_paid_though_one_is_killed};
use crate::servers::exchanges;

/// A mock cluster, and its URL. A member that is killed counts as dead after four seconds: the mock cluster keeps members waiting for
/// three seconds when they join, and forgets those whose time is shorter.
fn cluster() -> (BaseProducer, String) {
    let cluster: BaseProducer = ClientConfig::new()
        .set("test.mock.num.brokers", "1")
        .create()
        .expect("the mock cluster starts");
    let servers = cluster
        .client()
        .mock_cluster()
        .map(|mock| mock.bootstrap_servers());
    let servers = servers.expect("there is a mock cluster");
    let url = format!("kafka://{servers}?session_timeout=4s");
    (cluster, url)
}

#[test]
fn buses_exchange_events_over_kafka() {
    let (_cluster, url) = cluster();
    exchanges(|| EventBus::over(connect(&url).unwrap()), true);
    let server = KafkaServer::start();
    exchanges(|| EventBus::over(connect(&server.url()).unwrap()), true);
}

#[test]
fn orders_and_billing_over_kafka() {
    let (_cluster, url) = cluster();
    all_are_paid(&url);
}

#[test]
fn a_billing_process_is_killed_over_kafka() {
    let (_cluster, url) = cluster();
    all_are_paid_though_one_is_killed(&url);
}
