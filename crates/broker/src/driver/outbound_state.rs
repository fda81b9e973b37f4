//! The messages on their way to the server: those in the queue, and those whose outcomes are not
//! known. [`OutboundQueue`](super::outbound::OutboundQueue) keeps this under its lock.

use std::collections::VecDeque;
use std::task::Waker;

use crossbeam_channel::Sender;

use super::outgoing::{Outgoing, Settled};
use crate::error::FlushError;
use crate::message::Message;
use crate::sync::mutant;

#[derive(Default)]
pub(super) struct State {
    pub(super) queue: VecDeque<Outgoing>,
    /// The numbers in the batch of the thread.
    pub(super) in_flight: VecDeque<u64>,
    /// The numbers of messages that their callers withdraw, until that is reported.
    pub(super) withdrawn: Vec<u64>,
    pub(super) next: u64,
    /// The messages that have failed so far, and how many of them a flush has reported.
    failed: Failures,
    pub(super) told: Failures,
    pub(super) waiting: usize,
    /// The tasks of publishers that wait for room.
    pub(super) wakers: Vec<Waker>,
    /// The queue takes no more messages.
    pub(super) closed: bool,
    /// The thread has to end, even if messages are left.
    pub(super) aborted: bool,
    /// The thread has ended.
    pub(super) ended: bool,
}

/// Failed messages, except those whose failure was returned to a caller of `publish_confirmed`.
#[derive(Default, Clone, Copy)]
pub(super) struct Failures {
    /// Refused by the server, or given up.
    refused: usize,
    uncertain: usize,
}

impl State {
    /// The smallest number that is not settled.
    pub(super) fn floor(&self) -> u64 {
        let queued = self.queue.front().map(|outgoing| outgoing.number);
        if mutant!("broker::flush_before_the_batch") {
            return queued.unwrap_or(self.next);
        }
        let in_flight = self.in_flight.front().copied();
        let withdrawn = self.withdrawn.iter().copied().min();
        let all = in_flight.into_iter().chain(queued).chain(withdrawn);
        let first = all.min();
        first.unwrap_or(self.next)
    }

    pub(super) fn unsettled(&self) -> usize {
        self.queue.len() + self.in_flight.len() + self.withdrawn.len()
    }

    /// Removes a message of the queue. Returns `None` if it is not there.
    pub(super) fn withdraw(&mut self, number: u64) -> Option<Outgoing> {
        let at = self
            .queue
            .binary_search_by_key(&number, |outgoing| outgoing.number)
            .ok()?;
        self.withdrawn.push(number);
        self.queue.remove(at)
    }

    /// Tells the caller of `publish_confirmed` that its message failed. If there is no such caller,
    /// or it has stopped waiting, counts the message for a flush. A caller stops waiting under the
    /// lock, so either the caller or a flush reports the failure.
    pub(super) fn fail(&mut self, waiter: Option<Sender<Settled>>, settled: Settled) {
        let count = match settled {
            Settled::Uncertain => &mut self.failed.uncertain,
            _ => &mut self.failed.refused,
        };
        if waiter.is_none_or(|waiter| waiter.send(settled).is_err()) {
            *count += 1;
        }
    }

    /// Removes the messages that will not be sent because the broker ends. They count as failed.
    pub(super) fn give_up(&mut self) -> Vec<Message> {
        let left = std::mem::take(&mut self.queue);
        let give_up = |outgoing: Outgoing| {
            self.fail(outgoing.waiter, Settled::LeftOver);
            outgoing.message
        };
        left.into_iter().map(give_up).collect()
    }

    /// How many of the messages before this number are not settled.
    pub(super) fn unsettled_before(&self, target: u64) -> usize {
        let left = self.in_flight.iter().copied();
        let left = left.chain(self.withdrawn.iter().copied());
        let left = left.chain(self.queue.iter().map(|outgoing| outgoing.number));
        left.filter(|number| *number < target).count()
    }

    /// Reports the failures since `told` to a flush. Uncertain ones are reported first.
    pub(super) fn tell(&mut self, told: Failures) -> Result<(), FlushError> {
        let failed = self.failed;
        match (
            failed.uncertain - told.uncertain,
            failed.refused - told.refused,
        ) {
            (0, 0) => Ok(()),
            (0, refused) => {
                self.told.refused = failed.refused;
                Err(FlushError::Failed(refused))
            }
            (uncertain, _) => {
                self.told.uncertain = failed.uncertain;
                Err(FlushError::Uncertain(uncertain))
            }
        }
    }
}
