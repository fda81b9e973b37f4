//! Groups: each has a consumer, to which the cluster assigns partitions.
//!
//! The members of a group in one process share its consumer, and take its messages in turn. If each key has a topic of its
//! own, a group has one consumer for all its keys. Offsets are committed after the handlers ([`Ledger`]): if a process is
//! killed, the messages that it handled since its last commit come again.
//!
//! When the cluster takes a partition away, the messages that handlers are done with are committed. Running handlers run to
//! their end, and messages in the buffers are still handled; but another process then has the partition, and gets them too.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed_broker::Message;
use fanfeed_broker::driver::{LinkError, Sink, SinkError, Verdict};
use parking_lot::Mutex;
use rdkafka::Message as KafkaMessage;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, OwnedMessage};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::client::Reporter;
use crate::inbound::contact::{Contact, is_denied, is_group_denied, raw, refused};
use crate::inbound::ledger::Ledger;
use crate::inbound::trouble::{Finding, Trouble};
use crate::outbound::explain;
use crate::record::{self, Raw};

mod dead;

use dead::DeadLetters;

/// How many records of one consumer are taken at a time.
const ROUND: usize = 1000;

pub(crate) struct Groups {
    contact: Contact,
    /// By the names of the consumer groups.
    groups: HashMap<String, Group>,
    /// The consumer group and the topic of each subscription.
    sinks: HashMap<u64, (String, Arc<str>)>,
    /// The messages that handlers hold, by tag.
    held: HashMap<u64, Held>,
    next_tag: u64,
    /// Whether there are messages that were given back since the last look for room.
    given_back: bool,
    dead: DeadLetters,
}

/// A message that a handler holds.
struct Held {
    consumer_group: String,
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    epoch: u64,
    attempt: u32,
    message: Message,
}

struct Group {
    /// The name that the members use.
    name: String,
    consumer: Arc<BaseConsumer<Member>>,
    topics: HashMap<Arc<str>, Topic>,
    /// Topics with a partition that waits for room, or with messages that were given back.
    waiting: HashSet<Arc<str>>,
    trouble: Trouble,
}

struct Topic {
    /// Whether all records of the topic belong to the key.
    alone: bool,
    sinks: Vec<Sink>,
    turn: usize,
    partitions: BTreeMap<i32, Partition>,
    /// Messages that were given back.
    back: VecDeque<Held>,
    /// How many messages handlers hold.
    held: usize,
    /// Why it cannot be read any more, which has ended its subscriptions.
    denied: Option<String>,
}

#[derive(Default)]
struct Partition {
    ledger: Ledger,
    owned: bool,
    stash: Option<OwnedMessage>,
    passed: bool,
    stored: Option<i64>,
    checked: Option<Instant>,
}

/// What librdkafka reports about a member.
struct Member {
    reporter: Reporter,
    changes: Mutex<Vec<Change>>,
    /// Why a commit was denied.
    denied: Mutex<Option<KafkaError>>,
}

struct Change {
    gained: bool,
    partitions: Vec<(String, i32)>,
}

impl ClientContext for Member {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _text: &str) {}

    fn stats(&self, _statistics: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.report(&error, reason);
    }
}

impl ConsumerContext for Member {
    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let (gained, list) = match rebalance {
            Rebalance::Assign(list) => (true, list),
            Rebalance::Revoke(list) => (false, list),
            Rebalance::Error(_) => return,
        };
        let partitions = list
            .elements()
            .iter()
            .map(|element| (element.topic().to_owned(), element.partition()))
            .collect();
        self.changes.lock().push(Change { gained, partitions });
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, offsets: &TopicPartitionList) {
        let elements = offsets.elements();
        let errors = elements.iter().filter_map(|part| part.error().err());
        // After other errors, the next commit has what this one had.
        let denied = result
            .err()
            .into_iter()
            .chain(errors)
            .find(|error| is_denied(error) || is_group_denied(error));
        if denied.is_some() {
            *self.denied.lock() = denied;
        }
    }
}

