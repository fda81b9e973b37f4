//! The publishing side: an idempotent producer that outlives the connection.
//!
//! librdkafka keeps the messages that the cluster has not confirmed, and sends them again without
//! duplicates. So when the cluster is away, the producer and its messages are kept. The engine
//! publishes the same batch again on the next connection; it waits for messages of that batch that
//! the producer still has, instead of sending them a second time.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed_broker::driver::{LinkError, Outbound, Published};
use fanfeed_broker::{ConnectError, Message, MessageId};
use parking_lot::{Condvar, Mutex};
use rdkafka::Message as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;

use crate::client::{self, Reporter};
use crate::config::Config;
use crate::position::position;
use crate::record;
use crate::shared::Shared;

/// The bytes that a record may have beyond the largest message: its key, the headers of this crate
/// and framing.
pub(crate) const OVERHEAD: usize = 64 * 1024;

/// How often a waiting thread checks whether the cluster is away.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct KafkaOutbound {
    shared: Arc<Shared>,
    /// `None` after a fatal error, until the side is opened again.
    pipeline: Option<Pipeline>,
}

/// A producer, and the messages that it has.
pub(crate) struct Pipeline {
    producer: ThreadedProducer<Deliveries>,
    results: Arc<Results>,
    /// Messages that the producer got and whose results the engine has not got yet, in order.
    sent: VecDeque<MessageId>,
    /// The time since which the result of the first of them is missing.
    since: Instant,
    /// The value of a header that is written next.
    text: String,
}

/// The partition and offset of a message, or why it failed.
type Settled = Result<(i32, i64), String>;

/// The results of the messages in `Pipeline::sent`.
#[derive(Debug, Default)]
struct Results {
    state: Mutex<ResultState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ResultState {
    /// The number of the first result.
    first: usize,
    results: VecDeque<Option<Settled>>,
    open: usize,
    /// The number of missing results at which the waiting thread is woken.
    enough: usize,
}

impl Results {
    /// Makes places for some messages, and returns the number of the first.
    fn add(&self, count: usize) -> usize {
        let mut state = self.state.lock();
        let number = state.first + state.results.len();
        state.results.extend(std::iter::repeat_n(None, count));
        state.open += count;
        number
    }

    fn settle(&self, number: usize, result: Settled) {
        let mut state = self.state.lock();
        let Some(at) = number.checked_sub(state.first) else {
            return;
        };
        if let Some(place) = state.results.get_mut(at)
            && place.is_none()
        {
            *place = Some(result);
            state.open -= 1;
            if state.open <= state.enough {
                self.changed.notify_all();
            }
        }
    }

    fn open(&self) -> usize {
        self.state.lock().open
    }

    /// Waits for a short time, or until at most `enough` results are missing. Returns how many are.
    fn wait(&self, enough: usize) -> usize {
        let mut state = self.state.lock();
        if state.open > enough {
            state.enough = enough;
            self.changed.wait_for(&mut state, LOOK);
            state.enough = 0;
        }
        state.open
    }

    /// Takes the results before the first one that is missing.
    fn take(&self) -> Vec<Settled> {
        let mut state = self.state.lock();
        let mut taken = Vec::with_capacity(state.results.len());
        while let Some(Some(_)) = state.results.front() {
            taken.extend(state.results.pop_front().flatten());
        }
        state.first += taken.len();
        taken
    }

    /// Takes back this number and the later ones, because the producer did not get their messages.
    fn take_back(&self, number: usize) {
        let mut state = self.state.lock();
        let left = number - state.first;
        let unsettled = state.results.drain(left..).filter(Option::is_none).count();
        state.open -= unsettled;
    }

    /// Gives up the missing results, which are no longer needed.
    fn forget(&self) {
        let mut state = self.state.lock();
        state.first += state.results.len();
        state.results.clear();
        state.open = 0;
    }
}

struct Deliveries {
    reporter: Reporter,
    results: Arc<Results>,
}

impl ClientContext for Deliveries {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _text: &str) {}

    fn stats(&self, _statistics: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.report(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let result = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, message)) => Err(explain(error, message.topic())),
        };
        self.results.settle(number, result);
    }
}

