//! Handles messages that come twice only once.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::context::Context;
use crate::handler::{Handler, Outcome};
use crate::id::MessageId;
use crate::message::Message;

/// Skips messages whose identity was handled before, within a window of time and of number.
///
/// An identity is remembered once the handler has returned `Ok`, so that a message that failed is
/// tried again. The window belongs to this handler and does not include other processes. A
/// duplicate that arrives while the first message is still being handled
/// ([`concurrency`](crate::SubscribeOptions::concurrency) above 1) is handled too.
pub struct Deduplicate<H> {
    most: usize,
    window: Duration,
    seen: Mutex<Seen>,
    inner: H,
}

#[derive(Default)]
struct Seen {
    ids: HashSet<MessageId>,
    order: VecDeque<(Instant, MessageId)>,
}

impl<H: Handler> Deduplicate<H> {
    /// Remembers at most `most` identities, each for `window`.
    pub fn new(most: usize, window: Duration, inner: H) -> Self {
        Self {
            most,
            window,
            seen: Mutex::default(),
            inner,
        }
    }

    fn is_known(&self, id: &MessageId) -> bool {
        let mut seen = self.seen.lock();
        let now = Instant::now();
        while let Some((at, _)) = seen.order.front()
            && now.saturating_duration_since(*at) >= self.window
        {
            seen.forget_oldest();
        }
        seen.ids.contains(id)
    }

    fn remember(&self, id: &MessageId) {
        let mut seen = self.seen.lock();
        if seen.ids.insert(id.clone()) {
            seen.order.push_back((Instant::now(), id.clone()));
        }
        while seen.order.len() > self.most {
            seen.forget_oldest();
        }
    }
}

impl Seen {
    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.ids.remove(&id);
        }
    }
}

impl<H: Handler> Handler for Deduplicate<H> {
    fn handle(&self, message: &Message, context: &Context) -> Outcome {
        if self.is_known(message.id()) {
            return Ok(());
        }
        self.inner.handle(message, context)?;
        self.remember(message.id());
        Ok(())
    }
}

impl<H> fmt::Debug for Deduplicate<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deduplicate")
            .field("most", &self.most)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
