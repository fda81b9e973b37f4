//! Takes records from the consumers, and delivers them to the subscriptions that read there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Message as KafkaMessage;
use rdkafka::consumer::Consumer;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::{Part, Plain, ROUND, Reading, Which};
use crate::counted::Counted;
use crate::inbound::contact::{is_group_denied, is_missing, raw, raw_of};
use crate::record::{self, Raw};

impl Plain {
    /// Delivers the records that arrived. Returns true if there may be more.
    pub(crate) fn poll(&mut self) -> bool {
        self.open_answered();
        let mut more = self.poll_one(Which::Live);
        if self.behind.is_some() {
            more |= self.poll_one(Which::Behind);
        }
        self.deliver_bursts();
        more
    }

    fn poll_one(&mut self, which: Which) -> bool {
        let consumer = match (which, &self.behind) {
            (Which::Live, _) => Arc::clone(&self.live),
            (Which::Behind, Some(behind)) => Arc::clone(behind),
            (Which::Behind, None) => return false,
        };
        // A poll that serves an event other than a record returns as if there were no record.
        let mut nothing = 0;
        for _ in 0..ROUND {
            match consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    nothing = 0;
                    self.take(which, &message);
                }
                Some(Err(error)) if is_missing(&error) => self.missing = true,
                // The consumer uses no group, so it does not matter if the name of its group is
                // denied.
                Some(Err(error)) if is_group_denied(&error) => {}
                Some(Err(error)) => self.trouble.note(error),
                None => {
                    self.deliver_bursts();
                    nothing += 1;
                    if nothing > crate::inbound::NOTHING {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Takes one record.
    fn take(&mut self, which: Which, message: &BorrowedMessage<'_>) {
        let (offset, at) = (message.offset(), message.partition() as usize);
        let topic = message.topic();
        let Some(part) = self
            .topics
            .get_mut(topic)
            .and_then(|entry| entry.parts.get_mut(at))
        else {
            return;
        };
        let cursor = part.cursor(which);
        if !cursor.assigned {
            return;
        }
        if cursor.stash.is_some() || cursor.passed {
            cursor.passed = true;
            return;
        }
        // The usual case needs no second look-up in the tables.
        if offset == cursor.next && part.behind.sinks.is_empty() {
            let limit = self.contact.config.max_message;
            if deliver(
                part,
                (&mut self.sinks, &mut self.gathering),
                limit,
                which,
                at,
                offset,
                &raw_of(topic, message),
            ) == Delivered::ToAll
            {
                part.cursor(which).next = offset + 1;
                return;
            }
        }
        if let Some((topic, _)) = self.topics.get_key_value(topic) {
            let topic = Arc::clone(topic);
            self.take_slowly(which, &topic, at, message);
        }
    }

    fn take_slowly(
        &mut self,
        which: Which,
        topic: &Arc<str>,
        at: usize,
        message: &BorrowedMessage<'_>,
    ) {
        // The rest may take time, and reads the room of subscriptions.
        self.deliver_bursts();
        let offset = message.offset();
        let Some(part) = self.part(topic, at) else {
            return;
        };
        let expected = part.cursor(which).next;
        if offset != expected {
            self.jump(which, topic, at, expected, offset);
        }
        let taken = self.deliver(which, topic, at, offset, &raw(message));
        self.deliver_bursts();
        let Some(part) = self.part(topic, at) else {
            return;
        };
        let cursor = part.cursor(which);
        if taken {
            cursor.next = offset + 1;
            self.promote(topic, at);
            return;
        }
        cursor.paused = true;
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, at as i32);
        match which {
            Which::Live => {
                cursor.next = offset;
                cursor.stash = Some(message.detach());
                let _ = self.live.pause(&list);
            }
            Which::Behind => {
                // The record is read again when the consumer is sent back.
                cursor.next = offset + 1;
                if let Some(behind) = &self.behind {
                    let _ = behind.pause(&list);
                }
            }
        }
        self.waiting.insert((Arc::clone(topic), at));
    }

    /// Called when the offset is not the expected one: records were removed, or the topic was made
    /// again.
    fn jump(&mut self, which: Which, topic: &Arc<str>, at: usize, expected: i64, offset: i64) {
        let consumer = match (which, &self.behind) {
            (Which::Behind, Some(behind)) => behind,
            _ => &self.live,
        };
        let Some(part) = self
            .topics
            .get_mut(topic)
            .and_then(|entry| entry.parts.get_mut(at))
        else {
            return;
        };
        let back = offset < expected;
        if !back {
            // Transactions and compaction leave holes in the offsets, which are not losses.
            let recent = part
                .checked
                .is_some_and(|at| at.elapsed() < Duration::from_secs(1));
            if recent
                || self
                    .contact
                    .removed(consumer, topic, at as i32, expected)
                    .is_none()
            {
                part.checked = Some(Instant::now());
                return;
            }
        }
        if back {
            part.cursor(which).next = offset;
        }
        for id in part.cursor(which).sinks.clone() {
            let Some(reading) = self.sinks.get_mut(&id) else {
                continue;
            };
            let next = reading.next[at];
            if back {
                reading.next[at] = offset;
                reading.sink.gap(None);
            } else if next < offset {
                reading.next[at] = offset;
                reading.sink.gap(u64::try_from(offset - next).ok());
            }
        }
    }

    /// Delivers a record to all subscriptions of a cursor that have not had it. Subscriptions
    /// without room fall behind. Returns false if none of them had room, so that the record has to
    /// be kept.
    pub(super) fn deliver(
        &mut self,
        which: Which,
        topic: &Arc<str>,
        at: usize,
        offset: i64,
        raw: &Result<Raw<'_>, &'static str>,
    ) -> bool {
        let Some(part) = self
            .topics
            .get_mut(topic)
            .and_then(|entry| entry.parts.get_mut(at))
        else {
            return true;
        };
        let limit = self.contact.config.max_message;
        let sinks = (&mut self.sinks, &mut self.gathering);
        let full = match deliver(part, sinks, limit, which, at, offset, raw) {
            Delivered::ToAll => return true,
            Delivered::Without(full) => full,
        };
        let cursor = part.cursor(which);
        if full.len() == cursor.sinks.len() {
            return false;
        }
        self.waiting.insert((Arc::clone(topic), at));
        match which {
            Which::Live => {
                cursor.sinks.retain(|id| !full.contains(id));
                part.behind.sinks.extend(full);
                true
            }
            // The other subscriptions continue, if there are any.
            Which::Behind => cursor.sinks.iter().any(|id| {
                let reading = self.sinks.get(id);
                reading.is_some_and(|reading| reading.next[at] > offset)
            }),
        }
    }

    /// Makes subscriptions that have caught up live again.
    pub(super) fn promote(&mut self, topic: &Arc<str>, at: usize) {
        let Some(part) = self
            .topics
            .get_mut(topic)
            .and_then(|entry| entry.parts.get_mut(at))
        else {
            return;
        };
        if part.behind.sinks.is_empty() || !part.live.assigned {
            return;
        }
        let live = part.live.next;
        let sinks = &self.sinks;
        let caught_up = |id: &u64| sinks.get(id).is_none_or(|reading| reading.next[at] >= live);
        let (up, left): (Vec<u64>, Vec<u64>) =
            part.behind.sinks.iter().partition(|id| caught_up(id));
        if up.is_empty() {
            return;
        }
        part.behind.sinks = left;
        part.live.sinks.extend(up);
        self.tidy(topic, at);
    }
}

/// Which subscriptions of a cursor got a record.
#[derive(Debug, PartialEq, Eq)]
enum Delivered {
    ToAll,
    /// All except these, which had no room or wait for an earlier place.
    Without(Vec<u64>),
}

/// Delivers a record to all subscriptions of a cursor that have not had it.
fn deliver(
    part: &mut Part,
    (sinks, gathering): (&mut Counted<Reading>, &mut Vec<u64>),
    limit: usize,
    which: Which,
    at: usize,
    offset: i64,
    raw: &Result<Raw<'_>, &'static str>,
) -> Delivered {
    let cursor = part.cursor(which);
    let reached = cursor.next;
    let mut full = Vec::new();
    let mut last: Option<fanfeed_broker::Message> = None;
    for id in &cursor.sinks {
        let Some(reading) = sinks.get_mut(id) else {
            continue;
        };
        if reading.next[at] > offset {
            continue;
        }
        // It waits for a place before this one, which the consumer has passed.
        if reading.next[at] < reached {
            full.push(*id);
            continue;
        }
        let delivered = match raw {
            Err(reason) => {
                reading.sink.undecodable(*reason, b"");
                true
            }
            Ok(raw) if !reading.alone && !record::is_of(reading.sink.key(), raw) => true,
            Ok(raw) => {
                // The subscriptions of one key share the message.
                let message = match last.take() {
                    Some(message) if message.key() == reading.sink.key() => Ok(message),
                    _ => record::read(reading.sink.key(), limit, raw),
                };
                match message {
                    Ok(message) => {
                        if cursor.sinks.len() > 1 {
                            last = Some(message.clone());
                        }
                        let is_first = reading.burst.is_empty();
                        let burst = &mut reading.burst;
                        let gathered = reading.sink.gather(burst, message, 0, 1).is_ok();
                        if is_first && !burst.is_empty() {
                            gathering.push(*id);
                        }
                        gathered || reading.sink.is_closed()
                    }
                    Err(error) => {
                        let payload = raw.payload.unwrap_or_default();
                        reading.sink.undecodable(error.to_string(), payload);
                        true
                    }
                }
            }
        };
        if delivered {
            reading.next[at] = offset + 1;
        } else {
            full.push(*id);
        }
    }
    match full.is_empty() {
        true => Delivered::ToAll,
        false => Delivered::Without(full),
    }
}
