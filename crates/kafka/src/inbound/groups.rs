//! Groups: each has a consumer, to which the cluster assigns partitions.
//!
//! The members of a group in one process share its consumer, and take its messages in turn. If each
//! key has a topic of its own, a group has one consumer for all its keys. Offsets are committed
//! after the handlers ([`Ledger`]): if a process is killed, the messages that it handled since its
//! last commit come again.
//!
//! When the cluster takes a partition away, the handled messages are committed. Running handlers
//! run to their end, and messages in the buffers are still handled. But another process now has the
//! partition, and gets these messages too.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed_broker::Message;
use fanfeed_broker::driver::{Sink, SinkError, Verdict};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::OwnedMessage;

use crate::counted::Counted;
use crate::inbound::contact::Contact;
use crate::inbound::ledger::Ledger;
use crate::inbound::opening::Openings;
use crate::inbound::trouble::Trouble;

mod dead;
mod group;
mod join;
mod joining;
mod member;
mod topic;

use dead::{DeadLetters, Letter, Sent, Settled};
use join::Begins;
use joining::Joining;
use member::Member;

/// How many records of one consumer are taken at a time.
const ROUND: usize = 1000;

/// How long a topic without members keeps its partitions while the cluster has not confirmed its
/// dead letters.
const LETTERS: Duration = Duration::from_secs(5);

/// How long the end waits for these confirmations. It is less than the time beyond its deadline
/// that the engine gives a closing driver.
const LAST_LETTERS: Duration = Duration::from_millis(400);

pub(crate) struct Groups {
    contact: Contact,
    /// The groups, by the names of their consumer groups.
    groups: HashMap<String, Group>,
    /// The consumer group and the topic of each subscription.
    sinks: HashMap<u64, (String, Arc<str>)>,
    /// The messages that handlers hold, by tag.
    held: Counted<Held>,
    next_tag: u64,
    /// Whether messages were given back since the last check for room.
    given_back: bool,
    /// The committed offsets do not pass a message whose letter the cluster has not confirmed.
    dead: DeadLetters,
    openings: Openings<Begins>,
    /// The topics that are being joined, by the numbers of their openings.
    joining: HashMap<u64, Joining>,
    /// The subscriptions of topics that were joined, or could not be, and the outcomes.
    opened: Vec<(u64, Result<(), SinkError>)>,
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
    /// The name of the group, as the members use it.
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
    /// The number of its opening while it is being joined.
    joining: Option<u64>,
    /// Whether the consumer takes part in the assignment of its partitions.
    is_subscribed: bool,
    sinks: Vec<Sink>,
    turn: usize,
    partitions: BTreeMap<i32, Partition>,
    /// Messages that were given back.
    back: VecDeque<Held>,
    /// How many messages handlers hold.
    held: usize,
    /// The time since which it has no subscription in this process and waits for the confirmation
    /// of dead letters.
    left: Option<Instant>,
    /// Why the topic can no longer be read. This has ended its subscriptions.
    denied: Option<String>,
}

/// INVARIANT: the consumer has paused it if, and only if, it is owned and has a stash, or records
/// after the stash were passed over. Only [`Group::put_off`] pauses it. [`Group::retry`] resumes it
/// when both are over, and so does the rebalance that takes it away.
#[derive(Default)]
struct Partition {
    ledger: Ledger,
    owned: bool,
    /// The offset from which the consumer reads it in this ownership, if it is not the committed
    /// one.
    start: Option<i64>,
    /// A record for which there was no room.
    stash: Option<OwnedMessage>,
    /// Whether the consumer returned a record after the stash, which has to be read again.
    passed: bool,
    stored: Option<i64>,
    checked: Option<Instant>,
}

impl Groups {
    pub(crate) fn new(contact: Contact) -> Self {
        Groups {
            dead: DeadLetters::new(&contact),
            openings: Openings::new(contact.wake.clone()),
            joining: HashMap::new(),
            opened: Vec::new(),
            contact,
            groups: HashMap::new(),
            sinks: HashMap::new(),
            held: Counted::default(),
            next_tag: 0,
            given_back: false,
        }
    }

    pub(crate) fn take_lost(&self) -> Option<String> {
        self.contact.take_lost()
    }

    pub(crate) fn close(&mut self, sink: u64) {
        let Some((id, topic)) = self.sinks.remove(&sink) else {
            return;
        };
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let Some(entry) = group.topics.get_mut(&topic) else {
            return;
        };
        if let Some(number) = entry.joining {
            self.abandon(number, sink);
            return;
        }
        entry.sinks.retain(|other| other.id() != sink);
        self.leave_idle(&id, &topic);
    }

    /// Leaves a topic without a subscription in this process, when handlers hold no messages of it.
    /// Then the handled messages are committed.
    fn leave_idle(&mut self, id: &str, topic: &Arc<str>) {
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        let idle = group.topics.get(topic).is_some_and(|entry| {
            entry.joining.is_none() && entry.sinks.is_empty() && entry.held == 0
        });
        if !idle {
            return;
        }
        if let Some(entry) = group.topics.get_mut(topic)
            && self.dead.has_letters(id, topic)
            && entry.left.get_or_insert_with(Instant::now).elapsed() < LETTERS
        {
            return;
        }
        self.dead.forget_topic(id, topic);
        group.store();
        self.forget_topic(id, topic);
    }

    /// Removes a topic from its group, and a group without topics.
    fn forget_topic(&mut self, id: &str, topic: &str) {
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        if group.topics.keys().all(|other| **other == *topic) {
            // Dropping the consumer leaves the group, and commits.
            self.groups.remove(id);
            return;
        }
        group.topics.remove(topic);
        group.waiting.remove(topic);
        group.consumer.context().joins.lock().remove(topic);
        let _ = group.subscribe();
    }

