//! What the tests of the driver share.
#![allow(dead_code, unused_imports, reason = "each test uses some of it")]

use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::Broker;
use fanfeed_kafka::Config;
pub(crate) use fanfeed_testkit::PATIENCE as LONG;
pub(crate) use fanfeed_testkit::numbers::{count, number, options, publish};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaApiKey;

/// librdkafka's mock cluster, in this process. Other processes can connect to it, too.
pub(crate) struct Cluster {
    holder: BaseProducer,
}

impl Cluster {
    pub(crate) fn start(servers: i32) -> Self {
        let holder: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", servers.to_string())
            .create()
            .unwrap();
        let cluster = Cluster { holder };
        // SAFETY: the handle is that of a live client with a mock cluster, which both functions
        // take.
        unsafe {
            use rdkafka::bindings::{
                rd_kafka_handle_mock_cluster, rd_kafka_mock_group_initial_rebalance_delay_ms,
            };
            let mock = rd_kafka_handle_mock_cluster(cluster.holder.client().native_ptr());
            rd_kafka_mock_group_initial_rebalance_delay_ms(mock, 100);
        }
        cluster
    }

    pub(crate) fn mock(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.holder.client().mock_cluster().unwrap()
    }

    pub(crate) fn servers(&self) -> Vec<String> {
        let servers = self.mock().bootstrap_servers();
        servers.split(',').map(str::to_owned).collect()
    }

    pub(crate) fn url(&self) -> String {
        format!("kafka://{}", self.servers().join(","))
    }

    /// Counts requests from now on.
    pub(crate) fn count_requests(&self) {
        // SAFETY: the mock cluster of a live client.
        unsafe {
            use rdkafka::bindings::{
                rd_kafka_handle_mock_cluster, rd_kafka_mock_clear_requests,
                rd_kafka_mock_start_request_tracking,
            };
            let mock = rd_kafka_handle_mock_cluster(self.holder.client().native_ptr());
            rd_kafka_mock_start_request_tracking(mock);
            rd_kafka_mock_clear_requests(mock);
        }
    }

    /// How many fetches arrived since `count_requests`.
    pub(crate) fn fetches(&self) -> usize {
        // SAFETY: the mock cluster of a live client; the function returns as many valid requests as
        // it says, in an array that is given back to it.
        unsafe {
            use rdkafka::bindings::{
                rd_kafka_handle_mock_cluster, rd_kafka_mock_get_requests,
                rd_kafka_mock_request_api_key, rd_kafka_mock_request_destroy_array,
            };
            let mock = rd_kafka_handle_mock_cluster(self.holder.client().native_ptr());
            let mut count = 0;
            let requests = rd_kafka_mock_get_requests(mock, &mut count);
            let is_fetch = |at: &usize| {
                let request = *requests.add(*at);
                rd_kafka_mock_request_api_key(request) == RDKafkaApiKey::Fetch as i16
            };
            let fetches = (0..count).filter(is_fetch).count();
            rd_kafka_mock_request_destroy_array(requests, count);
            fetches
        }
    }

    /// How many records a topic of so many partitions has.
    pub(crate) fn records(&self, topic: &str, partitions: i32) -> usize {
        let ends = (0..partitions).map(|at| self.holder.client().fetch_watermarks(topic, at, LONG));
        ends.map(|ends| ends.unwrap().1 as usize).sum()
    }

    /// The offset that a group has committed in the first partition of a topic.
    pub(crate) fn committed(&self, topic: &str, group: &str) -> Option<i64> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.mock().bootstrap_servers())
            .set("group.id", group)
            .create()
            .unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, 0);
        let committed = consumer.committed_offsets(asked, LONG).unwrap();
        let part = committed.find_partition(topic, 0)?;
        part.offset().to_raw().filter(|offset| *offset >= 0)
    }

    /// A configuration with short intervals. The mock cluster answers a fetch that waits for data
    /// at its end alone.
    pub(crate) fn config(&self) -> Config {
        quick(&self.url())
    }

    /// A topic with so many partitions; others have 4.
    pub(crate) fn topic(&self, name: &str, partitions: i32) {
        self.mock().create_topic(name, partitions, 1).unwrap();
    }

    /// Makes a server the leader of a partition, or leaves it without one.
    pub(crate) fn lead(&self, topic: &str, partition: i32, server: Option<i32>) {
        self.mock()
            .partition_leader(topic, partition, server)
            .unwrap();
    }

    pub(crate) fn connect(&self) -> Arc<dyn Broker> {
        connect(self.config())
    }
}

pub(crate) fn quick(url: &str) -> Config {
    url.parse::<Config>()
        .unwrap()
        .commit_interval(Duration::from_millis(100))
        .session_timeout(Duration::from_secs(2))
        .refresh(Duration::from_secs(1))
        .property("fetch.wait.max.ms", "5")
        .property("heartbeat.interval.ms", "200")
        // The mock cluster may forget a member that joins on a busy machine and leave its request
        // without an answer. The member waits for the answer for this long, and then joins again.
        .property("session.timeout.ms", "2000")
        .property("max.poll.interval.ms", "6000")
}

pub(crate) fn connect(config: Config) -> Arc<dyn Broker> {
    Arc::new(fanfeed_kafka::connect(config, options()).unwrap())
}
