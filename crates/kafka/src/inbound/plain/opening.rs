//! Opens plain subscriptions. The requests about their topics run on threads of their own.

use std::sync::Arc;

use fanfeed_broker::Start;
use fanfeed_broker::driver::{Burst, Sink, SinkError};

use super::{Part, Plain, Reading};
use crate::inbound::contact::refused;
use crate::inbound::trouble::Denial;

/// A subscription that is being opened.
pub(super) struct Opening {
    pub(super) sink: Sink,
    topic: String,
    /// Whether it takes each record of its topic.
    alone: bool,
    /// The denial after which the opening tests the topic, if there is one.
    denial: Option<Denial>,
}

impl Plain {
    pub(crate) fn open(&mut self, sink: &Sink) -> Result<(), SinkError> {
        if self.sinks.contains_key(&sink.id()) {
            return Ok(());
        }
        let mut opening = self.opening.values();
        if opening.any(|opening| opening.sink.id() == sink.id()) {
            return Err(SinkError::Later);
        }
        let (topic, alone) = self
            .contact
            .config
            .topic(sink.key())
            .map_err(|why| SinkError::Refused(why.into()))?;
        let known = self.topics.get(&*topic).filter(|topic| !topic.gone);
        let known = known.map(|topic| topic.parts.len() as i32);
        let denial = self.trouble.denial(&topic);
        let (contact, live) = (self.contact.clone(), Arc::clone(&self.live));
        let (name, start) = (topic.clone(), sink.start().clone());
        let number = self.openings.begin(move |cancel| {
            cancel.check()?;
            if denial.is_some()
                && let Some(error) = contact.denied(&name)
            {
                return Err(refused(&error, &name));
            }
            let partitions = match known {
                Some(partitions) => partitions,
                None => contact.partitions(&live, &name, cancel)?,
            };
            contact.starts(&live, &name, partitions, &start, cancel)
        });
        let opening = Opening {
            sink: sink.clone(),
            topic,
            alone,
            denial,
        };
        self.opening.insert(number, opening);
        Err(SinkError::Later)
    }

    /// Opens the subscriptions whose requests have been answered.
    pub(super) fn open_answered(&mut self) {
        while let Some((number, outcome)) = self.openings.take() {
            // It may have ended in the meantime.
            if let Some(opening) = self.opening.remove(&number) {
                let id = opening.sink.id();
                let outcome = outcome.and_then(|next| self.begin(opening, next));
                self.opened.push((id, outcome));
            }
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

    /// Reads for a subscription from these offsets on.
    fn begin(&mut self, opening: Opening, mut next: Vec<i64>) -> Result<(), SinkError> {
        let Opening {
            sink,
            topic,
            alone,
            denial,
        } = opening;
        self.trouble.allow(&topic, denial);
        let topic: Arc<str> = match self.topics.get_key_value(&*topic) {
            Some((topic, _)) => Arc::clone(topic),
            None => topic.into(),
        };
        let entry = self.topics.entry(Arc::clone(&topic)).or_default();
        let was_gone = std::mem::replace(&mut entry.gone, false);
        self.grow(&topic, next.len());
        if let Some(entry) = self.topics.get(&topic) {
            // A partition that was found in the meantime had no records before.
            next.resize(entry.parts.len(), 0);
            // The live consumer's place in a topic that was deleted says nothing about the topic
            // that was made after it.
            if !was_gone && matches!(sink.start(), Start::New) {
                // What others have read by now came before this subscription.
                for (next, part) in next.iter_mut().zip(&entry.parts) {
                    *next = (*next).max(part.reached());
                }
            }
        }
        let id = sink.id();
        let reading = Reading {
            sink,
            burst: Burst::default(),
            topic: Arc::clone(&topic),
            alone,
            next: next.clone(),
        };
        self.sinks.insert(id, reading);
        if let Err(error) = self.place(id, &topic, &next) {
            self.close(id);
            return Err(error);
        }
        Ok(())
    }
}

impl Part {
    /// The next offset of the live consumer, or 0 if it does not read this partition.
    fn reached(&self) -> i64 {
        match self.live.assigned {
            true => self.live.next,
            false => 0,
        }
    }
}
