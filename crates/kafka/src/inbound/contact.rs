//! The contact of both kinds of consumers with the cluster: settings, topics, offsets, and records.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed_broker::driver::{LinkError, SinkError};
use fanfeed_broker::{ConnectError, Start};
use rdkafka::Message as KafkaMessage;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Headers;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::client::{self, Reporter};
use crate::config::Config;
use crate::inbound::Wake;
use crate::inbound::opening::Cancel;
use crate::outbound::explain;
use crate::position;
use crate::record::Raw;

/// The group name of a consumer without a group: librdkafka requires a name.
pub(crate) const ALONE: &str = "fanfeed-plain";

/// How long the test whether a topic may be read may take.
const TRY: Duration = Duration::from_secs(1);

/// How long to wait for an error after the end of the partition was reported.
const AGAIN: Duration = Duration::from_millis(200);

/// How a consumer reaches the cluster.
#[derive(Clone)]
pub(crate) struct Contact {
    pub(crate) config: Arc<Config>,
    pub(crate) wake: Wake,
    pub(crate) reporter: Reporter,
}

impl Contact {
    pub(crate) fn new(config: &Config, wake: Wake) -> Self {
        Contact {
            config: Arc::new(config.clone()),
            wake,
            reporter: Reporter::new(config),
        }
    }

    pub(crate) fn take_lost(&self) -> Option<String> {
        self.reporter.status.take_lost()
    }

    /// A consumer that wakes the receiving thread.
    pub(crate) fn consumer<C: ConsumerContext + 'static>(
        &self,
        group: &str,
        context: C,
        set: impl FnOnce(&mut ClientConfig),
    ) -> Result<BaseConsumer<C>, ConnectError> {
        let mut settings = client::settings(&self.config);
        settings
            .set("group.id", group)
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // The consumer may read this far ahead of the handlers in each partition.
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.error.backoff.ms", "100")
            .set("fetch.queue.backoff.ms", "5");
        set(&mut settings);
        let mut consumer: BaseConsumer<C> = client::create(&self.config, settings, context)?;
        let wake = self.wake.clone();
        consumer.set_nonempty_callback(move || wake.ring());
        Ok(consumer)
    }

    /// Returns the number of partitions of a topic. If the server creates topics by itself, this
    /// creates the topic.
    pub(crate) fn partitions<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        cancel: &Cancel,
    ) -> Result<i32, SinkError> {
        let deadline = Instant::now() + self.config.dial;
        let mut pause = Pause::default();
        // The last answer of the cluster. The time of the last look may be too short for an answer.
        let mut said = None;
        loop {
            cancel.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match self.look(consumer, topic, left) {
                Ok(count) => return Ok(count),
                Err(error) => error,
            };
            let passing = !matches!(
                error.rdkafka_error_code(),
                Some(RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::InvalidTopic)
            );
            if !passing {
                return Err(SinkError::Refused(explain(&error, topic).into()));
            }
            if !is_of_connection(&error) {
                said = Some(error.clone());
            }
            if left.is_zero() {
                return Err(lasting(said.as_ref().unwrap_or(&error), topic));
            }
            pause.wait(left);
        }
    }

    /// Returns the number of partitions of a topic, according to one server. A partition without a
    /// leader is an error.
    pub(crate) fn look<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        timeout: Duration,
    ) -> Result<i32, KafkaError> {
        let timeout = timeout.max(Duration::from_millis(100));
        let metadata = consumer.client().fetch_metadata(Some(topic), timeout)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let Some(found) = found else {
            return Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::UnknownTopicOrPartition,
            ));
        };
        if let Some(error) = found.error() {
            return Err(KafkaError::MetadataFetch(error.into()));
        }
        let mut partitions = found.partitions().iter();
        if let Some(partition) = partitions.find(|part| part.error().is_some() || part.leader() < 0)
        {
            let none = RDKafkaErrorCode::LeaderNotAvailable;
            let error = partition.error().map_or(none, RDKafkaErrorCode::from);
            return Err(KafkaError::MetadataFetch(error));
        }
        match i32::try_from(found.partitions().len()) {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::LeaderNotAvailable,
            )),
        }
    }

    /// Returns the offset from which a subscription reads each of its partitions.
    pub(crate) fn starts<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        partitions: i32,
        start: &Start,
        cancel: &Cancel,
    ) -> Result<Vec<i64>, SinkError> {
        let after = match start {
            Start::After(text) => Some(position::parse(text).ok_or_else(|| {
                SinkError::Refused(
                    format!("`{text}` is not a position PARTITION@OFFSET, such as 0@17").into(),
                )
            })?),
            _ => None,
        };
        let bound = match start {
            Start::New => Offset::End,
            _ => Offset::Beginning,
        };
        let mut offsets = self.bounds(consumer, topic, partitions, bound, cancel)?;
        for (partition, offset) in after.into_iter().flatten() {
            match usize::try_from(partition)
                .ok()
                .and_then(|at| offsets.get_mut(at))
            {
                Some(place) => *place = (*place).max(offset + 1),
                None => {
                    let text = format!("the topic {topic} has no partition {partition}");
                    return Err(SinkError::Refused(text.into()));
                }
            }
        }
        Ok(offsets)
    }

    /// Returns the first or the next offset of each partition.
    fn bounds<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        partitions: i32,
        bound: Offset,
        cancel: &Cancel,
    ) -> Result<Vec<i64>, SinkError> {
        let deadline = Instant::now() + self.config.dial;
        let mut pause = Pause::default();
        loop {
            cancel.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            let mut list = TopicPartitionList::with_capacity(partitions as usize);
            for partition in 0..partitions {
                list.add_partition_offset(topic, partition, bound)
                    .map_err(|error| refused(&error, topic))?;
            }
            let found = consumer.offsets_for_times(list, left.max(Duration::from_millis(100)));
            let error = match found {
                Ok(found) => match offsets(&found, topic, partitions) {
                    Ok(offsets) => return Ok(offsets),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if is_denied(&error) {
                return Err(refused(&error, topic));
            }
            // A leader is being elected, or the topic is new to the server that was asked.
            if left.is_zero() {
                // A request to an unreachable leader fails with the error of a lost connection.
                let cause = self.look(consumer, topic, TRY).err();
                return Err(match cause {
                    Some(cause) => lasting(&cause, topic),
                    None => SinkError::Refused(explain(&error, topic).into()),
                });
            }
            pause.wait(left);
        }
    }

    /// Returns the reason if a topic may not be read. A separate consumer tries to read the topic,
    /// because an error does not name its topic.
    pub(crate) fn denied(&self, topic: &str) -> Option<KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::End).ok()?;
        let reporter = Reporter::new(&self.config);
        let consumer = self.consumer(ALONE, reporter, |settings| {
            settings
                .set("enable.auto.commit", "false")
                .set("enable.partition.eof", "true")
                .set("fetch.wait.max.ms", "10");
        });
        let consumer = consumer.ok()?;
        if let Err(error) = self.look(&consumer, topic, TRY)
            && is_denied(&error)
        {
            return Some(error);
        }
        consumer.assign(&list).ok()?;
        let mut deadline = Instant::now() + TRY;
        while Instant::now() < deadline {
            match consumer.poll(Duration::from_millis(20)) {
                Some(Err(error)) if is_denied(&error) => return Some(error),
                Some(Ok(_)) => return None,
                // librdkafka may report this instead of the first error.
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    deadline = deadline.min(Instant::now() + AGAIN);
                }
                Some(Err(_)) | None => {}
            }
        }
        None
    }

    /// Returns how many offsets from `expected` on were removed from the start of the partition.
    /// Returns `None` if none were, or the server did not answer. A hole in the offsets is not a
    /// removal.
    pub(crate) fn removed<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        partition: i32,
        expected: i64,
    ) -> Option<u64> {
        let marks = consumer
            .client()
            .fetch_watermarks(topic, partition, Duration::from_secs(1));
        let (low, _) = marks.ok()?;
        u64::try_from(low - expected)
            .ok()
            .filter(|removed| *removed > 0)
    }
}

