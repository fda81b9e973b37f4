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
    pub(super) fn of(outgoing: impl ExactSizeIterator<Item = Outgoing>) -> Self {
        let mut batch = Batch {
            messages: Vec::with_capacity(outgoing.len()),
            rest: Vec::with_capacity(outgoing.len()),
        };
        for outgoing in outgoing {
            batch.messages.push(outgoing.message);
            batch.rest.push((outgoing.number, outgoing.waiter));
        }
        batch
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
