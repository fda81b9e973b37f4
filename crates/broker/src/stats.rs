//! The counters and the state of a broker.

use std::sync::Arc;
use std::time::Duration;

/// The counters of a broker since it was made. While the broker works, each value may be slightly
/// old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerStats {
    /// Messages that the queue to the server accepted, from all publishing methods. Each is counted
    /// later as `confirmed` or `publish_failed`. [`Health::outbound`] counts the messages between
    /// the two. In memory: messages that were given to the subscriptions, including
    /// messages for which a subscription had no room.
    pub published: u64,
    /// Messages that the server confirmed, including those whose caller of `publish_confirmed` had
    /// stopped waiting. In memory: as `published`.
    pub confirmed: u64,
    /// Messages of `published` that the server refused, that were given up at the end or after the
    /// timeout of `publish_confirmed`, or that may have been lost on the way. Each is also an event
    /// `PublishFailed`. A message of `publish_confirmed` that fails is counted too. A message that
    /// `publish` itself refuses, for example because it is too large, is not counted.
    pub publish_failed: u64,
    /// Messages without a subscription, if the driver can detect that.
    pub unrouted: u64,
    /// Deliveries that a handler acknowledged.
    pub delivered: u64,
    /// Deliveries that a full buffer, or a group without members, dropped.
    pub dropped: u64,
    /// Calls of handlers after the first call for a delivery.
    pub redelivered: u64,
    /// Calls of handlers that failed or panicked.
    pub failed: u64,
    /// Deliveries that were rejected or given up.
    pub given_up: u64,
    /// Messages that a group gave up or could not read, and whose dead letter the server refused,
    /// so that they are lost. Each is also an event `Undecodable`.
    pub dead_letters_lost: u64,
    /// The total time of all handlers.
    pub handler_time: Duration,
}

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connection {
    /// The broker is connected, or needs no connection.
    Up,
    /// The server is away, and the broker tries to connect again.
    Down,
    /// The broker was closed.
    Closed,
}

/// The current state of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The connection.
    pub connection: Connection,
    /// Why the publishing side is down: the error of the last attempt to connect, or of the lost
    /// connection. `None` while the side is up, before its first attempt has ended, and in memory.
    pub outbound_fault: Option<Arc<str>>,
    /// Why the receiving side is down, in the same way.
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
    /// Whether the broker is connected, or needs no connection.
    pub fn is_up(&self) -> bool {
        self.connection == Connection::Up
    }
}