/// Growing waits between two requests of the same kind.
#[derive(Default)]
struct Pause(u32);

impl Pause {
    fn wait(&mut self, left: Duration) {
        std::thread::sleep(Duration::from_millis(1 << self.0.min(6)).min(left));
        self.0 += 1;
    }
}

impl std::fmt::Debug for Contact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contact").finish_non_exhaustive()
    }
}

/// The reporter of a consumer without further callbacks.
impl ConsumerContext for Reporter {}

pub(crate) fn refused(error: &KafkaError, topic: &str) -> SinkError {
    SinkError::Refused(explain(error, topic).into())
}

/// Returns the error for a topic that could not be checked in time. If the cluster answered, the
/// other subscriptions continue, and this one is refused.
fn lasting(error: &KafkaError, topic: &str) -> SinkError {
    match is_of_connection(error) {
        true => LinkError::new(explain(error, topic)).into(),
        false => refused(error, topic),
    }
}

fn offsets(
    list: &TopicPartitionList,
    topic: &str,
    partitions: i32,
) -> Result<Vec<i64>, KafkaError> {
    let none = || KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset);
    (0..partitions)
        .map(|partition| {
            let element = list.find_partition(topic, partition).ok_or_else(none)?;
            element.error()?;
            match element.offset() {
                Offset::Offset(offset) => Ok(offset),
                _ => Err(none()),
            }
        })
        .collect()
}

/// Reads a received record, or returns why it cannot be read.
pub(crate) fn raw<M: KafkaMessage>(message: &M) -> Result<Raw<'_>, &'static str> {
    raw_of(message.topic(), message)
}

/// Reads a received record of this topic. The topic is an argument because the client library looks
/// up and checks the name each time.
pub(crate) fn raw_of<'a, M: KafkaMessage>(
    topic: &'a str,
    message: &'a M,
) -> Result<Raw<'a>, &'static str> {
    // The client library panics if the name of a header is not UTF-8.
    let headers = catch_unwind(AssertUnwindSafe(|| {
        let headers = message.headers().into_iter();
        headers
            .flat_map(|headers| (0..headers.count()).map(|at| headers.get(at)))
            .map(|header| (header.key, header.value))
            .collect()
    }));
    Ok(Raw {
        topic,
        partition: message.partition(),
        offset: message.offset(),
        key: message.key(),
        payload: message.payload(),
        milliseconds: message.timestamp().to_millis(),
        headers: headers.map_err(|_| "the name of a header is not UTF-8")?,
    })
}

/// Whether an error says that a topic may not be used.
pub(crate) fn is_denied(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
}

/// Whether an error says that a group may not be used.
pub(crate) fn is_group_denied(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

/// Whether an error says that no usable server answered.
pub(crate) fn is_of_connection(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        None | Some(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::SSL
        )
    )
}

/// Whether a consumer's error says that a topic or a partition was deleted.
pub(crate) fn is_missing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    )
}
