//! The events of a broker, for its observers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::arrived::Arrived;
use crate::error::Counted;
use crate::id::MessageId;
use crate::key::Key;

/// The callback that gets each event.
pub(crate) type Logger = Arc<dyn Fn(&Event) + Send + Sync>;

/// An event of a broker.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The connection to the server is up, for the first time or again.
    Connected,
    /// The connection to the server was lost. The broker tries to connect again.
    Disconnected {
        /// The error of the system, the server or the client library.
        reason: Arc<str>,
    },
    /// A message failed after `publish` had returned.
    PublishFailed {
        /// The message.
        id: MessageId,
        /// Its key.
        key: Key,
        /// Why.
        error: Arc<str>,
    },
    /// Messages were dropped because a buffer was full, or because a group had no member. To limit
    /// the number of events, this is reported only when `total` has reached a power of two.
    Dropped {
        /// The key.
        key: Key,
        /// The group, or `None` for a plain subscription.
        group: Option<Arc<str>>,
        /// How many messages this subscription or group has dropped so far.
        total: u64,
    },
    /// Messages were lost on the way, or could not be read again after a fault.
    Gap {
        /// The key.
        key: Key,
        /// The group, or `None` for a plain subscription.
        group: Option<Arc<str>>,
        /// How many, if that is known.
        missed: Option<u64>,
    },
    /// A handler failed or panicked. The message is tried again unless [`GaveUp`](Self::GaveUp)
    /// follows.
    HandlerFailed {
        /// The message.
        id: MessageId,
        /// Its key.
        key: Key,
        /// The group, or `None` for a plain subscription.
        group: Option<Arc<str>>,
        /// How often the message has been given to the handler.
        attempt: u32,
        /// The error or the panic's message.
        error: Arc<str>,
    },
    /// A handler took longer than its timeout. It is still running.
    HandlerOverran {
        /// The message.
        id: MessageId,
        /// Its key.
        key: Key,
        /// The group, or `None` for a plain subscription.
        group: Option<Arc<str>>,
        /// The timeout.
        timeout: Duration,
    },
    /// A message was rejected, or failed in its last attempt, and is not delivered again.
    GaveUp {
        /// The message.
        id: MessageId,
        /// Its key.
        key: Key,
        /// The group, or `None` for a plain subscription.
        group: Option<Arc<str>>,
        /// How often it was tried.
        attempts: u32,
    },
    /// A message that arrived could not be read: it is larger than the limit, or it is malformed.
    Undecodable {
        /// The key.
        key: Key,
        /// What is wrong with it.
        error: Arc<str>,
        /// Its size and its beginning.
        arrived: Arrived,
    },
    /// A subscription ended with an error after `subscribe` had returned, for example because a
    /// permission was taken away. It receives nothing more: subscribe again.
    SubscriptionFailed {
        /// The key.
        key: Key,
        /// The group, or `None` for a plain subscription.
        group: Option<Arc<str>>,
        /// Why.
        error: Arc<str>,
    },
    /// Handlers block all threads of the pool, and the pool has reached its limit. The other
    /// handlers wait.
    PoolExhausted {
        /// The limit of threads.
        limit: usize,
    },
    /// The logger was too slow and missed events. (A receiver of events gets
    /// [`Lagged`](fanfeed::RecvError::Lagged) instead.)
    EventsMissed {
        /// How many.
        missed: u64,
    },
    /// The broker was closed.
    Closed,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::Disconnected { reason } => write!(f, "disconnected: {reason}"),
            Self::PublishFailed { id, key, error } => {
                write!(f, "message {id} on {key} was not published: {error}")
            }
            Self::Dropped { key, group, total } => {
                let dropped = Counted(*total, "message");
                write!(f, "{} has dropped {dropped}", Place(key, group))
            }
            Self::Gap {
                key,
                group,
                missed: Some(missed),
            } => {
                let missed = Counted(*missed, "message");
                write!(f, "{} has missed {missed}", Place(key, group))
            }
            Self::Gap {
                key,
                group,
                missed: None,
            } => {
                write!(
                    f,
                    "{} has missed an unknown number of messages",
                    Place(key, group)
                )
            }
            Self::HandlerFailed {
                id,
                key,
                group,
                attempt,
                error,
            } => write!(
                f,
                "the handler of {} failed at message {id}, attempt {attempt}: {error}",
                Place(key, group)
            ),
            Self::HandlerOverran {
                id,
                key,
                group,
                timeout,
            } => write!(
                f,
                "the handler of {} took longer than {timeout:?} with message {id}",
                Place(key, group)
            ),
            Self::GaveUp {
                id,
                key,
                group,
                attempts,
            } => write!(
                f,
                "{} gave up message {id} after {}",
                Place(key, group),
                Counted((*attempts).into(), "attempt")
            ),
            Self::Undecodable { key, error, .. } => {
                write!(f, "a message on {key} cannot be read: {error}")
            }
            Self::SubscriptionFailed { key, group, error } => {
                write!(f, "{} is no longer subscribed: {error}", Place(key, group))
            }
            Self::PoolExhausted { limit } => {
                write!(
                    f,
                    "handlers block all threads of the pool ({limit}), and the other handlers wait"
                )
            }
            Self::EventsMissed { missed } => {
                let missed = Counted(*missed, "event");
                write!(f, "the logger was too slow and missed {missed}")
            }
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// A key, and its group if it has one.
struct Place<'a>(&'a Key, &'a Option<Arc<str>>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(group) => write!(f, "{} (group {group})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}
