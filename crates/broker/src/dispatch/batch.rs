//! The deliveries that a job has taken and not begun.

use std::collections::VecDeque;

use crate::dispatch::Arrival;
use crate::dispatch::segment::Run;
use crate::message::Message;

/// Deliveries from a lane's queue, or a run of the log that it follows. If both exist, the
/// deliveries from the queue come first.
#[derive(Default)]
pub(crate) struct Batch {
    pub(super) queue: VecDeque<Arrival>,
    pub(super) run: Run,
    /// Handled messages, to be dropped by the thread that delivered them.
    pub(super) spent: Vec<Message>,
}

impl Batch {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.queue.len() + self.run.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn pop_back(&mut self) -> Option<Arrival> {
        let message = self.run.pop_back();
        let last = message.map(Arrival::first);
        last.or_else(|| self.queue.pop_back())
    }
}
