//! What can go wrong.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::Arrived;

use crate::quietly::quietly;

/// What went wrong, and what would be right.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum BusError {
    /// The bus was closed: it takes no events and no listeners.
    Closed,
    /// The name of an event is empty.
    BadName,
    /// The listener returned this error.
    Failed(ListenerFailure),
    /// The listener panicked with this message.
    Panicked(Arc<str>),
    /// The listener took longer than its timeout. The token of a synchronous listener was
    /// cancelled; its thread cannot be stopped. The future of an async listener was dropped.
    Overran(Duration),
    /// The listener takes events of another type under the same name.
    WrongType {
        /// The type that the listener takes.
        expected: &'static str,
        /// The type of the event.
        found: &'static str,
    },
    /// An async listener was made outside of a runtime, and was given none.
    NoRuntime,
    /// The listener was ended before it had handled the event: it was unregistered, its runtime was
    /// shut down, or [`close_timeout`](crate::EventBus::close_timeout) reached its deadline. A call
    /// on a thread of the bus that had not begun when the listener was unregistered is not made,
    /// and is no error.
    Cancelled,
    /// What was waited for did not happen in time.
    Timeout,
    /// At the deadline of [`close_timeout`](crate::EventBus::close_timeout) not all listeners had
    /// returned.
    CloseTimeout {
        /// How many dispatches had asynchronous listeners that had not returned.
        pending: usize,
        /// How many threads were inside listeners.
        running: usize,
    },
    /// The bus is in memory: it has no types of events and no groups. Make it with
    /// `EventBus::over`, in one process over a `MemoryBroker`.
    NoBroker,
    /// No type is registered for this event, so other processes do not get it. `dispatch` has
    /// called the local listeners all the same, and `dispatch_confirmed` has not.
    NotRegistered {
        /// The type of the event.
        type_name: &'static str,
    },
    /// The event cannot be written as JSON.
    Encode(Arc<str>),
    /// The event is too large for other processes. `dispatch` has called the local listeners all
    /// the same, and `dispatch_confirmed` has not.
    TooLarge {
        /// Its size in bytes, with its envelope unless that is goevent's.
        size: usize,
        /// The largest size in bytes.
        limit: usize,
    },
    /// The broker did not take the event, gave it up later, or lost the connection before the
    /// server had confirmed it: then the event may have arrived. `dispatch` has called the local
    /// listeners all the same, and `dispatch_confirmed` has not. For one of the latest 16,384
    /// events the error stands on the dispatch. For an older one the bus emits a `BusEvent::Broker`
    /// instead. If the broker reports more than 16,384 events at once, the oldest are lost, and the
    /// bus emits their number.
    NotPublished(Arc<str>),
    /// The broker did not subscribe, or the listener of a group was refused. The text says why. If
    /// the server refuses the subscription later, the bus reports this error, and the next listener
    /// that is registered for the name subscribes again.
    NotSubscribed(Arc<str>),
    /// Something arrived from another process that is no event for this bus.
    Undelivered {
        /// What is wrong with it.
        reason: Undelivered,
        /// What arrived.
        arrived: Arrived,
    },
    /// There is no connection to the server. The text says why.
    NotConnected(Arc<str>),
    /// The caller is inside a listener, and waits for something that ends only when that listener
    /// has returned. Wait outside of the listener, or do not wait.
    WouldDeadlock,
}

impl BusError {
    #[cold]
    pub(crate) fn failed(error: Box<dyn Error + Send + Sync>) -> Self {
        Self::Failed(ListenerFailure::new(error))
    }

    /// Whether the bus was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Whether this is a wait that ran out of time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout | Self::CloseTimeout { .. })
    }

    /// Whether this is a wait that would not have ended.
    pub fn is_would_deadlock(&self) -> bool {
        matches!(self, Self::WouldDeadlock)
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the bus is closed and takes no events and no listeners"),
            Self::BadName => f.write_str("the name of an event is empty; give it a name"),
            Self::Failed(failure) => write!(f, "the listener failed: {failure}"),
            Self::Panicked(text) => write!(f, "the listener panicked: {text}"),
            Self::Overran(timeout) => {
                write!(f, "the listener took longer than its timeout of {timeout:?}")
            }
            Self::WrongType { expected, found } => write!(
                f,
                "the listener takes events of type {expected}, but {found} has the same name; give one of them another name"
            ),
            Self::NoRuntime => f.write_str(
                "there is no runtime for the async listener; make it inside a tokio runtime, or name one with `on`",
            ),
            Self::Cancelled => {
                f.write_str("the listener was ended before it had handled the event")
            }
            Self::Timeout => f.write_str("not all listeners returned in time"),
            Self::CloseTimeout { pending, running } => write!(
                f,
                "the bus was closed at the deadline, with {pending} dispatches pending and {running} threads inside listeners"
            ),
            Self::NoBroker => f.write_str(
                "the bus is in memory and has no types and no groups; make it with `EventBus::over`",
            ),
            Self::NotRegistered { type_name } => write!(
                f,
                "the type {type_name} is not registered, so other processes do not get the event; register it with \
                 `register_type`"
            ),
            Self::Encode(reason) => write!(f, "the event cannot be written as JSON: {reason}"),
            Self::TooLarge { size, limit } => write!(
                f,
                "the event has {size} bytes, and the bus takes at most {limit}"
            ),
            Self::NotPublished(reason) => write!(f, "the event was not published: {reason}"),
            Self::NotSubscribed(reason) => {
                write!(f, "the broker did not subscribe to the event: {reason}")
            }
            Self::Undelivered { reason, arrived } => {
                write!(f, "{} bytes arrived and were not delivered: {reason}", arrived.size())
            }
            Self::NotConnected(reason) => write!(f, "there is no connection: {reason}"),
            Self::WouldDeadlock => f.write_str(
                "a listener waits for something that ends only when it has returned; wait outside of the listener",
            ),
        }
    }
}

