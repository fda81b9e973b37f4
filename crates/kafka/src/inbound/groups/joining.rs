//! Opens the subscriptions of groups.
//!
//! The first subscription of a topic joins the group: [`Join`]. That may take as long as the
//! group's rebalances, and other subscriptions go on meanwhile. No partition of the topic is read
//! before it has joined: a record that is returned earlier is kept.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::driver::{LinkError, Sink, SinkError};
use parking_lot::Mutex;
use rdkafka::consumer::Consumer;

use super::join::{Begins, Join, Progress};
use super::member::Member;
use super::{Group, Groups, Topic};
use crate::inbound::contact::refused;
use crate::inbound::trouble::{Denial, Trouble};

/// A topic that is being joined.
pub(super) struct Joining {
    consumer_group: String,
    topic: Arc<str>,
    /// The subscriptions that wait for it.
    sinks: Vec<Sink>,
    progress: Arc<Progress>,
    /// The denial after which the join tests the topic, if there is one.
    denial: Option<Denial>,
}

impl Topic {
    /// A topic that is being joined, by the number of its opening.
    fn joining(number: u64, alone: bool) -> Self {
        Topic {
            alone,
            joining: Some(number),
            is_subscribed: false,
            sinks: Vec::new(),
            turn: 0,
            partitions: BTreeMap::new(),
            back: VecDeque::new(),
            held: 0,
            left: None,
            denied: None,
        }
    }
}

impl Topic {
    /// Delivers the records from these offsets on. If the consumer got the partitions before the
    /// offsets were committed, and another member committed them, it may read from earlier ones.
    fn begin_at(&mut self, begins: &Begins) {
        for (partition, offset) in begins {
            if let Some(state) = self.partitions.get_mut(partition)
                && state.owned
                && state.ledger.next().is_none()
            {
                state.ledger.begin(state.start.unwrap_or(*offset), *offset);
            }
        }
    }
}

impl Groups {
    pub(crate) fn open(&mut self, sink: &Sink, name: &str) -> Result<(), SinkError> {
        if self.sinks.contains_key(&sink.id()) {
            let mut waiting = self.joining.values().flat_map(|joining| &joining.sinks);
            return match waiting.any(|other| other.id() == sink.id()) {
                true => Err(SinkError::Later),
                false => Ok(()),
            };
        }
        let config = Arc::clone(&self.contact.config);
        let (topic, alone) = config
            .topic(sink.key())
            .map_err(|why| SinkError::Refused(why.into()))?;
        let topic: Arc<str> = topic.into();
        let id = config.consumer_group(name, sink.key(), alone);
        if !self.groups.contains_key(&id) {
            let group = self.start(&id, name)?;
            self.groups.insert(id.clone(), group);
        }
        let Some(group) = self.groups.get_mut(&id) else {
            return Ok(());
        };
        match group.topics.get_mut(&topic) {
            Some(Topic {
                denied: Some(reason),
                ..
            }) => return Err(SinkError::Refused(reason.as_str().into())),
            Some(Topic {
                joining: Some(number),
                ..
            }) => {
                if let Some(joining) = self.joining.get_mut(number) {
                    joining.sinks.push(sink.clone());
                }
            }
            Some(entry) => {
                entry.left = None;
                entry.sinks.push(sink.clone());
                group.waiting.insert(Arc::clone(&topic));
                self.sinks.insert(sink.id(), (id, topic));
                self.look_for_room();
                return Ok(());
            }
            None => {
                let progress = Arc::<Progress>::default();
                let denial = group.trouble.denial(&topic);
                let join = Join {
                    contact: self.contact.clone(),
                    consumer: Arc::clone(&group.consumer),
                    group: name.to_owned(),
                    topic: Arc::clone(&topic),
                    start: sink.start().clone(),
                    was_denied: denial.is_some(),
                    progress: Arc::clone(&progress),
                };
                let number = self.openings.begin(move |cancel| join.run(cancel));
                let entry = Topic::joining(number, alone);
                group.topics.insert(Arc::clone(&topic), entry);
                let joining = Joining {
                    consumer_group: id.clone(),
                    topic: Arc::clone(&topic),
                    sinks: vec![sink.clone()],
                    progress,
                    denial,
                };
                self.joining.insert(number, joining);
            }
        }
        self.sinks.insert(sink.id(), (id, topic));
        Err(SinkError::Later)
    }