/// The text of an error about a topic.
pub(crate) fn explain(error: &KafkaError, topic: &str) -> String {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicOrPartition,
        ) => {
            format!(
                "the topic {topic} does not exist, and the server makes none by itself: create it"
            )
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            format!("the topic {topic} may not be used by this user")
        }
        Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
            format!("the group on the topic {topic} may not be used by this user")
        }
        Some(RDKafkaErrorCode::LeaderNotAvailable) => {
            format!(
                "the topic {topic} has a partition without a leader: start its servers, or wait until they are back"
            )
        }
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            format!("the topic {topic} takes no message of this size: see its max.message.bytes")
        }
        Some(code) => format!("the topic {topic}: {code}"),
        None => format!("the topic {topic}: {error}"),
    }
}

impl Pipeline {
    pub(crate) fn start(config: &Config) -> Result<Self, ConnectError> {
        let results = Arc::<Results>::default();
        let context = Deliveries {
            reporter: Reporter::new(config),
            results: Arc::clone(&results),
        };
        let mut client = client::settings(config);
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // No message is given up because the cluster is away.
            .set("message.timeout.ms", "0")
            .set(
                "message.max.bytes",
                (config.max_message + OVERHEAD).max(1_000_000).to_string(),
            )
            .set("linger.ms", "0")
            .set("batch.num.messages", "10000")
            // The partitioner of Java's producers, so that a key has the same partition in all
            // languages.
            .set("partitioner", "murmur2_random");
        let producer = client::create(config, client, context)?;
        Ok(Pipeline {
            producer,
            results,
            sent: VecDeque::new(),
            since: Instant::now(),
            text: String::new(),
        })
    }

    fn status(&self) -> &client::Status {
        &self.producer.client().context().reporter.status
    }

    /// Gives the producer one message.
    fn send(
        &mut self,
        number: usize,
        config: &Config,
        topic: &str,
        alone: bool,
        message: &Message,
    ) -> Result<(), LinkError> {
        let own_key = config.record_key.is_some();
        let mut headers = Some(OwnedHeaders::new_with_capacity(4 + message.headers().len()));
        record::headers(message, own_key || !alone, &mut self.text, |key, value| {
            headers = headers.take().map(|headers| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            });
        });
        let key = match &config.record_key {
            Some(key) => Cow::Owned(key(message)),
            None => Cow::Borrowed(message.key().as_str().as_bytes()),
        };
        let mut record = BaseRecord::with_opaque_to(topic, number)
            .payload(&message.payload()[..])
            .key(&*key)
            .timestamp(record::milliseconds(message))
            .headers(headers.unwrap_or_default());
        let mut began = None;
        while let Err((error, back)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                self.results.settle(number, Err(explain(&error, topic)));
                return Ok(());
            }
            // The producer is full: some messages have to be confirmed first.
            record = back;
            self.results.wait(0);
            self.look()?;
            if began.get_or_insert_with(Instant::now).elapsed() >= config.confirm {
                return Err(unconfirmed(config));
            }
        }
        Ok(())
    }

    /// Whether the cluster is away, or the producer cannot continue.
    fn look(&self) -> Result<(), LinkError> {
        match self.status().take_lost() {
            Some(reason) => Err(LinkError::new(reason)),
            None => Ok(()),
        }
    }

    fn fatal(&self) -> Option<String> {
        let (code, reason) = self.producer.client().fatal_error()?;
        Some(format!("the producer cannot go on: {code}: {reason}"))
    }
}

/// Returns the error for a connection without confirmations.
fn unconfirmed(config: &Config) -> LinkError {
    let limit = config.confirm;
    LinkError::new(format!("nothing was confirmed within {limit:?}"))
}

impl KafkaOutbound {
    pub(crate) fn open(shared: Arc<Shared>) -> Result<Self, ConnectError> {
        let kept = shared.pipeline.lock().take();
        let pipeline = match kept {
            Some(pipeline) => pipeline,
            None => Pipeline::start(&shared.config)?,
        };
        // Errors that were reported before this connection do not count.
        pipeline.status().take_lost();
        Ok(KafkaOutbound {
            shared,
            pipeline: Some(pipeline),
        })
    }
}