impl Error for BusError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(failure) => Some(failure.error()),
            _ => None,
        }
    }
}

/// Why something that arrived from another process was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undelivered {
    /// It is no envelope. The text says where it is wrong.
    Malformed(Arc<str>),
    /// The envelope has a version that this release does not know.
    FutureVersion {
        /// The version of the envelope.
        found: u64,
        /// The latest version that this release knows.
        known: u64,
    },
    /// The envelope is of a bus with another prefix.
    OtherBus {
        /// The prefix in the envelope.
        found: Arc<str>,
        /// The prefix of this bus.
        expected: Arc<str>,
    },
    /// The envelope has another name than the channel on which it arrived.
    OtherName {
        /// The name in the envelope.
        found: Arc<str>,
    },
    /// No type is registered under the name.
    NotRegistered,
    /// The payload is not what the registered type takes. The text says where it is wrong.
    BadPayload(Arc<str>),
    /// It is larger than this in bytes.
    TooLarge {
        /// The largest size in bytes.
        limit: usize,
    },
    /// The broker could not read it.
    Unreadable(Arc<str>),
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(reason) => write!(f, "they are no envelope: {reason}"),
            Self::FutureVersion { found, known } => write!(
                f,
                "the envelope has version {found}, and the latest known one is {known}; update this program first"
            ),
            Self::OtherBus { found, expected } => write!(
                f,
                "the envelope is of a bus with the prefix {found:?}, and this one has {expected:?}"
            ),
            Self::OtherName { found } => write!(f, "the envelope is of the event {found:?}"),
            Self::NotRegistered => f.write_str(
                "no type is registered under the name; register it with `register_type_as`",
            ),
            Self::BadPayload(reason) => {
                write!(
                    f,
                    "the payload is not what the registered type takes: {reason}"
                )
            }
            Self::TooLarge { limit } => write!(f, "the bus takes at most {limit} bytes"),
            Self::Unreadable(reason) => write!(f, "the broker could not read them: {reason}"),
        }
    }
}

/// The error that a listener returned. Clones share it.
#[derive(Clone)]
pub struct ListenerFailure(Option<Arc<dyn Error + Send + Sync>>);

impl ListenerFailure {
    pub(crate) fn new(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(Some(error.into()))
    }

    /// The error.
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self.0
            .as_deref()
            .expect("it is taken only when this is dropped")
    }

    /// The error, if it is of this type.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.error().downcast_ref()
    }
}

impl Drop for ListenerFailure {
    fn drop(&mut self) {
        let error = self.0.take();
        quietly(|| drop(error));
    }
}

impl fmt::Debug for ListenerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.error(), f)
    }
}

impl fmt::Display for ListenerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.error(), f)
    }
}

/// What went wrong with one event at one listener. It is on the [`Dispatch`](crate::Dispatch) and
/// on the bus.
#[derive(Debug, Clone)]
pub struct EventError {
    event: Arc<str>,
    listener: Option<Arc<str>>,
    error: BusError,
}

impl EventError {
    pub(crate) fn new(event: &str, listener: Option<Arc<str>>, error: BusError) -> Self {
        Self {
            event: event.into(),
            listener,
            error,
        }
    }

    /// The name of the event.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// The name of the listener, or the name of its type if it has no name of its own. `None` if no
    /// listener is at fault.
    pub fn listener(&self) -> Option<&str> {
        self.listener.as_deref()
    }

    /// What went wrong.
    pub fn error(&self) -> &BusError {
        &self.error
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.listener {
            Some(listener) => write!(
                f,
                "event {}, listener {listener}: {}",
                self.event, self.error
            ),
            None => write!(f, "event {}: {}", self.event, self.error),
        }
    }
}

impl Error for EventError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
