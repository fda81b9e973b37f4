//! Counters of a server.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a server has counted since it was built. Counts of things that go on meanwhile may be a moment old.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct ServerStats {
            /// Connections that are open now, or in their handshake.
            pub connections: usize,
            /// Channels that have members now.
            pub channels: usize,
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)+
        }

        impl Counters {
            pub(super) fn snapshot(&self, connections: usize, channels: usize) -> ServerStats {
                ServerStats {
                    connections,
                    channels,
                    $($name: self.$name.get(),)+
                }
            }
        }
    };
}

counters! {
    /// Clients that joined a channel.
    joined,
    /// Clients that left a channel, for whatever reason.
    left,
    /// Handshakes that were refused: by a limit, the origin, or `authorize`.
    refused,
    /// Messages that clients sent.
    received,
    /// Messages that were handed to clients' sockets.
    sent,
    /// Bytes of these messages, without the framing.
    sent_bytes,
    /// Messages that were dropped because their client read too slowly, or its connection ended.
    dropped,
    /// Clients that were disconnected because they read too slowly.
    slow,
    /// Messages that were malformed.
    malformed,
    /// Messages whose key has no handler.
    unknown,
    /// Messages that had expired before they were handled.
    expired,
    /// Answers that came after their question was over.
    late_answers,
    /// Messages whose handler failed or panicked.
    failed,
    /// Clients that were disconnected because they exceeded the rate.
    flooded,
    /// Clients that were disconnected because they showed no sign of life.
    silent,
}

/// A count of events.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