impl Groups {
    pub(crate) fn new(contact: Contact) -> Self {
        Groups {
            dead: DeadLetters::new(&contact),
            contact,
            groups: HashMap::new(),
            sinks: HashMap::new(),
            held: HashMap::new(),
            next_tag: 0,
            given_back: false,
        }
    }

    pub(crate) fn take_lost(&self) -> Option<String> {
        self.contact.take_lost()
    }

    pub(crate) fn drop_ended(&mut self) {
        let ended: Vec<u64> = {
            let topics = self.groups.values().flat_map(|group| group.topics.values());
            let sinks = topics.flat_map(|topic| &topic.sinks);
            sinks
                .filter(|sink| sink.is_closed())
                .map(Sink::id)
                .collect()
        };
        for id in ended {
            self.close(id);
        }
    }

    pub(crate) fn open(&mut self, sink: &Sink, name: &str) -> Result<(), SinkError> {
        if self.sinks.contains_key(&sink.id()) {
            return Ok(());
        }
        let config = Arc::clone(&self.contact.config);
        let (topic, alone) = config
            .topic(sink.key())
            .map_err(|why| SinkError::Refused(why.into()))?;
        let id = config.consumer_group(name, sink.key(), alone);
        if !self.groups.contains_key(&id) {
            let group = self.start(&id, name)?;
            self.groups.insert(id.clone(), group);
        }
        let Some(group) = self.groups.get_mut(&id) else {
            return Ok(());
        };
        let topic: Arc<str> = topic.into();
        let denied = group.topics.get(&topic);
        if let Some(reason) = denied.and_then(|entry| entry.denied.as_deref()) {
            return Err(SinkError::Refused(reason.into()));
        }
        if !group.topics.contains_key(&topic) {
            let opened = group.add_topic(&self.contact, &topic, alone, sink);
            if let Err(error) = opened {
                group.topics.remove(&topic);
                let _ = group.subscribe();
                if group.topics.is_empty() {
                    self.groups.remove(&id);
                }
                return Err(error);
            }
        }
        if let Some(entry) = group.topics.get_mut(&topic) {
            entry.sinks.push(sink.clone());
            group.waiting.insert(Arc::clone(&topic));
        }
        self.sinks.insert(sink.id(), (id, topic));
        self.look_for_room();
        Ok(())
    }

    fn start(&self, id: &str, name: &str) -> Result<Group, SinkError> {
        let config = &self.contact.config;
        let member = Member {
            reporter: self.contact.reporter.clone(),
            changes: Mutex::default(),
            denied: Mutex::default(),
        };
        let millis = |duration: Duration| duration.as_millis().to_string();
        let beat = (config.session / 4).clamp(Duration::from_millis(1), Duration::from_secs(3));
        let consumer = self.contact.consumer(id, member, |settings| {
            settings
                .set("enable.auto.commit", "true")
                .set("auto.commit.interval.ms", millis(config.commit))
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", millis(config.session))
                .set("heartbeat.interval.ms", millis(beat))
                .set(
                    "max.poll.interval.ms",
                    millis(config.session.max(Duration::from_secs(300))),
                );
        });
        let consumer =
            consumer.map_err(|error| SinkError::Link(LinkError::new(error.to_string())))?;
        Ok(Group {
            name: name.to_owned(),
            consumer: Arc::new(consumer),
            topics: HashMap::new(),
            waiting: HashSet::new(),
            trouble: Trouble::default(),
        })
    }

    pub(crate) fn close(&mut self, sink: u64) {
        let Some((id, topic)) = self.sinks.remove(&sink) else {
            return;
        };
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        if let Some(entry) = group.topics.get_mut(&topic) {
            entry.sinks.retain(|other| other.id() != sink);
        }
        self.leave_idle(&id, &topic);
    }

