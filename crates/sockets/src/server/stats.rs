//! Counters of a server.

use crate::observe::{Gauge, Histogram, counters};

counters! {
    /// What a server has counted since it was built. Counts of things that go on meanwhile may be a
    /// moment old.
    stats ServerStats {
        /// Connections that are open now, or in their handshake.
        connections,
        /// Channels that have members now.
        channels,
    }
    counters Counters, prefix "fanfeed_sockets_" {
        /// Clients that joined a channel.
        joined,
        /// Clients that left a channel, for whatever reason.
        left,
        /// Handshakes that were refused: by a limit, the origin, or `authorize`, or because they
        /// were no HTTP.
        refused,
        /// Messages that clients sent.
        received,
        /// Messages that were broadcast to a channel or sent to one client: by the application, and
        /// as replies to others than the sender. Each counts once, whatever the number of members.
        published,
        /// Messages that were handed to clients' sockets.
        sent,
        /// Bytes of these messages, without the framing.
        sent_bytes,
        /// Messages that were dropped because their client read too slowly, or its connection
        /// ended.
        dropped,
        /// Clients that were disconnected because they read too slowly.
        slow,
        /// Messages that were malformed.
        malformed,
        /// Messages whose key has no handler.
        unknown,
        /// Messages that had expired before they were handled.
        expired,
        /// Messages that were not handled, or whose handler was dropped, because their client's
        /// connection had ended [`close_time`](crate::Limits::close_time) before, or was cut.
        abandoned,
        /// Answers that came after their question was over.
        late_answers,
        /// Messages whose handler failed or panicked.
        failed,
        /// Clients that were disconnected because they exceeded the rate.
        flooded,
        /// Clients that were disconnected because they showed no sign of life.
        silent,
    }
}

impl Counters {
    /// Reports to the recorder what [`Mailbox::put`](super::mailbox::Mailbox::put) has counted.
    /// Called without any lock.
    pub(super) fn report_drops(&self) {
        self.dropped.report();
        self.slow.report();
    }
}

/// What the feature `metrics` reports besides the counters.
pub(super) struct Meters {
    pub(super) connections: Gauge,
    pub(super) channels: Gauge,
    /// Messages that wait for their handlers.
    pub(super) pending: Gauge,
    pub(super) handler: Histogram,
}

impl Meters {
    pub(super) fn registered() -> Self {
        Self {
            connections: Gauge::registered(
                "fanfeed_sockets_connections",
                "Connections that are open now, or in their handshake.",
            ),
            channels: Gauge::registered(
                "fanfeed_sockets_channels",
                "Channels that have members now.",
            ),
            pending: Gauge::registered(
                "fanfeed_sockets_pending",
                "Messages that wait for their handlers.",
            ),
            handler: Histogram::registered(
                "fanfeed_sockets_handler_seconds",
                "The time that a call of a handler took.",
            ),
        }
    }
}
