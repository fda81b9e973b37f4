//! The traits of a driver: the two sides of a connection.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::capabilities::Capabilities;
use crate::driver::Sink;
use crate::error::ConnectError;
use crate::message::Message;
use crate::receipt::Receipt;
use crate::subscriber::Subscribe;

/// Opens the two sides of a connection. The engine opens a side again after it has failed.
pub trait Transport: Send + Sync + 'static {
    /// The promises of the driver. Their `driver` is the name that
    /// [`Broker::driver`](crate::Broker::driver) returns.
    fn capabilities(&self) -> &'static Capabilities;

    /// The largest message in bytes: key, name, headers and payload. 1 MiB by default. The engine
    /// refuses to publish larger messages. The driver has to check messages that it receives.
    fn largest_message(&self) -> usize {
        1 << 20
    }

    /// Whether a batch is published again if the connection was lost before the server confirmed
    /// it. If so, a message may arrive twice; otherwise it does not. True by default.
    fn publishes_again(&self) -> bool {
        true
    }

    /// Whether the driver gets the verdicts about messages of plain subscriptions
    /// ([`Inbound::settle`]). True by default. Without them, each message costs less.
    fn settles_plain(&self) -> bool {
        true
    }

    /// Refuses a subscription that this driver does not support, before anything is sent. The
    /// engine has checked the key, the group, the options, and the
    /// [`capabilities`](Self::capabilities).
    ///
    /// # Errors
    ///
    /// The error that the caller of `subscribe` gets.
    fn accepts(&self, request: &Subscribe) -> Result<(), crate::SubscribeError> {
        let _ = request;
        Ok(())
    }

    /// Opens the side that publishes, on the thread that will use it. It has to return within the
    /// driver's own timeout.
    ///
    /// # Errors
    ///
    /// The reason why there is no connection. The engine tries again, unless this was the first
    /// attempt of a `connect` that is not lazy.
    fn open_outbound(&self) -> Result<Box<dyn Outbound>, ConnectError>;

    /// Opens the side that receives, on the thread that will use it. As
    /// [`open_outbound`](Self::open_outbound).
    ///
    /// # Errors
    ///
    /// As [`open_outbound`](Self::open_outbound).
    fn open_inbound(&self) -> Result<Box<dyn Inbound>, ConnectError>;

    /// Called by each of the two threads at its end, after its side was dropped and while a
    /// [`close`](crate::Broker::close) waits. Here a transport drops the state that it keeps for
    /// the next connection, if a thread of the user must not drop that state. The other thread may
    /// still use its side.
    fn ended(&self) {}
}

/// The publishing side of a connection.
pub trait Outbound {
    /// Publishes a batch of at most [`EngineOptions::batch`](crate::driver::EngineOptions::batch)
    /// messages, and returns the outcome of each, in their order. Their payloads have at most 16
    /// MiB together, unless the batch has only one message. If fewer outcomes are returned, the
    /// other messages count as [`Published::Unsent`].
    ///
    /// # Errors
    ///
    /// If the connection was lost, so that the outcome of the messages is unknown. The engine drops
    /// this side and opens another one.
    fn publish(&mut self, batch: &[Message]) -> Result<Vec<Published>, LinkError>;

    /// Checks the connection. Called about once a second while there is nothing to publish. If the
    /// server has gone away, this has to find it, because nothing else does until the next message
    /// is published. The suite waits for that.
    ///
    /// # Errors
    ///
    /// If the connection was lost.
    fn idle(&mut self) -> Result<(), LinkError> {
        Ok(())
    }
}

/// The outcome of publishing one message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Published {
    /// The server has the message.
    Done(Receipt),
    /// The server has the message, at a position that two numbers describe. The engine calls `text`
    /// with them to make a receipt, but only if a caller waits for it.
    Stored {
        /// The first number.
        part: i64,
        /// The second number.
        place: i64,
        /// Writes the position.
        text: fn(part: i64, place: i64) -> String,
    },
    /// The server refused the message permanently. The text says why.
    Refused(Arc<str>),
    /// The message was not sent. The engine puts it in the next batch.
    Unsent,
    /// The message was sent, and its outcome is not known yet. The next batch begins with it, and
    /// it is not sent again: the side recognises it, and waits for its outcome then. If no further
    /// messages wait, the batch has only such messages, and `publish` waits for all of them.
    Pending,
}

