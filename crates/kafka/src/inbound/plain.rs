//! Plain subscriptions: all partitions of their topics, assigned by hand.
//!
//! One consumer reads for all of them, so more subscriptions need no more threads. A consumer has
//! one position in each partition, so subscriptions of one topic that are at different places need
//! more than one. There are two, the *live* one and the one *behind*:
//!
//! - If a subscription has no room and is the only one of its partition, the partition is paused.
//! - If it has no room but others read the partition too, it leaves the live consumer, so that it
//!   does not delay them, and the consumer behind serves it. This consumer reads from the earliest
//!   place that is needed, and each subscription skips the records that it has had.
//! - When the subscription has caught up, it is live again.
//!
//! Each subscription has its own next offset in each partition, and only this offset decides what
//! it gets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{Burst, LinkError, Sink, SinkError};
use rdkafka::Message as KafkaMessage;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::OwnedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::client::Reporter;
use crate::counted::Counted;
use crate::inbound::LONGEST;
use crate::inbound::contact::{ALONE, Contact, raw, refused};
use crate::inbound::opening::Openings;
use crate::inbound::trouble::Trouble;

mod looking;
mod opening;
mod taking;

use opening::Opening;

/// How many records of one consumer are taken at a time.
const ROUND: usize = 1000;

/// How long each check of topics may take, because it delays all other work. At least one topic is
/// checked.
const LOOKS: Duration = Duration::from_millis(20);

/// How long a seek may take.
const SEEK: Duration = Duration::from_secs(5);

pub(crate) struct Plain {
    contact: Contact,
    live: Arc<BaseConsumer<Reporter>>,
    /// Made when it is first needed.
    behind: Option<Arc<BaseConsumer<Reporter>>>,
    topics: HashMap<Arc<str>, Topic>,
    sinks: Counted<Reading>,
    /// Partitions in which a subscription waits for room.
    waiting: HashSet<(Arc<str>, usize)>,
    /// The time at which they were last checked.
    looked: Instant,
    /// Topics whose partitions are checked next.
    looks: Vec<Arc<str>>,
    /// Whether an error said that a topic was deleted.
    missing: bool,
    trouble: Trouble,
    /// The subscriptions whose bursts may have messages. No burst has any when `poll` returns, or
    /// where the room of a subscription is read.
    gathering: Vec<u64>,
    openings: Openings<Vec<i64>>,
    /// The subscriptions that are being opened, by the numbers of their openings.
    opening: HashMap<u64, Opening>,
    /// The subscriptions that were opened, or could not be, and the outcomes.
    opened: Vec<(u64, Result<(), SinkError>)>,
}

/// One subscription.
struct Reading {
    sink: Sink,
    burst: Burst,
    topic: Arc<str>,
    /// Whether it takes each record of its topic.
    alone: bool,
    /// The next offset in each partition.
    next: Vec<i64>,
}

impl Reading {
    /// Whether half of its buffer is free. Less is not worth it, because reading again delays all
    /// other subscriptions.
    fn has_room(&self) -> bool {
        2 * self.sink.room() >= self.sink.buffer()
    }
}

#[derive(Default)]
struct Topic {
    parts: Vec<Part>,
    gone: bool,
}

/// One partition.
#[derive(Default)]
struct Part {
    live: Cursor,
    behind: Cursor,
    checked: Option<Instant>,
}

/// The place of one of the consumers in a partition.
#[derive(Default)]
struct Cursor {
    /// The subscriptions that read with this consumer. Each has had the records before its own next
    /// offset. A subscription whose offset is less than the consumer's gets nothing from it until
    /// the consumer is sent back.
    sinks: Vec<u64>,
    assigned: bool,
    paused: bool,
    /// The offset of the next record that the consumer will return.
    next: i64,
    /// A record for which no subscription had room.
    stash: Option<OwnedMessage>,
    /// Whether the consumer returned a record after the stash, which has to be read again.
    passed: bool,
}

impl Cursor {
    /// Takes the partition away from the consumer.
    fn leave(&mut self, consumer: &BaseConsumer<Reporter>, list: &TopicPartitionList) {
        if self.paused {
            // Otherwise it would still be paused when it is assigned again.
            let _ = consumer.resume(list);
        }
        let _ = consumer.incremental_unassign(list);
        *self = Cursor::default();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Live,
    Behind,
}

impl Part {
    fn cursor(&mut self, which: Which) -> &mut Cursor {
        match which {
            Which::Live => &mut self.live,
            Which::Behind => &mut self.behind,
        }
    }
}

impl Plain {
    pub(crate) fn new(contact: Contact) -> Result<Self, ConnectError> {
        Ok(Plain {
            live: consumer(&contact)?,
            behind: None,
            topics: HashMap::new(),
            sinks: Counted::default(),
            waiting: HashSet::new(),
            looked: Instant::now(),
            looks: Vec::new(),
            missing: false,
            trouble: Trouble::default(),
            gathering: Vec::new(),
            openings: Openings::new(contact.wake.clone()),
            opening: HashMap::new(),
            opened: Vec::new(),
            contact,
        })
    }

