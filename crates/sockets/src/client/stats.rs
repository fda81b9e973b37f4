//! Counters of a client.

use crate::observe::{Gauge, Held, Histogram, counters};

counters! {
    /// What a client has counted since it was built. Counts of things that go on meanwhile may be a
    /// moment old.
    stats ClientStats {
        /// Channels that are joined now, those included to which the client reconnects.
        memberships,
        /// Of these, the channels that are connected now.
        connected,
    }
    counters Counters, prefix "fanfeed_sockets_client_" {
        /// Connections that were made, for the first time or again.
        connections,
        /// Connections that ended, for whatever reason.
        disconnections,
        /// Attempts to connect again that failed.
        failed_attempts,
        /// Messages that were published, and handed to a connection.
        published,
        /// Messages that were queued to be published, and whose connection ended first.
        lost,
        /// Messages that servers sent: answers, error messages, and what is no message among them.
        received,
        /// Messages that answered a request.
        answered,
        /// Messages that a listener handled.
        delivered,
        /// Messages whose listener failed or panicked, or whose reply was not published.
        failed,
        /// Messages that have no listener.
        unhandled,
        /// Messages that had expired when they came.
        expired,
        /// Messages that were malformed.
        malformed,
        /// Error messages that answered no request.
        server_errors,
    }
}

/// What the feature `metrics` reports besides the counters.
pub(super) struct Meters {
    pub(super) connected: Gauge,
    /// Messages that wait for their listeners.
    pub(super) pending: Gauge,
    pub(super) listener: Histogram,
}

impl Meters {
    pub(super) fn registered() -> Self {
        Self {
            connected: Gauge::registered(
                "fanfeed_sockets_client_connected",
                "Channels that are connected now.",
            ),
            pending: Gauge::registered(
                "fanfeed_sockets_client_pending",
                "Messages that wait for their listeners.",
            ),
            listener: Histogram::registered(
                "fanfeed_sockets_client_listener_seconds",
                "The time that a call of a listener took.",
            ),
        }
    }
}

/// A connection that is open, while this lives.
pub(super) struct Connected<'a> {
    counters: &'a Counters,
    _held: Held,
}

impl<'a> Connected<'a> {
    pub(super) fn new(counters: &'a Counters, meters: &'a Meters) -> Self {
        counters.connections.add(1);
        let _held = meters.connected.hold();
        Self { counters, _held }
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.counters.disconnections.add(1);
    }
}

/// Whether a client is connected where it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientHealth {
    /// All channels that are joined are connected.
    Connected,
    /// The client reconnects to so many of its channels.
    Reconnecting(usize),
    /// The client was closed.
    Closed,
}
