//! The counters and the state of a broker.

use std::sync::Arc;
use std::time::Duration;

/// The counters of a broker since it was made. While the broker works, each value is one that was
/// true a moment ago.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerStats {
    /// Messages that the queue to the server took, by whichever method. Each is counted later as
    /// `confirmed` or `publish_failed`; the others are on their way ([`Health::outbound`]). In
    /// memory: messages that were given to the subscriptions, including those for which some
    /// subscription had no room.
    pub published: u64,
    /// Messages that the server confirmed, also after a caller of `publish_confirmed` had stopped
    /// waiting. In memory: as `published`.
    pub confirmed: u64,
    /// Messages of `published` that were refused by the server, given up at the end, or lost on the
    /// way for all that is known. Each is also an event `PublishFailed`. A message of
    /// `publish_confirmed` that fails is counted too. What `publish` refuses itself, such as a
    /// message that is too large, is not.
    pub publish_failed: u64,
    /// Messages for which nobody was subscribed, where the driver can tell.
    pub unrouted: u64,
    /// Deliveries that a handler acknowledged.
    pub delivered: u64,
    /// Deliveries that a full buffer, or a group without members, dropped.
    pub dropped: u64,
    /// Calls of handlers after a delivery's first.
    pub redelivered: u64,
    /// Calls of handlers that failed or panicked.
    pub failed: u64,
    /// Deliveries that were rejected or given up.
    pub given_up: u64,
    /// The time that all handlers took together.
    pub handler_time: Duration,
}

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connection {
    /// There is a connection, or none is needed.
    Up,
    /// The server is away; the broker tries to connect again.
    Down,
    /// The broker was closed.
    Closed,
}

/// The state of a broker now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The connection.
    pub connection: Connection,
    /// Why the side that publishes is down: the last error of an attempt to connect, or of the
    /// connection that was lost. `None` while it is up, before its first attempt has ended, and in
    /// memory.
    pub outbound_fault: Option<Arc<str>>,
    /// Why the side that receives is down, in the same way.
    pub inbound_fault: Option<Arc<str>>,
    /// Messages that wait for the server.
    pub outbound: usize,
    /// Messages that arrived and wait for their handlers.
    pub pending: usize,
    /// Threads of the pool.
    pub threads: usize,
    /// Live subscriptions.
    pub subscriptions: usize,
}

impl Health {
    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        self.connection == Connection::Up
    }
}
