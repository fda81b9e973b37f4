//! Handled messages, on their way back to the thread that delivered them.
//!
//! The thread that receives from a server allocates each message, and the thread that handles it
//! would free it. Then the two threads wait for each other at the lock of the allocator, and wake
//! each other there, which costs more than the rest of the delivery. So jobs collect handled
//! messages, and the receiving thread drops them.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::dispatch::quietly;
use crate::message::Message;
use crate::sync::Mutex;

/// The largest message that is kept. Larger messages are dropped by the thread that handled them,
/// so that their memory is free at once.
const SMALL: usize = 1024;
/// A job collects this many messages, and the receiving thread drops at least this many at a time.
pub(super) const MANY: usize = 64;
/// The most messages that are kept.
const MOST: usize = 1024;

#[derive(Default)]
pub(crate) struct Spent {
    messages: Mutex<Vec<Message>>,
    /// The number of kept messages. Written under the lock.
    count: AtomicUsize,
}

impl Spent {
    pub(super) fn takes(message: &Message) -> bool {
        message.size() <= SMALL
    }

    /// Keeps handled messages for the receiving thread, or drops them if many wait for it.
    pub(super) fn keep(&self, spent: &mut Vec<Message>) {
        let mut messages = self.messages.lock();
        if messages.is_empty() {
            std::mem::swap(&mut *messages, spent);
        } else if messages.len() + spent.len() <= MOST {
            messages.append(spent);
        }
        // ORDERING: a hint for the receiving thread, which takes the lock before it takes messages.
        self.count.store(messages.len(), Ordering::Relaxed);
        drop(messages);
        if !spent.is_empty() {
            quietly(|| spent.clear());
        }
    }

    /// Drops the messages if there are many. Called by the receiving thread.
    #[inline]
    pub(crate) fn drop_many(&self) {
        // ORDERING: a hint. If the value is stale, a later call drops the messages.
        if self.count.load(Ordering::Relaxed) >= MANY {
            self.drop_all();
        }
    }

    /// Drops all messages. Called by the receiving thread, also while nothing arrives.
    pub(crate) fn drop_all(&self) {
        let mut messages = self.messages.lock();
        let spent = std::mem::take(&mut *messages);
        self.count.store(0, Ordering::Relaxed);
        drop(messages);
        if !spent.is_empty() {
            quietly(|| drop(spent));
        }
    }
}
