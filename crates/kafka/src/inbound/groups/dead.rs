//! Keeps messages that a group gave up or could not read in a topic of their own.
//!
//! INVARIANT: the offset of such a message is committed only after the cluster has confirmed its
//! letter, or has refused it and that was reported. So a process that ends earlier loses no letter:
//! the next owner of the partition gets the message again. The same holds for a refused letter of
//! a partition that was taken away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use fanfeed_broker::Message;
use fanfeed_broker::driver::Sink;
use rdkafka::Message as KafkaMessage;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;

use super::{Held, Partition};
use crate::client::{self, Reporter};
use crate::config::{Config, MEMORY};
use crate::inbound::Wake;
use crate::inbound::contact::Contact;
use crate::names;
use crate::outbound::{OVERHEAD, explain};
use crate::position::position;
use crate::record;

/// The most letters, and the most bytes of payloads, that may wait for the cluster. Beyond that,
/// and while one has waited for longer than the timeout for confirmations, groups read nothing: no
/// offset behind a letter is committed, so the messages behind it would come again after a restart.
const MOST: usize = 1000;
const MOST_BYTES: usize = 64 << 20;

/// The place of a record whose letter is on its way.
pub(super) struct Origin {
    pub(super) consumer_group: String,
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) epoch: u64,
}

/// A dead letter.
pub(super) struct Letter {
    pub(super) origin: Origin,
    /// A subscription of the group, which reports the loss of the letter.
    sink: Sink,
    /// The name that the members of the group use.
    group: String,
    /// `None` if the record could not be read.
    message: Option<Message>,
    reason: String,
    since: Instant,
}

/// A letter that is on its way.
struct OnItsWay {
    origin: Origin,
    sink: Sink,
    payload: Bytes,
    since: Instant,
}

/// The number of a letter, and why the cluster refused it, if it did.
type Outcome = (usize, Option<String>);

/// A letter that was confirmed or refused, or that has no need to be kept.
pub(super) struct Settled {
    pub(super) origin: Origin,
    sink: Sink,
    payload: Bytes,
    /// Why the cluster refused it, if it did.
    refused: Option<String>,
}

impl Settled {
    /// Notes that the offset of the record can be committed, or leaves the record to the next owner
    /// of the partition. Reports a refused letter of a partition that this process owns.
    pub(super) fn conclude(&self, partition: &mut Partition) {
        let Origin { offset, epoch, .. } = self.origin;
        match &self.refused {
            None => partition.ledger.done(offset, epoch),
            // The next owner gets the message again, so it is not lost.
            Some(_) if !partition.owned => partition.ledger.give_back(offset, epoch),
            Some(reason) => {
                // If no observer can learn of it, the next owner gets the message again.
                if self.sink.dead_letter_lost(reason, &self.payload) {
                    partition.ledger.done(offset, epoch);
                }
            }
        }
    }
}

impl Letter {
    /// Makes the letter of a message that was given up.
    pub(super) fn of(group: &str, sink: &Sink, held: Held) -> Self {
        Letter {
            origin: Origin {
                consumer_group: held.consumer_group,
                topic: held.topic,
                partition: held.partition,
                offset: held.offset,
                epoch: held.epoch,
            },
            sink: sink.clone(),
            group: group.to_owned(),
            message: Some(held.message),
            reason: "given up".to_owned(),
            since: Instant::now(),
        }
    }

    /// Makes the letter of a record that cannot be read. It has only the place of the record.
    pub(super) fn unread(group: &str, sink: &Sink, origin: Origin, reason: String) -> Self {
        Letter {
            origin,
            sink: sink.clone(),
            group: group.to_owned(),
            message: None,
            reason,
            since: Instant::now(),
        }
    }

    fn payload(&self) -> Bytes {
        let message = self.message.as_ref();
        message.map_or_else(Bytes::new, |message| message.payload().clone())
    }

    fn bytes(&self) -> usize {
        let message = self.message.as_ref();
        message.map_or(0, |message| message.payload().len())
    }

    fn settled(self, refused: Option<String>) -> Settled {
        Settled {
            payload: self.payload(),
            origin: self.origin,
            sink: self.sink,
            refused,
        }
    }
}