    /// Leaves a topic to which nobody here is subscribed, once handlers hold no messages of it: then the handled ones are
    /// committed.
    fn leave_idle(&mut self, id: &str, topic: &Arc<str>) {
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        let idle = group
            .topics
            .get(topic)
            .is_some_and(|entry| entry.sinks.is_empty() && entry.held == 0);
        if !idle {
            return;
        }
        group.store();
        if group.topics.len() == 1 {
            // Dropping it leaves the group, and commits.
            self.groups.remove(id);
            return;
        }
        group.topics.remove(topic);
        group.waiting.remove(topic);
        let _ = group.subscribe();
    }

    /// Leaves all groups.
    pub(crate) fn leave(&mut self) {
        for group in self.groups.values_mut() {
            group.store();
        }
        self.groups.clear();
        self.sinks.clear();
        self.held.clear();
    }

    pub(crate) fn settle(&mut self, tag: u64, verdict: Verdict) {
        let Some(held) = self.held.remove(&tag) else {
            return;
        };
        let id = held.consumer_group.clone();
        let topic = Arc::clone(&held.topic);
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let Some(entry) = group.topics.get_mut(&topic) else {
            return;
        };
        entry.held -= 1;
        let partition = entry.partitions.entry(held.partition).or_default();
        match verdict {
            Verdict::Requeued | Verdict::Abandoned => {
                if partition.owned && !entry.sinks.is_empty() {
                    entry.back.push_back(held);
                    group.waiting.insert(Arc::clone(&topic));
                    self.given_back = true;
                } else {
                    // The next owner reads it again.
                    partition.ledger.give_back(held.offset, held.epoch);
                }
            }
            Verdict::GivenUp => {
                let kept = self.dead.keep(
                    &group.name,
                    &held.message,
                    &held.topic,
                    held.partition,
                    held.offset,
                );
                if kept {
                    partition.ledger.done(held.offset, held.epoch);
                }
            }
            // A verdict that a later engine may add counts as handled: otherwise the message would never be settled.
            _ => partition.ledger.done(held.offset, held.epoch),
        }
        if entry.sinks.is_empty() {
            self.leave_idle(&id, &topic);
        }
    }

    /// Delivers what has arrived. True if there may be more.
    pub(crate) fn poll(&mut self) -> bool {
        if std::mem::take(&mut self.given_back) {
            self.look_for_room();
        }
        let mut more = false;
        for (id, group) in &mut self.groups {
            let consumer = Arc::clone(&group.consumer);
            // A poll that meets an event other than a record returns as if there were nothing.
            let mut nothing = 0;
            for _ in 0..ROUND {
                let polled = consumer.poll(Duration::ZERO);
                group.obey();
                match polled {
                    Some(Ok(message)) => {
                        nothing = 0;
                        let mut desk = Desk {
                            contact: &self.contact,
                            held: &mut self.held,
                            next_tag: &mut self.next_tag,
                            dead: &mut self.dead,
                        };
                        group.take(id, &message, &mut desk);
                    }
                    Some(Err(error)) => group.trouble.note(error),
                    None => {
                        nothing += 1;
                        if nothing > super::NOTHING {
                            break;
                        }
                    }
                }
            }
            more |= nothing <= super::NOTHING;
            group.store();
        }
        more
    }

    /// Acts on the errors of the consumers.
    pub(crate) fn heed(&mut self) {
        for group in self.groups.values_mut() {
            group.heed(&self.contact);
        }
        let mut topics = self.groups.values().flat_map(|group| group.topics.values());
        if let Some(sink) = topics.find_map(|topic| topic.sinks.first())
            && let Some(reason) = self.dead.take_lost()
        {
            sink.undecodable(format!("a dead letter was lost: {reason}"));
        }
    }

    /// Goes on in partitions that waited for room and now have some.
    pub(crate) fn look_for_room(&mut self) {
        for (id, group) in &mut self.groups {
            for topic in std::mem::take(&mut group.waiting) {
                let mut desk = Desk {
                    contact: &self.contact,
                    held: &mut self.held,
                    next_tag: &mut self.next_tag,
                    dead: &mut self.dead,
                };
                if !group.retry(id, &topic, &mut desk) {
                    group.waiting.insert(topic);
                }
            }
        }
    }
}

