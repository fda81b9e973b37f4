//! The trait of publishers.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::error::{FlushError, PublishError};
use crate::message::Message;
use crate::receipt::Receipt;

/// The progress of a publish by a caller that must not block.
#[doc(hidden)]
#[non_exhaustive]
#[allow(
    missing_debug_implementations,
    reason = "between this crate's brokers and their async twins"
)]
pub enum Begun {
    /// The message was published, or refused.
    Done(Result<(), PublishError>),
    /// The future waits for room.
    Later(Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send>>),
    /// Nothing has been done yet, and `publish` may block.
    Blocks(Message),
}

/// Publishes messages.
///
/// Publishing under a key without subscriptions is not an error. Messages that one thread publishes
/// under one key arrive in their order.
///
/// With a server, `publish` puts the message in a bounded queue to it. A message that fails after
/// that is reported as [`Event::PublishFailed`](crate::Event::PublishFailed) and counted. In
/// memory, `publish` delivers to the buffers of the subscriptions before it returns.
///
/// All methods except [`try_publish`](Self::try_publish) may block, so do not call them in async
/// code. The feature `tokio` adds async variants.
pub trait Publisher: Send + Sync {
    /// Publishes a message if there is room.
    ///
    /// # Errors
    ///
    /// [`Full`](PublishError::Full) if there is no room. In memory, the subscriptions that had room
    /// have received the message in that case. [`Closed`](PublishError::Closed),
    /// [`TooLarge`](PublishError::TooLarge), [`BadKey`](PublishError::BadKey).
    fn try_publish(&self, message: Message) -> Result<(), PublishError>;

    /// Publishes a message, and waits for room.
    ///
    /// # Errors
    ///
    /// [`Closed`](PublishError::Closed), also if the broker is closed during the wait,
    /// [`TooLarge`](PublishError::TooLarge), [`BadKey`](PublishError::BadKey). In memory,
    /// [`Full`](PublishError::Full) if a handler publishes to its own subscription, which is full
    /// and uses `Overflow::Block`, because it would wait for itself. (Handlers that wait for each
    /// other's subscriptions are not detected.)
    fn publish(&self, message: Message) -> Result<(), PublishError>;

    /// Publishes a message, and waits up to `timeout` for room.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish), and [`Timeout`](PublishError::Timeout).
    fn publish_timeout(&self, message: Message, timeout: Duration) -> Result<(), PublishError>;

    /// Publishes a message, and waits up to `timeout` until the server confirms it. In memory:
    /// until it is in the buffers of all subscriptions.
    ///
    /// # Errors
    ///
    /// As [`publish_timeout`](Self::publish_timeout), [`Refused`](PublishError::Refused) with the
    /// server's reason, and [`Uncertain`](PublishError::Uncertain) if the connection was lost in
    /// between and the driver does not publish again.
    ///
    /// After [`Timeout`](PublishError::Timeout), a message that still waits in the queue to the
    /// server is removed from it, so a caller that tries again during an outage does not fill the
    /// queue. A message that the driver has may still arrive. That includes a message that went
    /// back to the queue because its connection was lost: it may have arrived before.
    fn publish_confirmed(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<Receipt, PublishError>;

    /// Publishes a message where there is room. The result says how to wait for more room without a
    /// thread.
    #[doc(hidden)]
    fn begin_publish(&self, message: Message) -> Begun {
        Begun::Blocks(message)
    }

    /// Waits up to `timeout` until the outcome of everything that was published before is known.
    /// `Ok` says that all of it is on the server, except messages whose failure was already
    /// reported. In memory, everything is delivered when `publish` returns, and there is nothing to
    /// report.
    ///
    /// Each failure since the broker was made is reported once, no matter when it happened: by the
    /// next flush that returns, and by every other flush that began before that one returned. The
    /// failed messages may be those of other callers, or messages that were published during the
    /// flush. So a flush may take the failures that another caller is waiting for. A caller that
    /// has to know about its own messages uses [`publish_confirmed`](Self::publish_confirmed),
    /// which returns the failure to that caller only, or the events.
    ///
    /// # Errors
    ///
    /// - [`Timeout`](FlushError::Timeout) if messages are still on their way. This reports no
    ///   failure; a later flush does.
    /// - [`Uncertain`](FlushError::Uncertain) if the connection was lost before messages were
    ///   confirmed, and the driver does not publish again.
    /// - [`Failed`](FlushError::Failed) if messages were refused or given up. If there are
    ///   uncertain messages too, this flush reports those, and the next one reports the failed
    ///   messages.
    /// - [`Closed`](FlushError::Closed) after `close`.
    fn flush(&self, timeout: Duration) -> Result<(), FlushError>;
}
