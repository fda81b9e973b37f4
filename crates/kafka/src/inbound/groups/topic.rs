//! One topic of a group: it chooses the member that gets the next record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Message as KafkaMessage;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::dead::{Letter, Origin, Sent};
use super::member::Member;
use super::{Desk, Held, Topic};
use crate::inbound::contact::Contact;
use crate::inbound::ledger::Read;
use crate::record::{self, Raw};

pub(super) fn one(topic: &str, partition: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    list
}

/// Reports records that were removed before this group read them, or a topic that was made again.
pub(super) fn report_gap(
    entry: &mut Topic,
    consumer: &BaseConsumer<Member>,
    contact: &Contact,
    message: &BorrowedMessage<'_>,
    expected: i64,
) {
    let offset = message.offset();
    let Some(state) = entry.partitions.get_mut(&message.partition()) else {
        return;
    };
    let missed = if offset < expected {
        state.ledger.renew();
        None
    } else {
        // Transactions and compaction leave holes in the offsets, which are not losses.
        let recent = state
            .checked
            .is_some_and(|at| at.elapsed() < Duration::from_secs(1));
        if recent
            || contact
                .removed(consumer, message.topic(), message.partition(), expected)
                .is_none()
        {
            state.checked = Some(Instant::now());
            return;
        }
        u64::try_from(offset - expected).ok()
    };
    if let Some(sink) = entry.sinks.first() {
        sink.gap(missed);
    }
}

impl Topic {
    /// Ends its subscriptions.
    pub(super) fn fail(&mut self, reason: String) {
        for sink in &self.sinks {
            sink.fail(reason.clone());
        }
        self.denied = Some(reason);
    }

    /// Delivers a record to the next member with room. Returns false if there is none.
    #[expect(clippy::too_many_arguments, reason = "a record has that many parts")]
    pub(super) fn deliver(
        &mut self,
        id: &str,
        topic: &Arc<str>,
        partition: i32,
        offset: i64,
        raw: Result<Raw<'_>, &'static str>,
        group: &str,
        desk: &mut Desk<'_>,
    ) -> bool {
        let Some(first) = self.sinks.first() else {
            return false;
        };
        let key = first.key().clone();
        let room = !desk.dead.is_full() && self.sinks.iter().any(|sink| sink.room() > 0);
        let state = self.partitions.entry(partition).or_default();
        // Checked before the record is recorded as read, so that it stays the next one.
        if !room {
            return false;
        }
        let time = raw.as_ref().ok().and_then(|raw| raw.milliseconds);
        match state.ledger.read(offset, time) {
            Read::Known => return true,
            Read::New => {}
            Read::Recreated => first.gap(None),
        }
        let (reason, arrived) = match raw {
            Err(reason) => (reason.to_owned(), &b""[..]),
            Ok(raw) if !self.alone && !record::is_of(&key, &raw) => return true,
            Ok(raw) => match record::read(&key, desk.contact.config.max_message, &raw) {
                Err(error) => (error.to_string(), raw.payload.unwrap_or_default()),
                Ok(message) => {
                    let epoch = state.ledger.deliver(offset, time);
                    let held = Held {
                        consumer_group: id.to_owned(),
                        topic: Arc::clone(topic),
                        partition,
                        offset,
                        epoch,
                        attempt: 1,
                        message,
                    };
                    if let Err(held) = self.hand(held, desk) {
                        // A member lost its room in the meantime. This message is the next to be
                        // delivered.
                        self.back.push_back(held);
                        return true;
                    }
                    return true;
                }
            },
        };
        first.undecodable(&*reason, arrived);
        let origin = Origin {
            consumer_group: id.to_owned(),
            topic: Arc::clone(topic),
            partition,
            offset,
            epoch: state.ledger.deliver(offset, time),
        };
        match desk.dead.send(Letter::unread(group, first, origin, reason)) {
            Sent::OnItsWay => {}
            Sent::Over(letter) => letter.conclude(state),
            Sent::NoRoom(letter) => desk.dead.unburied.push(*letter),
        }
        true
    }

    pub(super) fn deliver_again(
        &mut self,
        mut held: Held,
        desk: &mut Desk<'_>,
    ) -> Result<(), Held> {
        let owned = self
            .partitions
            .get(&held.partition)
            .is_some_and(|state| state.owned);
        if !owned {
            return Ok(());
        }
        held.attempt += 1;
        self.hand(held, desk).map_err(|mut held| {
            held.attempt -= 1;
            held
        })
    }

    /// Gives a message to the next member with room.
    fn hand(&mut self, held: Held, desk: &mut Desk<'_>) -> Result<(), Held> {
        for _ in 0..self.sinks.len() {
            self.turn = (self.turn + 1) % self.sinks.len();
            let sink = &self.sinks[self.turn];
            if sink.room() == 0 {
                continue;
            }
            let tag = *desk.next_tag;
            if sink
                .deliver(held.message.clone(), tag, held.attempt)
                .is_ok()
            {
                *desk.next_tag += 1;
                desk.held.insert(tag, held);
                self.held += 1;
                return Ok(());
            }
        }
        Err(held)
    }
}