    /// Leaves all groups.
    pub(crate) fn leave(&mut self) {
        self.end_joins();
        self.bury_again();
        let deadline = Instant::now() + LAST_LETTERS;
        self.take_outcomes();
        // The next member gets the messages of the letters that stay unconfirmed.
        while !self.dead.is_idle()
            && let Some(outcomes) = self.dead.wait_for_outcomes(deadline)
        {
            outcomes.iter().for_each(|letter| self.bury(letter));
        }
        for (_, mut group) in self.groups.drain() {
            group.store();
            group.leave();
        }
        self.sinks.clear();
        self.held.clear();
        self.dead.forget();
    }

    /// Records the dead letters that the cluster has confirmed or refused. Returns whether there
    /// were any.
    fn take_outcomes(&mut self) -> bool {
        let outcomes = self.dead.take_outcomes();
        outcomes.iter().for_each(|letter| self.bury(letter));
        // After all of them: leaving a topic commits what is done, and forgets the rest.
        for letter in &outcomes {
            self.leave_idle(&letter.origin.consumer_group, &letter.origin.topic);
        }
        !outcomes.is_empty()
    }

    /// Leaves the topics whose dead letters were not confirmed in time.
    fn leave_overdue(&mut self) {
        let mut left = Vec::new();
        for (id, group) in &self.groups {
            let topics = group.topics.iter().filter(|(_, of)| of.left.is_some());
            left.extend(topics.map(|(topic, _)| (id.clone(), Arc::clone(topic))));
        }
        for (id, topic) in left {
            self.leave_idle(&id, &topic);
        }
    }

    /// Called when the cluster has confirmed or refused a letter.
    fn bury(&mut self, letter: &Settled) {
        let origin = &letter.origin;
        let group = self.groups.get_mut(&origin.consumer_group);
        let topic = group.and_then(|group| group.topics.get_mut(&origin.topic));
        if let Some(topic) = topic
            && let Some(partition) = topic.partitions.get_mut(&origin.partition)
        {
            letter.conclude(partition);
        }
    }

    pub(crate) fn settle(&mut self, sink: &Sink, tag: u64, verdict: Verdict) {
        let Some(mut held) = self.held.remove(&tag) else {
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
                // Without members, the message stays there. The offsets that are committed when the
                // topic is left do not pass it.
                if partition.owned {
                    if verdict == Verdict::Abandoned {
                        // Its member left before the message was handled, so this was not an
                        // attempt.
                        held.attempt -= 1;
                    }
                    entry.back.push_back(held);
                    group.waiting.insert(Arc::clone(&topic));
                    self.given_back = true;
                } else {
                    // The next owner reads it again.
                    partition.ledger.give_back(held.offset, held.epoch);
                }
            }
            Verdict::GivenUp => match self.dead.send(Letter::of(&group.name, sink, held)) {
                Sent::OnItsWay => {}
                Sent::Over(letter) => letter.conclude(partition),
                Sent::NoRoom(letter) => self.dead.unburied.push(*letter),
            },
            // An unknown verdict of a later engine counts as handled. Otherwise the message would
            // never be settled.
            _ => partition.ledger.done(held.offset, held.epoch),
        }
        if entry.sinks.is_empty() {
            self.leave_idle(&id, &topic);
        }
    }

    /// Delivers the messages that arrived. Returns true if there may be more.
    pub(crate) fn poll(&mut self) -> bool {
        self.serve_joins();
        let was_full = self.dead.is_full();
        let has_room = self.take_outcomes() && was_full;
        if std::mem::take(&mut self.given_back) || has_room {
            self.look_for_room();
        }
        let mut more = false;
        for (id, group) in &mut self.groups {
            let consumer = Arc::clone(&group.consumer);
            // A poll that serves an event other than a record returns as if there were no record.
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
        self.refuse_joins();
        self.bury_again();
        self.leave_overdue();
        let mut topics = self.groups.values().flat_map(|group| group.topics.values());
        let Some(sink) = topics.find_map(|topic| topic.sinks.first()) else {
            return;
        };
        if let Some(count) = self.dead.take_full() {
            let reason = format!(
                "the groups read no further: {count} dead letters wait until the cluster has confirmed them"
            );
            sink.undecodable(reason, b"");
        }
    }

    /// Sends the dead letters again for which there was no room.
    fn bury_again(&mut self) {
        for letter in std::mem::take(&mut self.dead.unburied) {
            let origin = &letter.origin;
            let group = self.groups.get_mut(&origin.consumer_group);
            let topic = group.and_then(|group| group.topics.get_mut(&origin.topic));
            let Some(partition) =
                topic.and_then(|topic| topic.partitions.get_mut(&origin.partition))
            else {
                continue;
            };
            if !partition.owned {
                // The next owner gets it again.
                partition.ledger.give_back(origin.offset, origin.epoch);
                continue;
            }
            match self.dead.send(letter) {
                Sent::OnItsWay => {}
                Sent::Over(letter) => letter.conclude(partition),
                Sent::NoRoom(letter) => self.dead.unburied.push(*letter),
            }
        }
    }

    /// Continues in partitions that waited for room and now have some.
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

/// The state that a group needs to deliver.
struct Desk<'a> {
    contact: &'a Contact,
    held: &'a mut Counted<Held>,
    next_tag: &'a mut u64,
    dead: &'a mut DeadLetters,
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups")
            .field("groups", &self.groups.len())
            .finish_non_exhaustive()
    }
}