/// The result of sending a letter.
pub(super) enum Sent {
    /// It is on its way: [`DeadLetters::take_outcomes`] returns its outcome.
    OnItsWay,
    /// No letters are kept, or it was refused.
    Over(Settled),
    /// The producer has no room for it.
    NoRoom(Box<Letter>),
}

/// Keeps dead letters. Its producer is made when it is first needed.
pub(crate) struct DeadLetters {
    config: Arc<Config>,
    reporter: Reporter,
    wake: Wake,
    producer: Option<ThreadedProducer<Letters>>,
    /// The letters that the cluster has not confirmed, by number.
    sent: BTreeMap<usize, OnItsWay>,
    /// The bytes of their payloads.
    bytes: usize,
    next: usize,
    outcomes: Receiver<Outcome>,
    settled: Sender<Outcome>,
    /// Letters for which the producer had no room.
    pub(super) unburied: Vec<Letter>,
    /// Whether it was reported that letters wait.
    is_told: bool,
}

/// Passes on the outcomes of the letters.
struct Letters {
    reporter: Reporter,
    wake: Wake,
    settled: Sender<Outcome>,
}

impl ClientContext for Letters {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _text: &str) {}

    fn stats(&self, _statistics: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.report(&error, reason);
    }
}

impl ProducerContext for Letters {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let refused = result.as_ref().err();
        let refused = refused.map(|(error, message)| explain(error, message.topic()));
        // The receiver may have been dropped at the end, when no offsets are committed.
        let _ = self.settled.send((number, refused));
        self.wake.ring();
    }
}

impl DeadLetters {
    pub(crate) fn new(contact: &Contact) -> Self {
        let (settled, outcomes) = unbounded();
        DeadLetters {
            config: Arc::clone(&contact.config),
            reporter: contact.reporter.clone(),
            wake: contact.wake.clone(),
            producer: None,
            sent: BTreeMap::new(),
            bytes: 0,
            next: 0,
            outcomes,
            settled,
            unburied: Vec::new(),
            is_told: false,
        }
    }

    /// Whether too many letters wait, or one for too long, so that no more records should be read.
    pub(super) fn is_full(&self) -> bool {
        let unburied: usize = self.unburied.iter().map(Letter::bytes).sum();
        self.sent.len() + self.unburied.len() >= MOST
            || self.bytes + unburied >= MOST_BYTES
            || self.is_overdue()
    }

    /// Whether a letter has waited for longer than the timeout for confirmations.
    fn is_overdue(&self) -> bool {
        let sent = self.sent.values().next().map(|letter| letter.since);
        let unburied = self.unburied.first().map(|letter| letter.since);
        let mut oldest = sent.into_iter().chain(unburied);
        oldest.any(|since| since.elapsed() > self.config.confirm)
    }

    /// Returns the number of waiting letters, once each time that they become too many.
    pub(super) fn take_full(&mut self) -> Option<usize> {
        if !self.is_full() {
            self.is_told = false;
            return None;
        }
        let is_new = !std::mem::replace(&mut self.is_told, true);
        is_new.then(|| self.sent.len() + self.unburied.len())
    }

    /// Whether letters of this topic of a consumer group wait for the cluster.
    pub(super) fn has_letters(&self, consumer_group: &str, topic: &str) -> bool {
        let sent = self.sent.values().map(|letter| &letter.origin);
        let mut all = sent.chain(self.unburied.iter().map(|letter| &letter.origin));
        all.any(|of| of.consumer_group == consumer_group && *of.topic == *topic)
    }

