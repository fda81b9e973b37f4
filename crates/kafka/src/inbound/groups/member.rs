//! The callbacks that librdkafka calls while the consumer of a group is polled.

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::client::Reporter;
use crate::inbound::contact::{is_denied, is_group_denied};

/// The reports of librdkafka about a member.
pub(super) struct Member {
    pub(super) reporter: Reporter,
    pub(super) changes: Mutex<Vec<Change>>,
    /// Why a commit was denied.
    pub(super) denied: Mutex<Option<KafkaError>>,
}

pub(super) struct Change {
    pub(super) gained: bool,
    pub(super) partitions: Vec<(String, i32)>,
}

impl ClientContext for Member {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _text: &str) {}

    fn stats(&self, _statistics: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.report(&error, reason);
    }
}

impl ConsumerContext for Member {
    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let (gained, list) = match rebalance {
            Rebalance::Assign(list) => (true, list),
            Rebalance::Revoke(list) => (false, list),
            Rebalance::Error(_) => return,
        };
        let partitions = list
            .elements()
            .iter()
            .map(|element| (element.topic().to_owned(), element.partition()))
            .collect();
        self.changes.lock().push(Change { gained, partitions });
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, offsets: &TopicPartitionList) {
        let elements = offsets.elements();
        let errors = elements.iter().filter_map(|part| part.error().err());
        // After other errors, the next commit includes the offsets of this one.
        let denied = result
            .err()
            .into_iter()
            .chain(errors)
            .find(|error| is_denied(error) || is_group_denied(error));
        if denied.is_some() {
            *self.denied.lock() = denied;
        }
    }
}
