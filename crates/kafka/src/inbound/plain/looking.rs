//! Watches topics: errors, new partitions, and deleted topics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Cursor, LOOKS, Part, Plain};
use crate::inbound::contact::{is_denied, is_missing};
use crate::inbound::trouble::Finding;
use crate::outbound::explain;

impl Plain {
    /// Acts on the errors of the consumers.
    pub(crate) fn heed(&mut self) {
        if let Some(finding) = self.trouble.look(&self.contact, self.topics.keys()) {
            self.obey(finding);
        }
    }

    fn obey(&self, finding: Finding) {
        let mut readings = self.sinks.values();
        match finding {
            Finding::Over(error) => {
                readings.for_each(|reading| reading.sink.fail(explain(&error, &reading.topic)));
            }
            Finding::Denied(topic, error) => readings
                .filter(|reading| reading.topic == topic)
                .for_each(|reading| reading.sink.fail(explain(&error, &topic))),
            Finding::Other(error) => {
                if let Some(reading) = readings.next() {
                    let reason = explain(&error, &reading.topic);
                    reading.sink.undecodable(reason, b"");
                }
            }
        }
    }

    /// Checks some topics for new partitions, and whether they were deleted or made again. Called
    /// once in `interval`.
    pub(crate) fn refresh(&mut self, interval: Duration) {
        if self.looks.is_empty() {
            self.looks = self.topics.keys().cloned().collect();
        }
        let rounds = self.contact.config.refresh.as_millis().max(1) / interval.as_millis().max(1);
        let each = self.topics.len().div_ceil(rounds.max(1) as usize);
        // If a topic was deleted, all are checked soon.
        let count = if std::mem::take(&mut self.missing) {
            self.topics.len()
        } else {
            each
        };
        let started = Instant::now();
        for at in 0..count {
            if at > 0 && started.elapsed() >= LOOKS {
                break;
            }
            let Some(topic) = self.looks.pop() else {
                break;
            };
            self.refresh_topic(&topic);
        }
    }

    fn refresh_topic(&mut self, topic: &Arc<str>) {
        let Some(entry) = self.topics.get_mut(topic) else {
            return;
        };
        let found = match self.contact.look(&self.live, topic, Duration::from_secs(1)) {
            Ok(found) => found as usize,
            Err(error) => {
                entry.gone |= is_missing(&error);
                if is_denied(&error) {
                    let finding = self.trouble.deny(Arc::clone(topic), error);
                    self.obey(finding);
                }
                return;
            }
        };
        entry.gone = false;
        self.grow(topic, found);
    }

    /// Reads the new partitions of a topic that has this many.
    pub(super) fn grow(&mut self, topic: &Arc<str>, found: usize) {
        let Some(entry) = self.topics.get_mut(topic) else {
            return;
        };
        let before = entry.parts.len();
        if found <= before {
            return;
        }
        entry.parts.resize_with(found, Part::default);
        let ids: Vec<u64> = self
            .sinks
            .iter_mut()
            .filter(|(_, reading)| reading.topic == *topic)
            .map(|(id, reading)| {
                // A new partition had no records before.
                reading.next.resize(found, 0);
                *id
            })
            .collect();
        if ids.is_empty() {
            return;
        }
        let mut fresh = TopicPartitionList::new();
        for at in before..found {
            let _ = fresh.add_partition_offset(topic, at as i32, Offset::Offset(0));
            entry.parts[at].live = Cursor {
                sinks: ids.clone(),
                assigned: true,
                ..Cursor::default()
            };
        }
        let _ = self.live.incremental_assign(&fresh);
    }
}