    fn start(&self, id: &str, name: &str) -> Result<Group, SinkError> {
        let config = &self.contact.config;
        let member = Member {
            reporter: self.contact.reporter.clone(),
            joins: Mutex::default(),
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

    /// Serves the joins that want something of this thread, and ends those that are over.
    pub(super) fn serve_joins(&mut self) {
        let wants = self.joining.iter();
        let wants = wants.filter(|(_, joining)| joining.progress.take_wants_membership());
        for number in wants.map(|(number, _)| *number).collect::<Vec<_>>() {
            if let Err(error) = self.subscribe(number) {
                self.conclude(number, Err(error));
            }
        }
        while let Some((number, outcome)) = self.openings.take() {
            self.conclude(number, outcome);
        }
    }

    /// Ends the joins of topics that were denied in the meantime.
    pub(super) fn refuse_joins(&mut self) {
        let groups = &self.groups;
        let denied = self.joining.iter().filter_map(|(number, joining)| {
            let group = groups.get(&joining.consumer_group)?;
            let reason = group.topics.get(&joining.topic)?.denied.as_deref()?;
            Some((*number, SinkError::Refused(reason.into())))
        });
        for (number, error) in denied.collect::<Vec<_>>() {
            self.conclude(number, Err(error));
        }
    }

    /// Makes the consumer a member of the group on the topic of this join.
    fn subscribe(&mut self, number: u64) -> Result<(), SinkError> {
        let Some(joining) = self.joining.get(&number) else {
            return Ok(());
        };
        let topic = &joining.topic;
        let group = self.groups.get_mut(&joining.consumer_group);
        if let Some(group) = group
            && let Some(entry) = group.topics.get_mut(topic)
            && !std::mem::replace(&mut entry.is_subscribed, true)
        {
            let (topic, progress) = (Arc::clone(topic), Arc::clone(&joining.progress));
            group
                .consumer
                .context()
                .joins
                .lock()
                .insert(topic, progress);
            group
                .subscribe()
                .map_err(|error| refused(&error, &joining.topic))?;
        }
        Ok(())
    }

    /// Ends a join, and notes the outcome for its subscriptions.
    fn conclude(&mut self, number: u64, outcome: Result<Begins, SinkError>) {
        let outcome = outcome.and_then(|begins| self.subscribe(number).map(|()| begins));
        // Its subscriptions may have ended in the meantime.
        let Some(joining) = self.joining.remove(&number) else {
            return;
        };
        self.openings.cancel(number);
        let ids = joining.sinks.iter().map(Sink::id);
        let told = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        self.opened.extend(ids.map(|id| (id, told.clone())));
        let Ok(begins) = outcome else {
            for sink in &joining.sinks {
                self.sinks.remove(&sink.id());
            }
            self.forget_topic(&joining.consumer_group, &joining.topic);
            return;
        };
        let group = self.groups.get_mut(&joining.consumer_group);
        if let Some(group) = group
            && let Some(entry) = group.topics.get_mut(&joining.topic)
        {
            group.trouble.allow(&joining.topic, joining.denial);
            entry.joining = None;
            group.consumer.context().joins.lock().remove(&joining.topic);
            entry.begin_at(&begins);
            entry.sinks.extend(joining.sinks);
            group.waiting.insert(joining.topic);
        }
        self.look_for_room();
    }

    /// Called when a subscription has ended before its topic was joined.
    pub(super) fn abandon(&mut self, number: u64, sink: u64) {
        let Some(joining) = self.joining.get_mut(&number) else {
            return;
        };
        joining.sinks.retain(|other| other.id() != sink);
        if joining.sinks.is_empty()
            && let Some(joining) = self.joining.remove(&number)
        {
            self.openings.cancel(number);
            self.forget_topic(&joining.consumer_group, &joining.topic);
        }
    }

    /// Whether [`take_opened`](Self::take_opened) returns something.
    pub(crate) fn has_opened(&self) -> bool {
        !self.opened.is_empty()
    }

    /// Returns the subscriptions that were opened later, and the outcomes.
    pub(crate) fn take_opened(&mut self) -> Vec<(u64, Result<(), SinkError>)> {
        std::mem::take(&mut self.opened)
    }

    /// Ends all joins.
    pub(super) fn end_joins(&mut self) {
        for (number, _) in self.joining.drain() {
            self.openings.cancel(number);
        }
        self.opened.clear();
    }
}