/// What a group needs in order to deliver.
struct Desk<'a> {
    contact: &'a Contact,
    held: &'a mut HashMap<u64, Held>,
    next_tag: &'a mut u64,
    dead: &'a mut DeadLetters,
}

impl Group {
    fn subscribe(&self) -> Result<(), KafkaError> {
        let topics: Vec<&str> = self.topics.keys().map(|topic| &**topic).collect();
        if topics.is_empty() {
            self.consumer.unsubscribe();
            return Ok(());
        }
        self.consumer.subscribe(&topics)
    }

    /// Joins the group for another topic, and makes sure that each of its partitions has a committed offset: from then on
    /// no published message is missed.
    ///
    /// It asks for the ends of the partitions before their committed offsets. So if two members find at the same time that
    /// there are no offsets, and both commit, neither skips messages that were published after the other was ready.
    fn add_topic(
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
                    // Others are members already: only members may commit, so this process has to become one.
                    KafkaError::ConsumerCommit(_) if !joined => {
                        self.subscribe().map_err(|error| refused(&error, topic))?;
                        joined = true;
                    }
                    _ if Instant::now() >= deadline => {
                        return Err(LinkError::new(explain(&error, topic)).into());
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

    /// Serves the consumer for a moment while it joins. Records are left for later: no partition is read before it is taken
    /// up, and records that were returned anyway are kept.
    fn wait_for_join(&mut self) {
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
    fn heed(&mut self, contact: &Contact) {
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
                    sink.undecodable(explain(&error, name));
                }
            }
        }
    }

    /// The partitions without a committed offset, with the offsets that they should have.
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
    fn obey(&mut self) {
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
                if change.gained {
                    state.ledger.restart();
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

    fn take(&mut self, id: &str, message: &BorrowedMessage<'_>, desk: &mut Desk<'_>) {
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

    /// Keeps a record until it can be delivered. Its partition is paused meanwhile.
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

    /// Delivers waiting messages. False if some still have to wait.
    fn retry(&mut self, id: &str, topic: &Arc<str>, desk: &mut Desk<'_>) -> bool {
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
                // Until the next look, the partition stays paused: otherwise the records after the stash would be skipped.
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

    /// Lets librdkafka commit the handled messages, at its next interval or when a partition is taken away.
    fn store(&mut self) {
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
            // Offsets of partitions that are no longer owned are not stored: their messages come again in another process.
            let _ = self.consumer.store_offsets(&list);
        }
    }
}

fn one(topic: &str, partition: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    list
}

/// Reports records that were removed before this group read them, or a topic that was made again.
fn report_gap(
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
    fn fail(&mut self, reason: String) {
        for sink in &self.sinks {
            sink.fail(reason.clone());
        }
        self.denied = Some(reason);
    }

    /// Delivers a record to the next member with room. False if there is none.
    #[expect(clippy::too_many_arguments, reason = "a record has that many parts")]
    fn deliver(
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
        let room = self.sinks.iter().any(|sink| sink.room() > 0);
        let state = self.partitions.entry(partition).or_default();
        // Checked before the record is noted as read, so that it stays the next one.
        if !room {
            return false;
        }
        if !state.ledger.read(offset) {
            return true;
        }
        let reason = match raw {
            Err(reason) => reason.to_owned(),
            Ok(raw) if !self.alone && !record::is_of(&key, &raw) => return true,
            Ok(raw) => match record::read(&key, desk.contact.config.max_message, &raw) {
                Err(error) => error.to_string(),
                Ok(message) => {
                    let epoch = state.ledger.deliver(offset);
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
                        // A member lost its room meanwhile: this message is the next to be given out.
                        self.back.push_back(held);
                        return true;
                    }
                    return true;
                }
            },
        };
        first.undecodable(&*reason);
        desk.dead
            .keep_unread(group, topic, partition, offset, &reason);
        true
    }

    fn deliver_again(&mut self, mut held: Held, desk: &mut Desk<'_>) -> Result<(), Held> {
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

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups")
            .field("groups", &self.groups.len())
            .finish_non_exhaustive()
    }
}
