//! Messages that a group gave up or could not read, kept in a topic of their own.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::Message as KafkaMessage;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;

use super::Held;
use crate::client::{self, Reporter};
use crate::config::Config;
use crate::inbound::contact::Contact;
use crate::names;
use crate::outbound::{OVERHEAD, explain};
use crate::position::position;
use crate::record;

/// Keeps dead letters. Its producer is made when it is first needed.
pub(crate) struct DeadLetters {
    config: Arc<Config>,
    reporter: Reporter,
    producer: Option<ThreadedProducer<Letters>>,
    lost: Arc<Mutex<Option<String>>>,
}

/// Notes which dead letters the cluster refuses.
struct Letters {
    reporter: Reporter,
    lost: Arc<Mutex<Option<String>>>,
}

impl ClientContext for Letters {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _text: &str) {}

    fn stats(&self, _statistics: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.report(&error, reason);
    }
}

impl ProducerContext for Letters {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        if let Err((error, message)) = result {
            *self.lost.lock() = Some(explain(error, message.topic()));
        }
    }
}

impl DeadLetters {
    pub(crate) fn new(contact: &Contact) -> Self {
        DeadLetters {
            config: Arc::clone(&contact.config),
            reporter: contact.reporter.clone(),
            producer: None,
            lost: Arc::default(),
        }
    }

    /// Keeps a message. False if it cannot be kept now: then its offset must not be committed.
    pub(super) fn keep(&mut self, group: &str, held: &Held) -> bool {
        let message = &held.message;
        let mut headers = OwnedHeaders::new();
        record::headers(message, true, |key, value| {
            let taken = std::mem::take(&mut headers);
            headers = taken.insert(Header {
                key,
                value: Some(value),
            });
        });
        self.send(
            headers,
            message.key().as_str(),
            message.payload(),
            group,
            &held.topic,
            &position(held.partition, held.offset),
            "given up",
        )
    }

    /// Keeps the position of a record that cannot be read.
    pub(crate) fn keep_unread(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: i64,
        reason: &str,
    ) {
        self.send(
            OwnedHeaders::new(),
            "",
            b"",
            group,
            topic,
            &position(partition, offset),
            reason,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "a record has that many parts")]
    fn send(
        &mut self,
        headers: OwnedHeaders,
        key: &str,
        payload: &[u8],
        group: &str,
        topic: &str,
        position: &str,
        reason: &str,
    ) -> bool {
        if !self.config.dead_letters {
            return true;
        }
        let mut name = format!(
            "{}dead.{}",
            self.config.prefix,
            topic.strip_prefix(&self.config.prefix).unwrap_or(topic)
        );
        name.truncate(names::LONGEST);
        let headers = [
            ("ff-dead-group", group),
            ("ff-dead-topic", topic),
            ("ff-dead-position", position),
            ("ff-dead-reason", reason),
        ]
        .into_iter()
        .fold(headers, |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        });
        let Some(producer) = self.producer() else {
            return false;
        };
        let record = BaseRecord::to(&name)
            .key(key)
            .payload(payload)
            .headers(headers);
        match producer.send(record) {
            Ok(()) => true,
            Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                false
            }
            Err((error, _)) => {
                *self.lost.lock() = Some(explain(&error, &name));
                true
            }
        }
    }

    /// The reason if a dead letter was lost since the last call.
    pub(crate) fn take_lost(&self) -> Option<String> {
        self.lost.lock().take()
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
                lost: Arc::clone(&self.lost),
            };
            self.producer = client::create(&self.config, settings, context).ok();
        }
        self.producer.as_ref()
    }
}
