//! The bus over Kafka: librdkafka's mock cluster, to which other processes connect too, and Tansu,
//! a real server.

use fanfeed_bus::EventBus;
use fanfeed_examples::connect;
use fanfeed_testkit::KafkaServer;
use rdkafka::bindings::{
    rd_kafka_handle_mock_cluster, rd_kafka_mock_group_initial_rebalance_delay_ms,
};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

use crate::processes::{all_are_paid, all_are_paid_though_one_is_killed};
use crate::servers::exchanges;

/// A mock cluster, and its URL. A member that is killed counts as dead after two seconds.
fn cluster() -> (BaseProducer, String) {
    let cluster: BaseProducer = ClientConfig::new()
        .set("test.mock.num.brokers", "1")
        .create()
        .expect("the mock cluster starts");
    // A new group waits for members that long. By default it waits for three seconds, and forgets
    // the members whose session ends before. SAFETY: the handle is that of a live client with a
    // mock cluster, which both functions take.
    unsafe {
        let mock = rd_kafka_handle_mock_cluster(cluster.client().native_ptr());
        rd_kafka_mock_group_initial_rebalance_delay_ms(mock, 100);
    }
    let servers = cluster
        .client()
        .mock_cluster()
        .map(|mock| mock.bootstrap_servers());
    let servers = servers.expect("there is a mock cluster");
    // The mock cluster answers a fetch that waits for data at its end alone.
    let url = format!("kafka://{servers}?session_timeout=2s&rdkafka.fetch.wait.max.ms=10");
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
