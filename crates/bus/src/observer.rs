//! What happens on a bus, for its observers.

use std::fmt;
use std::sync::Arc;

use crate::error::EventError;

/// The callback that gets each event of the bus.
pub(crate) type Logger = Arc<dyn Fn(&BusEvent) + Send + Sync>;

/// Something that happened on a bus.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum BusEvent {
    /// A listener failed, panicked or overran its timeout, or an event was not delivered.
    Error(EventError),
    /// Listeners block all threads of the bus, and it has reached its limit: the other asynchronous
    /// listeners wait.
    PoolExhausted {
        /// The limit of threads.
        limit: usize,
    },
    /// The logger was too slow, and missed this many. (A receiver learns that from
    /// [`Lagged`](fanfeed::RecvError::Lagged).)
    EventsMissed {
        /// How many.
        missed: u64,
    },
    /// Something happened in the broker that carries the events to other processes. What makes an
    /// event fail is an [`Error`](Self::Error) instead.
    #[cfg(feature = "broker")]
    #[cfg_attr(docsrs, doc(cfg(feature = "broker")))]
    Broker(fanfeed_broker::Event),
    /// A type was registered under another name than the one for which this listener of the type is
    /// registered. The listener keeps its name, and does not get what is dispatched under the other
    /// one: register types before their listeners. If both happen at the same time, this may come
    /// twice.
    #[cfg(feature = "broker")]
    #[cfg_attr(docsrs, doc(cfg(feature = "broker")))]
    Renamed {
        /// The name of the listener, or of its type.
        listener: Arc<str>,
        /// The name for which the listener is registered.
        from: Arc<str>,
        /// The name under which the bus dispatches events of the type from now on.
        to: Arc<str>,
    },
    /// The bus was closed.
    Closed,
}

impl fmt::Display for BusEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::PoolExhausted { limit } => write!(
                f,
                "listeners block all {limit} threads, and the other listeners wait"
            ),
            Self::EventsMissed { missed } => {
                write!(f, "the logger was too slow and missed {missed} events")
            }
            #[cfg(feature = "broker")]
            Self::Broker(event) => write!(f, "the broker: {event}"),
            #[cfg(feature = "broker")]
            Self::Renamed { listener, from, to } => write!(
                f,
                "the listener {listener} is registered for {from}, and its type is dispatched under {to} from now on; register types before \
                 their listeners"
            ),
            Self::Closed => f.write_str("closed"),
        }
    }
}