    pub(crate) fn take_lost(&self) -> Option<String> {
        self.contact.take_lost()
    }

    /// Puts a subscription into the cursors of its partitions.
    fn place(&mut self, id: u64, topic: &Arc<str>, next: &[i64]) -> Result<(), SinkError> {
        let mut fresh = TopicPartitionList::new();
        let mut behind = Vec::new();
        let Some(entry) = self.topics.get_mut(topic) else {
            return Ok(());
        };
        for (at, (part, next)) in entry.parts.iter_mut().zip(next).enumerate() {
            if !part.live.assigned {
                part.live = Cursor {
                    assigned: true,
                    next: *next,
                    ..Cursor::default()
                };
                fresh
                    .add_partition_offset(topic, at as i32, Offset::Offset(*next))
                    .map_err(|error| refused(&error, topic))?;
                part.live.sinks.push(id);
            } else if *next >= part.live.next {
                part.live.sinks.push(id);
            } else {
                part.behind.sinks.push(id);
                behind.push(at);
            }
        }
        if fresh.count() > 0 {
            self.live
                .incremental_assign(&fresh)
                .map_err(|error| refused(&error, topic))?;
        }
        for at in behind {
            self.aim(topic, at)?;
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, id: u64) {
        let mut opening = self.opening.iter();
        if let Some((&number, _)) = opening.find(|(_, opening)| opening.sink.id() == id) {
            self.opening.remove(&number);
            self.openings.cancel(number);
        }
        let Some(reading) = self.sinks.remove(&id) else {
            return;
        };
        let topic = reading.topic;
        let Some(entry) = self.topics.get_mut(&topic) else {
            return;
        };
        let count = entry.parts.len();
        for part in &mut entry.parts {
            part.live.sinks.retain(|other| *other != id);
            part.behind.sinks.retain(|other| *other != id);
        }
        for at in 0..count {
            self.tidy(&topic, at);
        }
        if !self.sinks.values().any(|other| other.topic == topic) {
            self.topics.remove(&topic);
            self.waiting.retain(|(name, _)| *name != topic);
        }
    }

    /// Drops the cursors of a partition that no subscription needs. If none is live, the
    /// subscription that is least behind becomes live.
    fn tidy(&mut self, topic: &Arc<str>, at: usize) {
        let Some(part) = self
            .topics
            .get_mut(topic)
            .and_then(|entry| entry.parts.get_mut(at))
        else {
            return;
        };
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, at as i32);
        if part.live.sinks.is_empty() && part.live.assigned {
            part.live.leave(&self.live, &list);
        }
        if part.live.sinks.is_empty() {
            let next = |id: &u64| self.sinks.get(id).map(|reading| reading.next[at]);
            if let Some(best) = part.behind.sinks.iter().copied().max_by_key(next) {
                part.behind.sinks.retain(|id| *id != best);
                let next = next(&best).unwrap_or_default();
                part.live = Cursor {
                    sinks: vec![best],
                    assigned: true,
                    next,
                    ..Cursor::default()
                };
                if list
                    .set_partition_offset(topic, at as i32, Offset::Offset(next))
                    .is_ok()
                {
                    let _ = self.live.incremental_assign(&list);
                }
            }
        }
        if part.behind.sinks.is_empty()
            && part.behind.assigned
            && let Some(behind) = &self.behind
        {
            part.behind.leave(behind, &list);
        }
    }

    /// Makes the consumer behind read from the earliest place at which a subscription has room.
    fn aim(&mut self, topic: &Arc<str>, at: usize) -> Result<(), SinkError> {
        let Some(part) = self
            .topics
            .get_mut(topic)
            .and_then(|entry| entry.parts.get_mut(at))
        else {
            return Ok(());
        };
        let ready = part.behind.sinks.iter().filter_map(|id| {
            let reading = self.sinks.get(id)?;
            reading.has_room().then(|| reading.next[at])
        });
        let Some(target) = ready.min() else {
            if !part.behind.sinks.is_empty() {
                self.waiting.insert((Arc::clone(topic), at));
            }
            return Ok(());
        };
        if self.behind.is_none() {
            let made =
                consumer(&self.contact).map_err(|error| LinkError::new(error.to_string()))?;
            self.behind = Some(made);
        }
        let Some(consumer) = &self.behind else {
            return Ok(());
        };
        let cursor = &mut part.behind;
        let partition = at as i32;
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(topic, partition, Offset::Offset(target));
        added.map_err(|error| refused(&error, topic))?;
        if !cursor.assigned {
            consumer
                .incremental_assign(&list)
                .map_err(|error| refused(&error, topic))?;
            cursor.assigned = true;
            cursor.paused = false;
            cursor.next = target;
        } else if target < cursor.next || cursor.paused {
            if target != cursor.next {
                let sought = consumer.seek(topic, partition, Offset::Offset(target), SEEK);
                sought.map_err(|error| LinkError::new(error.to_string()))?;
                cursor.next = target;
            }
            if std::mem::take(&mut cursor.paused) {
                consumer
                    .resume(&list)
                    .map_err(|error| refused(&error, topic))?;
            }
        }
        Ok(())
    }

