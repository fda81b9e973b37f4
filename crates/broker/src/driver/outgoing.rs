//! Messages on their way to the server.

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::message::Message;
use crate::receipt::Receipt;

/// A message in the queue, with its number and the caller that waits for its outcome.
pub(super) struct Outgoing {
    pub(super) number: u64,
    pub(super) message: Message,
    pub(super) waiter: Option<Sender<Settled>>,
}

/// The messages that the thread is publishing, and separately the data that the driver does not
/// need.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    pub(super) rest: Vec<(u64, Option<Sender<Settled>>)>,
}

impl Batch {
    pub(super) fn extend(&mut self, outgoing: impl ExactSizeIterator<Item = Outgoing>) {
        self.messages.reserve(outgoing.len());
        self.rest.reserve(outgoing.len());
        outgoing.for_each(|outgoing| self.push(outgoing));
    }

    pub(super) fn push(&mut self, outgoing: Outgoing) {
        self.messages.push(outgoing.message);
        self.rest.push((outgoing.number, outgoing.waiter));
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.rest.iter().map(|(number, _)| *number)
    }

    pub(super) fn into_outgoing(self) -> impl Iterator<Item = Outgoing> {
        let all = self.messages.into_iter().zip(self.rest);
        all.map(|(message, (number, waiter))| Outgoing {
            number,
            message,
            waiter,
        })
    }
}

/// The outcome of a message, for the caller that waits for it.
pub(super) enum Settled {
    Done(Receipt),
    Refused(Arc<str>),
    Uncertain,
    LeftOver,
}
