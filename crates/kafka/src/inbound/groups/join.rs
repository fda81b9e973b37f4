//! The requests that make this process a member of a group on one topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed_broker::Start;
use fanfeed_broker::driver::{LinkError, SinkError};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::member::Member;
use crate::inbound::contact::{Contact, is_denied, is_group_denied, refused};
use crate::outbound::explain;

/// The least time after which a join that has not succeeded is reported.
const LEAST: Duration = Duration::from_secs(8);

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Partitions, and the offsets from which they are read.
pub(super) type Begins = Vec<(i32, i64)>;

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

/// What the thread of a join and the receiving thread tell each other.
#[derive(Debug, Default)]
pub(super) struct Progress {
    is_cancelled: AtomicBool,
    wants_membership: AtomicBool,
}

// ORDERING: nothing else is read because of one of the flags, so Relaxed.
impl Progress {
    /// The outcome is no longer of use.
    pub(super) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    /// Whether the consumer has to subscribe to the topic before the join can go on. True once.
    pub(super) fn take_wants_membership(&self) -> bool {
        self.wants_membership.swap(false, Ordering::Relaxed)
    }
}

impl Join {
    /// Ensures that each partition of the topic has a committed offset. After that, no published
    /// message is missed. Returns the partitions for which it committed one, and these offsets.
    ///
    /// It asks for the ends of the partitions before their committed offsets. So if two members
    /// find at the same time that there are no offsets, and both commit, neither skips messages
    /// that were published after the other was ready.
    pub(super) fn run(self) -> Result<Begins, SinkError> {
        let Join {
            contact,
            consumer,
            topic,
            progress,
            ..
        } = &self;
        if self.was_denied
            && let Some(error) = contact.denied(topic)
        {
            return Err(refused(&error, topic));
        }
        let partitions = contact.partitions(consumer, topic)?;
        let deadline = Instant::now() + contact.config.dial.max(LEAST);
        let mut is_member = false;
        let mut begins = Begins::new();
        while !progress.is_cancelled() {
            let starts = contact.starts(consumer, topic, partitions, &self.start)?;
            let error = match self.without_offset(&starts) {
                Ok(missing) if missing.count() == 0 => return Ok(begins),
                Ok(missing) => {
                    let committed = consumer.commit(&missing, CommitMode::Sync);
                    if committed.is_ok() {
                        begins.extend(offsets(&missing));
                    }
                    committed.err()
                }
                Err(error) => Some(error),
            };
            match error {
                // The next attempt finds the committed offsets.
                None => continue,
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
                    return Err(LinkError::new(self.not_joined(&error)).into());
                }
                Some(_) => {}
            }
            thread::sleep(PAUSE);
        }
        Err(LinkError::new("the subscription has ended").into())
    }

    /// Why the subscription stays pending. The engine reports it, and opens the subscription again.
    fn not_joined(&self, error: &KafkaError) -> String {
        format!(
            "the group `{}` could not be joined in time, and is tried again: {}",
            self.group,
            explain(error, &self.topic)
        )
    }

    /// Returns the partitions without a committed offset, with the offsets that they should have.
    fn without_offset(&self, starts: &[i64]) -> Result<TopicPartitionList, KafkaError> {
        let topic = &self.topic;
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
}

fn offsets(list: &TopicPartitionList) -> Begins {
    let elements = list.elements();
    let known = elements.iter().filter_map(|element| {
        let offset = element.offset().to_raw()?;
        Some((element.partition(), offset))
    });
    known.collect()
}