impl Outbound for KafkaOutbound {
    fn publish(&mut self, batch: &[Message]) -> Result<Vec<Published>, LinkError> {
        let config = &self.shared.config;
        let Some(pipeline) = &mut self.pipeline else {
            return Err(LinkError::new("the producer had to be given up"));
        };
        let known = pipeline.sent.iter().zip(batch);
        let mut done = known
            .take_while(|(sent, message)| *sent == message.id())
            .count();
        if done < pipeline.sent.len() {
            // Another batch: the results of the last one are no longer known.
            pipeline.sent.clear();
            pipeline.results.forget();
            done = 0;
        }
        if done == 0 {
            pipeline.since = Instant::now();
        }
        let mut last: Option<(&Message, String, bool)> = None;
        let first = pipeline.results.add(batch.len() - done);
        for (number, message) in (first..).zip(&batch[done..]) {
            let (topic, alone) = match last.take() {
                Some((before, topic, alone)) if before.key() == message.key() => (topic, alone),
                _ => match config.topic(message.key()) {
                    Ok(topic) => topic,
                    Err(reason) => {
                        pipeline.sent.push_back(message.id().clone());
                        pipeline.results.settle(number, Err(reason));
                        continue;
                    }
                },
            };
            if let Err(lost) = pipeline.send(number, config, &topic, alone, message) {
                pipeline.results.take_back(number);
                return Err(lost);
            }
            pipeline.sent.push_back(message.id().clone());
            last = Some((message, topic, alone));
        }
        // While the cluster confirms the rest, the engine takes the next messages.
        let enough = match done == batch.len() {
            true => 0,
            false => batch.len() / 2,
        };
        let mut open = pipeline.results.open();
        let mut moved = Instant::now();
        while open > enough {
            let left = pipeline.results.wait(enough);
            if left < open {
                moved = Instant::now();
            }
            open = left;
            if open <= enough {
                break;
            }
            pipeline.look()?;
            if moved.elapsed() >= config.confirm {
                return Err(unconfirmed(config));
            }
        }
        if let Some(reason) = pipeline.fatal() {
            // All messages that failed with it are published again.
            self.pipeline = None;
            return Err(LinkError::new(config.redact(&reason)));
        }
        let results = pipeline.results.take();
        pipeline.sent.drain(..results.len());
        if !results.is_empty() {
            pipeline.since = Instant::now();
        } else if pipeline.since.elapsed() >= config.confirm {
            // Later messages are confirmed, but this one is not.
            return Err(unconfirmed(config));
        }
        let mut results = results.into_iter();
        let published = batch.iter().map(|_| match results.next() {
            Some(Ok((partition, offset))) => Published::Stored {
                part: partition.into(),
                place: offset,
                text: position,
            },
            Some(Err(reason)) => Published::Refused(reason.into()),
            None => Published::Pending,
        });
        Ok(published.collect())
    }

    fn idle(&mut self) -> Result<(), LinkError> {
        match &self.pipeline {
            Some(pipeline) => pipeline.look(),
            None => Err(LinkError::new("the producer had to be given up")),
        }
    }
}

impl Drop for KafkaOutbound {
    fn drop(&mut self) {
        *self.shared.pipeline.lock() = self.pipeline.take();
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("sent", &self.sent.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KafkaOutbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOutbound").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Results;

    #[test]
    fn results_are_taken_in_order_up_to_the_first_that_is_missing() {
        let results = Results::default();
        let first = results.add(3);
        results.settle(first, Ok((0, 7)));
        results.settle(first + 2, Ok((0, 9)));
        assert_eq!(results.wait(1), 1);
        assert_eq!(results.take(), [Ok((0, 7))]);
        assert_eq!(results.take(), []);
        let fourth = results.add(1);
        assert_eq!(fourth, first + 3);
        results.settle(first + 1, Ok((0, 8)));
        results.settle(fourth, Ok((0, 10)));
        assert_eq!(results.take(), [Ok((0, 8)), Ok((0, 9)), Ok((0, 10))]);
        assert_eq!(results.wait(0), 0);
    }
}
