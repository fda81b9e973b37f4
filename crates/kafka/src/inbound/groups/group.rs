//! One group: its topics, and the records that its consumer returns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Message as KafkaMessage;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::topic::{one, report_gap};
use super::{Desk, Group, Held, Topic};
use crate::inbound::contact::{Contact, raw};
use crate::inbound::trouble::Finding;
use crate::outbound::explain;

/// How long leaving the group may take if a join has the consumer, too.
const LEAVE: Duration = Duration::from_secs(5);

impl Group {
    pub(super) fn subscribe(&self) -> Result<(), KafkaError> {
        let topics = self.topics.iter().filter(|(_, entry)| entry.is_subscribed);
        let topics: Vec<&str> = topics.map(|(topic, _)| &**topic).collect();
        if topics.is_empty() {
            self.consumer.unsubscribe();
            return Ok(());
        }
        self.consumer.subscribe(&topics)
    }

    /// Acts on the errors of the consumer.
    pub(super) fn heed(&mut self, contact: &Contact) {
        if let Some(error) = self.consumer.context().denied.lock().take() {
            self.trouble.note(error);
        }
        match self.trouble.look(contact, self.topics.keys()) {
            None => {}
            Some(Finding::Over(error)) => {
                let fatal = self.consumer.client().fatal_error();
                for (name, entry) in &mut self.topics {
                    entry.fail(match &fatal {
                        Some((_, reason)) => contact.config.redact(reason),
                        None => explain(&error, name),
                    });
                }
            }
            Some(Finding::Denied(name, error)) => {
                if let Some(entry) = self.topics.get_mut(&name) {
                    entry.fail(explain(&error, &name));
                }
            }
            Some(Finding::Other(error)) => {
                let sinks = |(name, entry): (_, &Topic)| Some((name, entry.sinks.first()?.clone()));
                if let Some((name, sink)) = self.topics.iter().find_map(sinks) {
                    sink.undecodable(explain(&error, name), b"");
                }
            }
        }
    }

    /// Takes up the partitions that the cluster assigned, and gives up those that it took away.
    pub(super) fn obey(&mut self) {
        let changes = std::mem::take(&mut *self.consumer.context().changes.lock());
        for change in changes {
            for (topic, partition, start) in &change.partitions {
                let Some(entry) = self.topics.get_mut(&**topic) else {
                    continue;
                };
                let state = entry.partitions.entry(*partition).or_default();
                state.owned = change.gained;
                state.start = *start;
                state.stash = None;
                state.passed = false;
                state.stored = None;
                state.ledger.restart();
                if change.gained {
                    continue;
                }
                // The new owner gets these messages.
                let (gone, left) = entry
                    .back
                    .drain(..)
                    .partition(|held| held.partition == *partition);
                entry.back = left;
                let gone: VecDeque<Held> = gone;
                for held in gone {
                    state.ledger.give_back(held.offset, held.epoch);
                }
            }
        }
    }

    pub(super) fn take(&mut self, id: &str, message: &BorrowedMessage<'_>, desk: &mut Desk<'_>) {
        let (partition, offset) = (message.partition(), message.offset());
        let Some((topic, _)) = self.topics.get_key_value(message.topic()) else {
            return;
        };
        let topic = Arc::clone(topic);
        let Some(entry) = self.topics.get_mut(&topic) else {
            return;
        };
        let state = entry.partitions.entry(partition).or_default();
        if state.stash.is_some() || state.passed {
            state.passed = true;
            return;
        }
        if state.ledger.skips(offset) {
            return;
        }
        if let Some(expected) = state.ledger.next()
            && expected != offset
        {
            report_gap(entry, &self.consumer, desk.contact, message, expected);
        }
        let raw = raw(message);
        if !entry.deliver(id, &topic, partition, offset, raw, &self.name, desk) {
            self.put_off(message);
        } else if !entry.back.is_empty() {
            self.waiting.insert(topic);
        }
    }

    /// Keeps a record until it can be delivered. Its partition is paused during that time.
    fn put_off(&mut self, message: &BorrowedMessage<'_>) {
        let Some((topic, _)) = self.topics.get_key_value(message.topic()) else {
            return;
        };
        let topic = Arc::clone(topic);
        let Some(entry) = self.topics.get_mut(&topic) else {
            return;
        };
        let state = entry.partitions.entry(message.partition()).or_default();
        if state.stash.is_some() || state.passed {
            state.passed = true;
            return;
        }
        state.stash = Some(message.detach());
        let _ = self.consumer.pause(&one(&topic, message.partition()));
        self.waiting.insert(topic);
    }

    /// Delivers waiting messages. Returns false if some still have to wait.
    pub(super) fn retry(&mut self, id: &str, topic: &Arc<str>, desk: &mut Desk<'_>) -> bool {
        let Some(entry) = self.topics.get_mut(topic) else {
            return true;
        };
        while let Some(held) = entry.back.pop_front() {
            if let Err(held) = entry.deliver_again(held, desk) {
                entry.back.push_front(held);
                return false;
            }
        }
        let paused = entry
            .partitions
            .iter()
            .filter(|(_, state)| state.stash.is_some() || state.passed);
        let paused: Vec<i32> = paused.map(|(partition, _)| *partition).collect();
        let mut all = true;
        for partition in paused {
            let stash = entry.partitions.get_mut(&partition).and_then(|state| {
                let stash = state.stash.take()?;
                (!state.ledger.skips(stash.offset())).then_some(stash)
            });
            if let Some(stash) = stash {
                let offset = stash.offset();
                let raw = raw(&stash);
                if !entry.deliver(id, topic, partition, offset, raw, &self.name, desk) {
                    if let Some(state) = entry.partitions.get_mut(&partition) {
                        state.stash = Some(stash);
                    }
                    return false;
                }
            }
            let Some(state) = entry.partitions.get_mut(&partition) else {
                continue;
            };
            if state.passed
                && let Some(next) = state.ledger.next()
            {
                let next = Offset::Offset(next);
                let sought = self
                    .consumer
                    .seek(topic, partition, next, Duration::from_secs(5));
                // The partition stays paused until the next attempt. Otherwise the records after
                // the stash would be skipped.
                if sought.is_err() {
                    all = false;
                    continue;
                }
            }
            state.passed = false;
            let _ = self.consumer.resume(&one(topic, partition));
        }
        all && entry.back.is_empty()
    }

    /// Leaves the group, which commits.
    pub(super) fn leave(self) {
        // A join that has just been cancelled may have the consumer, too, and waits for an answer.
        if Arc::strong_count(&self.consumer) > 1 && self.consumer.close_queue().is_ok() {
            let deadline = Instant::now() + LEAVE;
            while !self.consumer.closed() && Instant::now() < deadline {
                self.consumer.poll(Duration::from_millis(50));
            }
        }
    }

    /// Makes librdkafka commit the handled messages, at its next interval or when a partition is
    /// taken away.
    pub(super) fn store(&mut self) {
        let mut list = TopicPartitionList::new();
        for (topic, entry) in &mut self.topics {
            for (partition, state) in &mut entry.partitions {
                let position = state.ledger.position();
                if state.owned && position.is_some() && position != state.stored {
                    state.stored = position;
                    let offset = Offset::Offset(position.unwrap_or_default());
                    let _ = list.add_partition_offset(topic, *partition, offset);
                }
            }
        }
        if list.count() > 0 {
            // Offsets of partitions that are no longer owned are not stored: their messages come
            // again in another process.
            let _ = self.consumer.store_offsets(&list);
        }
    }
}
