//! Errors of a consumer other than the loss of the connection, such as a permission that was taken
//! away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::inbound::contact::{Contact, is_of_connection};

/// The least time between two reports of errors that end no subscription.
const PAUSE: Duration = Duration::from_secs(60);

/// The errors of one consumer that are still to be acted on.
#[derive(Default)]
pub(crate) struct Trouble {
    /// Why the consumer can no longer read.
    over: Option<KafkaError>,
    /// The error that said that a topic may no longer be read. It does not name the topic.
    denied: Option<KafkaError>,
    /// The topics that are still to be tested, to find the denied one.
    suspects: Vec<Arc<str>>,
    /// Topics that were denied, with the number of their last denial. librdkafka reports a denial
    /// only once, so these are tested before they are read again.
    known: HashMap<Arc<str>, Denial>,
    denials: u64,
    other: Option<KafkaError>,
    told: Option<Instant>,
}

/// The number of a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Denial(u64);

/// What to do about an error.
pub(crate) enum Finding {
    /// End all subscriptions of the consumer.
    Over(KafkaError),
    /// End the subscriptions of this topic.
    Denied(Arc<str>, KafkaError),
    /// Report it.
    Other(KafkaError),
}

impl Trouble {
    pub(crate) fn note(&mut self, error: KafkaError) {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => self.over = Some(error),
            Some(Code::Fatal | Code::GroupAuthorizationFailed) => self.over = Some(error),
            Some(Code::TopicAuthorizationFailed) => self.denied = Some(error),
            // The client's context reports the loss of the connection.
            _ if is_of_connection(&error) => {}
            _ => self.other = Some(error),
        }
    }

    /// Returns the next action. `topics` are the topics that the consumer reads. Each call tests at
    /// most one of them.
    pub(crate) fn look<'a>(
        &mut self,
        contact: &Contact,
        topics: impl ExactSizeIterator<Item = &'a Arc<str>>,
    ) -> Option<Finding> {
        if let Some(error) = self.over.take() {
            return Some(Finding::Over(error));
        }
        if self.suspects.is_empty() && self.denied.is_some() {
            self.suspects = topics.cloned().collect();
        }
        if let Some(topic) = self.suspects.pop()
            && let Some(error) = contact.denied(&topic)
        {
            self.denied = None;
            return Some(self.deny(topic, error));
        }
        if self.suspects.is_empty() && self.denied.is_some() {
            // No topic is denied now. If one was denied before, the error was about that topic.
            let error = self.denied.take();
            self.other = error.filter(|_| self.known.is_empty());
        }
        if self.told.is_some_and(|at| at.elapsed() < PAUSE) {
            return None;
        }
        let error = self.other.take()?;
        self.told = Some(Instant::now());
        Some(Finding::Other(error))
    }

    /// Records that a topic is denied.
    pub(crate) fn deny(&mut self, topic: Arc<str>, error: KafkaError) -> Finding {
        self.denials += 1;
        self.known.insert(Arc::clone(&topic), Denial(self.denials));
        Finding::Denied(topic, error)
    }

    /// Returns the last denial of a topic, if there is one. Then the topic has to be tested before
    /// it is read again.
    pub(crate) fn denial(&self, topic: &str) -> Option<Denial> {
        self.known.get(topic).copied()
    }

    /// Called when a topic was tested after this denial, and can be read. A denial that came later
    /// is kept.
    pub(crate) fn allow(&mut self, topic: &str, denial: Option<Denial>) {
        if self.denial(topic) == denial {
            self.known.remove(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rdkafka::error::{KafkaError, RDKafkaErrorCode};

    use super::Trouble;

    #[test]
    fn a_denial_that_comes_during_an_opening_is_kept() {
        let mut trouble = Trouble::default();
        let topic: Arc<str> = "k".into();
        let error = KafkaError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed);
        let deny = |trouble: &mut Trouble| drop(trouble.deny(topic.clone(), error.clone()));
        let untested = trouble.denial("k");
        assert!(untested.is_none());
        deny(&mut trouble);
        trouble.allow("k", untested);
        let first = trouble.denial("k");
        assert!(first.is_some());
        deny(&mut trouble);
        trouble.allow("k", first);
        let second = trouble.denial("k");
        assert!(second.is_some());
        trouble.allow("k", second);
        assert!(trouble.denial("k").is_none());
    }
}