/// The receiving side of a connection. All calls come from the thread that opened it.
pub trait Inbound {
    /// Opens a subscription. When it returns `Ok`, the subscription is live on the server. After a
    /// reconnect, the engine calls `open` again for each subscription.
    /// [`Sink::position`](crate::driver::Sink::position) then returns the position that the driver
    /// recorded last.
    ///
    /// # Errors
    ///
    /// See [`SinkError`].
    fn open(&mut self, sink: &Sink) -> Result<(), SinkError>;

    /// Returns the subscriptions for which [`open`](Self::open) had returned
    /// [`SinkError::Later`] and that are open now, or could not be opened: the numbers of their
    /// sinks ([`Sink::id`]), and the outcomes. The engine calls this after each
    /// [`pump`](Self::pump), which returns early when there is an outcome. An error that is a lost
    /// connection ends this side, as an error of `pump` does.
    fn opened(&mut self) -> Vec<(u64, Result<(), SinkError>)> {
        Vec::new()
    }

    /// Closes a subscription. Its sink takes no more messages. The engine also closes a
    /// subscription that was open on an earlier connection and ended while there was no connection,
    /// or that could not be opened, or that is still being opened. A side ignores a subscription
    /// that it does not know.
    fn close(&mut self, sink: &Sink);

    /// Called when a handler is done with the delivery with this tag. For a plain subscription,
    /// this is called only if [`Transport::settles_plain`]. The delivery may have come over an
    /// earlier connection, and the subscription may have been closed.
    fn settle(&mut self, sink: &Sink, tag: u64, verdict: Verdict);

    /// Delivers the messages that arrived, and waits up to `timeout` for messages. Returns early
    /// when the interrupter is called. The engine calls it when there is a subscription to open or
    /// close or a delivery to settle, or when a sink that was full has room again.
    ///
    /// # Errors
    ///
    /// If the connection was lost. The engine drops this side and opens another one.
    fn pump(&mut self, timeout: Duration) -> Result<(), LinkError>;

    /// Returns a function that ends the current wait of [`pump`](Self::pump), or the next one if no
    /// `pump` waits. It is called from any thread and must not block.
    fn interrupter(&self) -> Arc<dyn Fn() + Send + Sync>;

    /// Sends what the driver still holds back, such as acknowledgements. Called once before the
    /// side is dropped in a [`close`](crate::Broker::close), after the last `settle`.
    fn finish(&mut self) {}
}

/// The result of handling a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The message was handled: acknowledge it.
    Handled,
    /// The message was rejected or given up. Keep it as a dead letter or acknowledge it, but do not
    /// deliver it again.
    GivenUp,
    /// The handler failed, and any member may try the message again
    /// ([`Redelivery::Requeue`](crate::Redelivery::Requeue)).
    Requeued,
    /// The subscription ended before a handler was done with the message. Leave it to another
    /// member.
    Abandoned,
}

/// The connection was lost.
#[derive(Debug, Clone)]
pub struct LinkError {
    reason: Arc<str>,
    unsent: bool,
}

impl LinkError {
    /// Makes a loss with the text of the system, the server or the client library. The text must
    /// not contain a secret.
    pub fn new(reason: impl Into<Arc<str>>) -> Self {
        Self {
            reason: reason.into(),
            unsent: false,
        }
    }

    /// Says that no message of the batch was sent. The engine publishes the batch again, whatever
    /// [`publishes_again`](Transport::publishes_again) returns.
    #[must_use]
    pub fn before_sending(mut self) -> Self {
        self.unsent = true;
        self
    }

    pub(crate) fn is_unsent(&self) -> bool {
        self.unsent
    }

    /// The text.
    pub fn reason(&self) -> &Arc<str> {
        &self.reason
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the connection was lost: {}", self.reason)
    }
}

impl Error for LinkError {}

/// Why a subscription was not opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SinkError {
    /// The connection was lost. The subscription is opened again after the reconnect.
    Link(LinkError),
    /// The server refused the subscription permanently, for this reason. The subscription ends with
    /// this error.
    Refused(Arc<str>),
    /// Opening the subscription takes longer than the other subscriptions should wait. The side
    /// goes on with its work, and [`Inbound::opened`] returns the outcome.
    Later,
}

impl From<LinkError> for SinkError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(error) => error.fmt(f),
            Self::Refused(reason) => write!(f, "the server refused the subscription: {reason}"),
            Self::Later => f.write_str("the subscription is still being opened"),
        }
    }
}

impl Error for SinkError {}
