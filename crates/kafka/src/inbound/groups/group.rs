//! One group: its topics, and the records that its consumer returns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed_broker::driver::{LinkError, Sink, SinkError};
use rdkafka::Message as KafkaMessage;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::topic::{one, report_gap};
use super::{Desk, Group, Held, Topic};
use crate::inbound::contact::{Contact, is_denied, is_group_denied, raw, refused};
use crate::inbound::trouble::Finding;
use crate::outbound::explain;

impl Group {
    pub(super) fn subscribe(&self) -> Result<(), KafkaError> {
        let topics: Vec<&str> = self.topics.keys().map(|topic| &**topic).collect();
        if topics.is_empty() {
            self.consumer.unsubscribe();
            return Ok(());
        }
        self.consumer.subscribe(&topics)
    }

    /// Joins the group for another topic, and ensures that each of its partitions has a committed
    /// offset. After that, no published message is missed.
    ///
    /// It asks for the ends of the partitions before their committed offsets. So if two members
    /// find at the same time that there are no offsets, and both commit, neither skips messages
    /// that were published after the other was ready.
    pub(super) fn add_topic(
        &mut self,
        contact: &Contact,
        topic: &Arc<str>,
        alone: bool,
        sink: &Sink,
    ) -> Result<(), SinkError> {
        if let Some(error) = self.trouble.still_denied(contact, topic) {
            return Err(refused(&error, topic));
        }
        let partitions = contact.partitions(&self.consumer, topic)?;
        self.topics.insert(
            Arc::clone(topic),
            Topic {
                alone,
                sinks: Vec::new(),
                turn: 0,
                partitions: BTreeMap::new(),
                back: VecDeque::new(),
                held: 0,
                left: None,
                denied: None,
            },
        );
        let deadline = Instant::now() + contact.config.dial.max(Duration::from_secs(8));
        let mut joined = false;
        loop {
            let starts = contact.starts(&self.consumer, topic, partitions, sink.start())?;
            let missing = self.without_offset(topic, &starts);
            let error = match missing {
                Ok(missing) if missing.count() == 0 => {
                    if !joined {
                        self.subscribe().map_err(|error| refused(&error, topic))?;
                    }
                    return Ok(());
                }
                Ok(missing) => self.consumer.commit(&missing, CommitMode::Sync).err(),
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                match &error {
                    _ if is_denied(&error) || is_group_denied(&error) => {
                        return Err(refused(&error, topic));
                    }
                    // The group already has members. Only members may commit, so this process has
                    // to become one.
                    KafkaError::ConsumerCommit(_) if !joined => {
                        self.subscribe().map_err(|error| refused(&error, topic))?;
                        joined = true;
                    }
                    _ if Instant::now() >= deadline => {
                        return Err(LinkError::new(self.not_joined(&error, topic)).into());
                    }
                    _ => {}
                }
                self.wait_for_join();
                if let Some(error) = self.trouble.over() {
                    return Err(refused(error, topic));
                }
            }
        }
    }

    /// Why the subscription stays pending. The engine reports it, and opens the subscription again.
    fn not_joined(&self, error: &KafkaError, topic: &str) -> String {
        format!(
            "the group `{}` could not be joined in time, and is tried again: {}",
            self.name,
            explain(error, topic)
        )
    }

    /// Serves the consumer for a short time while it joins. Records are left for later: no
    /// partition is read before it is taken up, and records that are returned earlier are kept.
    pub(super) fn wait_for_join(&mut self) {
        let consumer = Arc::clone(&self.consumer);
        let polled = consumer.poll(Duration::from_millis(50));
        self.obey();
        match polled {
            Some(Ok(message)) => self.put_off(&message),
            Some(Err(error)) => self.trouble.note(error),
            None => {}
        }
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

    /// Returns the partitions without a committed offset, with the offsets that they should have.
    fn without_offset(
        &self,
        topic: &str,
        starts: &[i64],
    ) -> Result<TopicPartitionList, KafkaError> {
        let mut all = TopicPartitionList::new();
        for at in 0..starts.len() {
            all.add_partition(topic, at as i32);
        }
        let committed = self
            .consumer
            .committed_offsets(all, Duration::from_secs(2))?;
        let mut missing = TopicPartitionList::new();
        for (at, start) in starts.iter().enumerate() {
            let Some(element) = committed.find_partition(topic, at as i32) else {
                continue;
            };
            element.error()?;
            if element.offset() == Offset::Invalid {
                missing.add_partition_offset(topic, at as i32, Offset::Offset(*start))?;
            }
        }
        Ok(missing)
    }

    /// Takes up the partitions that the cluster assigned, and gives up those that it took away.
    pub(super) fn obey(&mut self) {
        let changes = std::mem::take(&mut *self.consumer.context().changes.lock());
        for change in changes {
            for (topic, partition) in &change.partitions {
                let Some(entry) = self.topics.get_mut(&**topic) else {
                    continue;
                };
                let state = entry.partitions.entry(*partition).or_default();
                state.owned = change.gained;
                state.stash = None;
                state.passed = false;
                state.stored = None;
                state.ledger.restart();
                if change.gained {
                    let _ = self.consumer.resume(&one(topic, *partition));
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
            let stash = entry
                .partitions
                .get_mut(&partition)
                .and_then(|state| state.stash.take());
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