    /// Whether no letter is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.sent.is_empty()
    }

    /// Removes and returns the letters that the cluster has confirmed or refused.
    pub(super) fn take_outcomes(&mut self) -> Vec<Settled> {
        let outcomes: Vec<Outcome> = self.outcomes.try_iter().collect();
        let settled = outcomes
            .into_iter()
            .filter_map(|outcome| self.settle(outcome));
        settled.collect()
    }

    /// Waits for such letters. Returns `None` at the deadline.
    pub(super) fn wait_for_outcomes(&mut self, deadline: Instant) -> Option<Vec<Settled>> {
        let outcome = self.outcomes.recv_deadline(deadline).ok()?;
        let mut settled: Vec<Settled> = self.settle(outcome).into_iter().collect();
        settled.extend(self.take_outcomes());
        Some(settled)
    }

    fn settle(&mut self, (number, refused): Outcome) -> Option<Settled> {
        let letter = self.sent.remove(&number)?;
        self.bytes -= letter.payload.len();
        Some(Settled {
            origin: letter.origin,
            sink: letter.sink,
            payload: letter.payload,
            refused,
        })
    }

    /// Removes the letters of a topic of a consumer group that this process leaves. Their outcomes
    /// are of no use: the next member gets these messages again.
    pub(super) fn forget_topic(&mut self, consumer_group: &str, topic: &str) {
        let is_kept = |of: &Origin| of.consumer_group != consumer_group || *of.topic != *topic;
        self.unburied.retain(|letter| is_kept(&letter.origin));
        self.sent.retain(|_, letter| is_kept(&letter.origin));
        let bytes = self.sent.values().map(|letter| letter.payload.len());
        self.bytes = bytes.sum();
    }

    /// Removes all letters, at the end.
    pub(super) fn forget(&mut self) {
        self.sent.clear();
        self.bytes = 0;
        self.unburied.clear();
    }

    /// Sends a letter.
    pub(super) fn send(&mut self, letter: Letter) -> Sent {
        if !self.config.dead_letters {
            return Sent::Over(letter.settled(None));
        }
        let mut headers = OwnedHeaders::new();
        let mut add = |key: &str, value: &str| {
            let value = Some(value);
            headers = std::mem::take(&mut headers).insert(Header { key, value });
        };
        if let Some(message) = &letter.message {
            record::headers(message, true, &mut String::new(), &mut add);
        }
        let origin = &letter.origin;
        add("ff-dead-group", &letter.group);
        add("ff-dead-topic", &origin.topic);
        add(
            "ff-dead-position",
            &position(origin.partition.into(), origin.offset),
        );
        add("ff-dead-reason", &letter.reason);
        let (key, payload) = match &letter.message {
            Some(message) => (message.key().as_str(), &message.payload()[..]),
            None => ("", &b""[..]),
        };
        let topic = names::dead(&self.config.prefix, &origin.topic);
        let number = self.next;
        let Some(producer) = self.producer() else {
            return Sent::NoRoom(Box::new(letter));
        };
        let record = BaseRecord::with_opaque_to(&topic, number)
            .key(key)
            .payload(payload)
            .headers(headers);
        match producer.send(record).map_err(|(error, _)| error) {
            Ok(()) => {
                let sent = OnItsWay {
                    payload: letter.payload(),
                    since: letter.since,
                    sink: letter.sink,
                    origin: letter.origin,
                };
                self.next += 1;
                self.bytes += sent.payload.len();
                self.sent.insert(number, sent);
                Sent::OnItsWay
            }
            // A message of another program may be larger than all of the producer's memory, and
            // then waiting for room has no end.
            Err(error)
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
                    && letter.bytes() <= self.config.memory() =>
            {
                Sent::NoRoom(Box::new(letter))
            }
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                let memory = self.config.memory();
                Sent::Over(letter.settled(Some(format!(
                    "it is larger than the {memory} bytes that the property `{MEMORY}` of librdkafka allows"
                ))))
            }
            Err(error) => Sent::Over(letter.settled(Some(explain(&error, &topic)))),
        }
    }

    fn producer(&mut self) -> Option<&ThreadedProducer<Letters>> {
        if self.producer.is_none() {
            let mut settings = client::settings(&self.config);
            settings
                .set("enable.idempotence", "true")
                .set("message.timeout.ms", "0")
                .set(
                    "message.max.bytes",
                    (self.config.max_message + 2 * OVERHEAD)
                        .max(1_000_000)
                        .to_string(),
                )
                .set("partitioner", "murmur2_random");
            let context = Letters {
                reporter: self.reporter.clone(),
                wake: self.wake.clone(),
                settled: self.settled.clone(),
            };
            self.producer = client::create(&self.config, settings, context).ok();
        }
        self.producer.as_ref()
    }
}
