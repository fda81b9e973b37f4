//! The callbacks that librdkafka calls while the consumer of a group is polled.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::join::Progress;
use crate::client::Reporter;
use crate::inbound::contact::{is_denied, is_group_denied};

/// The reports of librdkafka about a member.
pub(super) struct Member {
    pub(super) reporter: Reporter,
    /// The joins under way whose topics the consumer is subscribed to.
    pub(super) joins: Mutex<HashMap<Arc<str>, Arc<Progress>>>,
    pub(super) changes: Mutex<Vec<Change>>,
    /// Why a commit was denied.
    pub(super) denied: Mutex<Option<KafkaError>>,
}

pub(super) struct Change {
    pub(super) gained: bool,
    /// The topics and partitions. The offset is that from which librdkafka reads, if it is not the
    /// committed one.
    pub(super) partitions: Vec<(String, i32, Option<i64>)>,
}

impl Member {
    /// Sets the offset from which each partition without a committed offset is read.
    ///
    /// Otherwise librdkafka would ask the cluster for the partition's beginning, and its answer may
    /// come after the partition was sent elsewhere, and then overrides that.
    fn set_starts(&self, list: &mut TopicPartitionList) {
        let joins = self.joins.lock();
        let elements = list.elements();
        let starts = elements.iter().filter_map(|element| {
            let (topic, partition) = (element.topic(), element.partition());
            let start = joins.get(topic)?.start(partition)?;
            Some((topic.to_owned(), partition, start))
        });
        for (topic, partition, start) in starts.collect::<Vec<_>>() {
            // The partition is in the list.
            let _ = list.set_partition_offset(&topic, partition, Offset::Offset(start));
        }
    }
}

impl ClientContext for Member {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _text: &str) {}

    fn stats(&self, _statistics: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.report(&error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        change: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let gained = change == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let is_incremental = matches!(
            consumer.rebalance_protocol(),
            RebalanceProtocol::Cooperative
        );
        if gained {
            self.set_starts(list);
        } else {
            // A partition that is paused now would still be paused when it is assigned again.
            let _ = consumer.resume(list);
        }
        // These fail only if the consumer is being closed.
        let _ = match (gained, is_incremental) {
            (true, true) => consumer.incremental_assign(list),
            (true, false) => consumer.assign(list),
            (false, true) => consumer.incremental_unassign(list),
            (false, false) => consumer.unassign(),
        };
        let start = |offset| match offset {
            Offset::Offset(start) => Some(start),
            _ => None,
        };
        let partitions = list
            .elements()
            .iter()
            .map(|element| {
                let start = start(element.offset());
                (element.topic().to_owned(), element.partition(), start)
            })
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
