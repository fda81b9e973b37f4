//! Publishes messages that have failed for the last time under another key.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::dispatch::panic_text;
use crate::error::PublishError;
use crate::handler::{Handler, HandlerError, Outcome};
use crate::headers::Headers;
use crate::key::Key;
use crate::message::Message;
use crate::publisher::Publisher;

/// Publishes a message under another key when it was rejected, or has failed in its last attempt.
/// When the server has confirmed the copy, the message counts as handled.
///
/// The copy is another message: it has a new identity, and these headers: `fanfeed-dead-id`,
/// `fanfeed-dead-key`, `fanfeed-dead-group` if there is one, `fanfeed-dead-attempts`,
/// `fanfeed-dead-error`. The text of the error is cut after 1,024 bytes. If the copy would be too
/// large with these headers, it is published without the message's own headers. If that does not
/// suffice, the message is given up.
///
/// If the copy is refused, or not confirmed within five seconds, the message is tried again and not
/// lost. So give the subscription more [`attempts`](crate::SubscribeOptions::attempts) than
/// `after`, or 0. A copy that still waits in the queue to the server after these five seconds is
/// removed from it. One that was handed to the driver may still arrive, so there may be one copy
/// for each attempt whose copy was handed over.
///
/// The wait for the confirmation takes a thread of the pool for up to five seconds, and counts
/// toward the handler's [`timeout`](crate::SubscribeOptions::timeout).
pub struct DeadLetter<H> {
    publisher: Arc<dyn Publisher>,
    key: Key,
    after: u32,
    inner: H,
}

const LIMIT: Duration = Duration::from_secs(5);

/// The most bytes of the error's text in the copy.
const LONGEST_ERROR: usize = 1024;

impl<H: Handler> DeadLetter<H> {
    /// Makes a handler that publishes to `key` the messages that `inner` rejects, and those that
    /// have failed `after` times.
    pub fn new(publisher: Arc<dyn Publisher>, key: impl Into<Key>, after: u32, inner: H) -> Self {
        Self {
            publisher,
            key: key.into(),
            after,
            inner,
        }
    }

    fn bury(&self, message: &Message, context: &Context, error: &HandlerError) -> Outcome {
        let mut text = error.to_string();
        let mut cut = text.len().min(LONGEST_ERROR);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        text.truncate(cut);
        let send = |headers: Headers| {
            let mut dead =
                Message::new(self.key.clone(), message.payload().clone()).with_headers(headers);
            if let Some(name) = message.event_name() {
                dead = dead.name(name);
            }
            dead = dead
                .header("fanfeed-dead-id", message.id().to_string())
                .header("fanfeed-dead-key", message.key().as_str())
                .header("fanfeed-dead-attempts", context.attempt().to_string())
                .header("fanfeed-dead-error", text.as_str());
            if let Some(group) = context.group() {
                dead = dead.header("fanfeed-dead-group", group);
            }
            // Confirmed, because the message is acknowledged next. A copy that only waits in the
            // queue of this process may still be refused, or lost with the process.
            self.publisher.publish_confirmed(dead, LIMIT)
        };
        let sent = match send(message.headers().clone()) {
            Err(PublishError::TooLarge { .. }) => send(Headers::new()),
            sent => sent,
        };
        match sent {
            // Another attempt would be too large again.
            Err(PublishError::TooLarge { .. }) => Err(HandlerError::Reject),
            sent => Ok(sent.map(drop)?),
        }
    }
}

impl<H: Handler> Handler for DeadLetter<H> {
    fn handle(&self, message: &Message, context: &Context) -> Outcome {
        let called = catch_unwind(AssertUnwindSafe(|| self.inner.handle(message, context)));
        let error = match called {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(panic) => {
                HandlerError::failed(format!("the handler panicked: {}", panic_text(&*panic)))
            }
        };
        let is_last = context.attempt() >= self.after;
        match error {
            HandlerError::Reject => self.bury(message, context, &error),
            HandlerError::HandBack => Err(error),
            _ if is_last => self.bury(message, context, &error),
            other => Err(other),
        }
    }
}

impl<H> fmt::Debug for DeadLetter<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("key", &self.key)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}
