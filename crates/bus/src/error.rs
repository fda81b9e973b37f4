//! What can go wrong.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
    /// The listener took longer than its timeout. The token of a synchronous listener was cancelled; its thread cannot be
    /// stopped. The future of an async listener was dropped.
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
    /// The listener was ended before it had handled the event: it was unregistered, its runtime was shut down, or
    /// [`close_timeout`](crate::EventBus::close_timeout) reached its deadline. A call on a thread of the bus that had not begun
    /// when the listener was unregistered is not made, and is no error.
    Cancelled,
    /// What was waited for did not happen in time.
    Timeout,
    /// At the deadline of [`close_timeout`](crate::EventBus::close_timeout) not all listeners had returned.
    CloseTimeout {
        /// How many dispatches had asynchronous listeners that had not returned.
        pending: usize,
        /// How many threads were inside listeners.
        running: usize,
    },
    /// The caller is inside a listener, and waits for something that ends only when that listener has returned. Wait
    /// outside of the listener, or do not wait.
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

/// What went wrong with one event at one listener. It is on the [`Dispatch`](crate::Dispatch) and on the bus.
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

    /// The name of the listener, or the name of its type if it has no name of its own. `None` if no listener is at fault.
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
