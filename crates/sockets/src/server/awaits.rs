//! Questions to a channel that wait for their first answer.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::wire::{ErrorMessage, Incoming, Message};

/// Why a `broadcast_await` has no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum AwaitError {
    /// The channel has no members, so no client can answer.
    ChannelNotFound,
    /// The last member left, or the channel was closed, before anyone answered.
    ChannelEmptied,
    /// No member answered in time.
    Timeout,
    /// All members are on other nodes, and the broker had no room for the question.
    NotPublished,
    /// The first answer was an error message.
    Refused(Box<ErrorMessage>),
}

impl fmt::Display for AwaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChannelNotFound => f.write_str("channel not found: it has no members"),
            Self::ChannelEmptied => {
                f.write_str("the last member left the channel before anyone answered")
            }
            Self::Timeout => f.write_str("timeout waiting for message: no member answered in time"),
            Self::NotPublished => f.write_str(
                "the members are on other nodes, and the broker has no room for the question: ask later",
            ),
            Self::Refused(error) => write!(f, "a member answered with an error: {error:?}"),
        }
    }
}

impl Error for AwaitError {}

/// The questions of one channel, by their correlation id.
#[derive(Default)]
pub(super) struct Awaits {
    pending: Mutex<HashMap<String, oneshot::Sender<Incoming>>>,
    /// So that messages cost no lock while there are no questions.
    count: AtomicUsize,
}

impl Awaits {
    pub(super) fn ask(&self, correlation_id: String) -> oneshot::Receiver<Incoming> {
        let (sender, receiver) = oneshot::channel();
        let mut pending = self.pending.lock();
        pending.insert(correlation_id, sender);
        self.count.store(pending.len(), Ordering::Relaxed);
        receiver
    }

    /// Forgets a question.
    pub(super) fn forget(&self, correlation_id: &str) {
        let mut pending = self.pending.lock();
        pending.remove(correlation_id);
        self.count.store(pending.len(), Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn pending(&self) -> usize {
        self.pending.lock().len()
    }

    /// Forgets all questions, which fail with [`AwaitError::ChannelEmptied`].
    pub(super) fn clear(&self) {
        let mut pending = self.pending.lock();
        let asked = std::mem::take(&mut *pending);
        self.count.store(0, Ordering::Relaxed);
        drop(pending);
        drop(asked);
    }

    /// Hands an answer to its question. Gives it back if there is none, or no longer.
    pub(super) fn answer(&self, incoming: Incoming) -> Option<Incoming> {
        // A count that is read too early misses no answer: the question is counted before it is
        // sent, and a member that answers has received it.
        if self.count.load(Ordering::Relaxed) == 0 {
            return Some(incoming);
        }
        let mut pending = self.pending.lock();
        let Some(sender) = pending.remove(correlation_id(&incoming)) else {
            return Some(incoming);
        };
        self.count.store(pending.len(), Ordering::Relaxed);
        drop(pending);
        sender.send(incoming).err()
    }
}

pub(super) fn correlation_id(incoming: &Incoming) -> &str {
    match incoming {
        Incoming::Message(message) => message.correlation_id(),
        Incoming::Error(error) => error.correlation_id(),
    }
}

pub(super) fn outcome(incoming: Incoming) -> Result<Message, AwaitError> {
    match incoming {
        Incoming::Message(message) => Ok(message),
        Incoming::Error(error) => Err(AwaitError::Refused(Box::new(error))),
    }
}
