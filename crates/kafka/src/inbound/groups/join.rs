//! The requests that make this process a member of a group on one topic.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed_broker::Start;
use fanfeed_broker::driver::{LinkError, SinkError};
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::member::Member;
use crate::inbound::contact::{Contact, is_denied, is_group_denied, refused};
use crate::inbound::opening::Cancel;
use crate::outbound::explain;

/// The least time after which a join that has not succeeded is reported.
const LEAST: Duration = Duration::from_secs(8);

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Partitions, and the offsets from which they are read.
pub(super) type Begins = Vec<(i32, i64)>;

/// The offsets of a topic's partitions.
struct Offsets {
    /// The partitions without a committed offset, with the offsets that they should have.
    missing: Begins,
    committed: Begins,
}

/// The requests, which run on a thread of their own.
pub(super) struct Join {
    pub(super) contact: Contact,
    pub(super) consumer: Arc<BaseConsumer<Member>>,
    /// The name of the group, as the members use it.
    pub(super) group: String,
    pub(super) topic: Arc<str>,
    pub(super) start: Start,
    /// Whether the topic was denied earlier.
    pub(super) was_denied: bool,
    pub(super) progress: Arc<Progress>,
}

/// What the thread of a join tells the receiving thread.
#[derive(Debug, Default)]
pub(super) struct Progress {
    wants_membership: AtomicBool,
    /// The partitions that had no committed offset at the last look, and the offsets that they
    /// should have.
    missing: Mutex<Begins>,
}

// ORDERING: nothing else is read because of the flag, so Relaxed.
impl Progress {
    /// Whether the consumer has to subscribe to the topic before the join can go on. True once.
    pub(super) fn take_wants_membership(&self) -> bool {
        self.wants_membership.swap(false, Ordering::Relaxed)
    }

    /// Returns the offset from which a partition has to be read, if it has no committed one.
    pub(super) fn start(&self, partition: i32) -> Option<i64> {
        let missing = self.missing.lock();
        let found = missing.iter().find(|(other, _)| *other == partition);
        found.map(|(_, offset)| *offset)
    }
}

impl Join {
    /// Ensures that each partition of the topic has a committed offset. After that, no published
    /// message is missed. Returns the partitions that had none at first, and the offsets that they
    /// have now. The consumer may have got these partitions before that.
    ///
    /// The ends of the partitions are requested before the committed offsets. So if two members
    /// find no offsets at the same time, and both commit, neither skips messages that were
    /// published after the other was ready.
    pub(super) fn run(self, cancel: &Cancel) -> Result<Begins, SinkError> {
        let Join {
            contact,
            consumer,
            topic,
            progress,
            ..
        } = &self;
        cancel.check()?;
        if self.was_denied
            && let Some(error) = contact.denied(topic)
        {
            return Err(refused(&error, topic));
        }
        let partitions = contact.partitions(consumer, topic, cancel)?;
        let deadline = Instant::now() + contact.config.dial.max(LEAST);
        let mut is_member = false;
        let mut was_missing = BTreeSet::new();
        let mut has_committed = false;
        loop {
            let starts = contact.starts(consumer, topic, partitions, &self.start, cancel)?;
            let offsets = self.offsets(&starts);
            if let Ok(offsets) = &offsets {
                *progress.missing.lock() = offsets.missing.clone();
            }
            let error = match offsets {
                Ok(mut offsets) if offsets.missing.is_empty() => {
                    let begins = &mut offsets.committed;
                    begins.retain(|(partition, _)| was_missing.contains(partition));
                    return Ok(offsets.committed);
                }
                Ok(Offsets { missing, .. }) => {
                    was_missing.extend(missing.iter().map(|(partition, _)| *partition));
                    self.commit(&missing).err()
                }
                Err(error) => Some(error),
            };
            match error {
                // The next attempt finds the committed offsets.
                None if !std::mem::replace(&mut has_committed, true) => continue,
                None if Instant::now() >= deadline => {
                    let reason = "the servers return no offset, although one was committed";
                    return Err(LinkError::new(self.not_joined(reason)).into());
                }
                Some(error) if is_denied(&error) || is_group_denied(&error) => {
                    return Err(refused(&error, topic));
                }
                // The group already has members. Only members may commit, so this process has to
                // become one.
                Some(KafkaError::ConsumerCommit(_)) if !is_member => {
                    is_member = true;
                    progress.wants_membership.store(true, Ordering::Relaxed);
                    contact.wake.ring();
                }
                Some(error) if Instant::now() >= deadline => {
                    let reason = explain(&error, topic);
                    return Err(LinkError::new(self.not_joined(&reason)).into());
                }
                _ => {}
            }
            thread::sleep(PAUSE);
        }
    }

    /// Why the subscription stays pending. The engine reports it, and opens the subscription again.
    fn not_joined(&self, reason: &str) -> String {
        format!(
            "the group `{}` could not be joined in time, and is tried again: {reason}",
            self.group
        )
    }

    fn commit(&self, begins: &Begins) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in begins {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))?;
        }
        self.consumer.commit(&list, CommitMode::Sync)
    }

    /// Asks for the committed offsets. `starts` are those that the partitions should have.
    fn offsets(&self, starts: &[i64]) -> Result<Offsets, KafkaError> {
        let topic = &self.topic;
        let mut all = TopicPartitionList::new();
        for at in 0..starts.len() {
            all.add_partition(topic, at as i32);
        }
        let committed = self
            .consumer
            .committed_offsets(all, Duration::from_secs(2))?;
        let mut offsets = Offsets {
            missing: Begins::new(),
            committed: Begins::new(),
        };
        for (at, start) in starts.iter().enumerate() {
            let Some(element) = committed.find_partition(topic, at as i32) else {
                continue;
            };
            element.error()?;
            match element.offset() {
                Offset::Invalid => offsets.missing.push((at as i32, *start)),
                Offset::Offset(offset) => offsets.committed.push((at as i32, offset)),
                _ => {}
            }
        }
        Ok(offsets)
    }
}
