//! Handlers: the callbacks that get each message.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::dispatch::Started;
use crate::message::Message;

/// What a handler returns. `Ok` acknowledges the message.
///
/// A handler that panics has failed, as if it had returned [`HandlerError::Failed`].
pub type Outcome = Result<(), HandlerError>;

/// Why a handler did not handle a message. Any error becomes [`Failed`](Self::Failed) by `?`.
///
/// It does not implement [`Error`] itself: otherwise `From` could not accept every error.
///
/// ```
/// use fanfeed_broker::{Context, Message, Outcome};
///
/// fn count(message: &Message, _context: &Context) -> Outcome {
///     let text = std::str::from_utf8(message.payload())?;
///     let _number: u64 = text.parse()?;
///     Ok(())
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum HandlerError {
    /// The message has to be tried again after this time. With
    /// [`Redelivery::Requeue`](crate::Redelivery::Requeue), a driver that delivers at least once
    /// chooses the wait instead.
    Retry(Duration),
    /// The message can never be handled. It is given up at once, reported and counted.
    Reject,
    /// The handler has not begun to handle the message, for example because its process shuts down.
    /// This is not a failure and does not count as an attempt. If the subscription has been
    /// cancelled, another member of the group gets the message, like all messages that were not
    /// begun. Otherwise the message is tried again, after the same wait as after a failure.
    ///
    /// A server that counts deliveries also counts this one: see
    /// [`SubscribeOptions::attempts`](crate::SubscribeOptions::attempts).
    HandBack,
    /// The message has to be tried again, after a wait that grows with the attempts.
    Failed(Box<dyn Error + Send + Sync>),
}

impl HandlerError {
    /// Makes a failure with this error or text.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(after) => write!(f, "the handler asked to be called again after {after:?}"),
            Self::Reject => f.write_str("the handler rejected the message"),
            Self::HandBack => f.write_str("the handler handed the message back"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error))
    }
}

/// A handler of messages. Closures of the same signature are handlers.
///
/// The broker calls it on a thread of its pool, for one message at a time unless the subscription
/// has a higher [`concurrency`](crate::SubscribeOptions::concurrency). It may block: the pool then
/// grows, up to its limit, so that other handlers can run. It may publish, subscribe and
/// unsubscribe, and may end its own subscription.
pub trait Handler: Send + Sync {
    /// Handles one message.
    ///
    /// # Errors
    ///
    /// The error says what to do with the message that could not be handled.
    fn handle(&self, message: &Message, context: &Context) -> Outcome;

    /// Starts to handle one message. The result says whether the handler has returned, or continues
    /// without the calling thread as an `AsyncHandler` does.
    #[doc(hidden)]
    fn start(&self, message: &Message, context: &Context) -> Started {
        Started::Done(self.handle(message, context))
    }
}

impl<F> Handler for F
where
    F: Fn(&Message, &Context) -> Outcome + Send + Sync,
{
    fn handle(&self, message: &Message, context: &Context) -> Outcome {
        self(message, context)
    }
}

impl Handler for Arc<dyn Handler> {
    fn handle(&self, message: &Message, context: &Context) -> Outcome {
        (**self).handle(message, context)
    }

    fn start(&self, message: &Message, context: &Context) -> Started {
        (**self).start(message, context)
    }
}