    /// Whether partitions have to be checked although no subscription reported room. A subscription
    /// reports room once, when half of its buffer is free. If records of another partition take
    /// some of that room first, it does not report again.
    pub(crate) fn is_due(&self) -> bool {
        !self.waiting.is_empty() && self.looked.elapsed() >= LONGEST
    }

    /// Continues in partitions where a subscription waited for room and now has some. With `any`, a
    /// little room is enough if its consumer is the live one.
    pub(crate) fn look_for_room(&mut self, any: bool) {
        self.looked = Instant::now();
        for (topic, at) in std::mem::take(&mut self.waiting) {
            let Some(part) = self
                .topics
                .get_mut(&topic)
                .and_then(|entry| entry.parts.get_mut(at))
            else {
                continue;
            };
            let room = |id: &u64| {
                self.sinks
                    .get(id)
                    .is_some_and(|reading| reading.has_room() || any && reading.sink.room() > 0)
            };
            if part.live.stash.is_some() && !part.live.sinks.iter().any(room) {
                // The subscriptions behind continue nevertheless.
                self.waiting.insert((Arc::clone(&topic), at));
            } else if let Some(stash) = part.live.stash.take() {
                self.retry(&topic, at, stash);
            } else if part.live.paused {
                self.go_on(&topic, at);
            }
            // If this fails, the next check tries again.
            if self.aim(&topic, at).is_err() {
                self.waiting.insert((topic, at));
            }
        }
    }

    /// Delivers the gathered messages to their subscriptions.
    fn deliver_bursts(&mut self) {
        for id in self.gathering.drain(..) {
            if let Some(reading) = self.sinks.get_mut(&id) {
                reading.sink.deliver_burst(&mut reading.burst);
            }
        }
    }

    /// Delivers a record for which no subscription had room.
    fn retry(&mut self, topic: &Arc<str>, at: usize, stash: OwnedMessage) {
        let offset = stash.offset();
        let delivered = self.deliver(Which::Live, topic, at, offset, &raw(&stash));
        self.deliver_bursts();
        if !delivered {
            if let Some(part) = self.part(topic, at) {
                part.live.stash = Some(stash);
            }
            self.waiting.insert((Arc::clone(topic), at));
            return;
        }
        let Some(part) = self
            .topics
            .get_mut(topic)
            .and_then(|entry| entry.parts.get_mut(at))
        else {
            return;
        };
        part.live.next = offset + 1;
        self.go_on(topic, at);
    }

    /// Makes the live consumer read a paused partition again. If that fails, the partition stays
    /// paused until the next check, because the records after the stash would be skipped.
    fn go_on(&mut self, topic: &Arc<str>, at: usize) {
        let Some(part) = self
            .topics
            .get_mut(topic)
            .and_then(|entry| entry.parts.get_mut(at))
        else {
            return;
        };
        let cursor = &mut part.live;
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, at as i32);
        let next = Offset::Offset(cursor.next);
        let sought = !cursor.passed || self.live.seek(topic, at as i32, next, SEEK).is_ok();
        if sought && self.live.resume(&list).is_ok() {
            cursor.passed = false;
            cursor.paused = false;
        } else {
            self.waiting.insert((Arc::clone(topic), at));
        }
    }

    fn part(&mut self, topic: &str, at: usize) -> Option<&mut Part> {
        self.topics.get_mut(topic)?.parts.get_mut(at)
    }
}

fn consumer(contact: &Contact) -> Result<Arc<BaseConsumer<Reporter>>, ConnectError> {
    let consumer = contact.consumer(ALONE, contact.reporter.clone(), |settings| {
        settings.set("enable.auto.commit", "false");
    });
    consumer.map(Arc::new)
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain")
            .field("topics", &self.topics.len())
            .field("sinks", &self.sinks.len())
            .finish_non_exhaustive()
    }
}
