//! What arrives of a message before it is complete.

use tokio::time::Instant;

/// The bytes of the largest control frame of a client.
const CONTROL: u64 = 131;

/// How far the message that is arriving has come.
#[derive(Default)]
pub(super) struct Arrival {
    /// All bytes that had arrived when this was told last.
    seen: u64,
    /// Bytes since the last message, less those of control frames.
    bytes: u64,
    since: Option<Instant>,
}

impl Arrival {
    /// Notes how many bytes have arrived in all. Returns whether there are new ones.
    pub(super) fn note(&mut self, read: u64, now: Instant) -> bool {
        let new = read - self.seen;
        self.seen = read;
        self.bytes += new;
        if self.bytes > 0 {
            self.since.get_or_insert(now);
        }
        new > 0
    }

    /// A message is complete.
    pub(super) fn message(&mut self) {
        self.bytes = 0;
        self.since = None;
    }

    /// A control frame came, perhaps between two fragments.
    pub(super) fn control(&mut self) {
        self.bytes = self.bytes.saturating_sub(CONTROL);
        if self.bytes == 0 {
            self.since = None;
        }
    }

    /// Nothing was read meanwhile.
    pub(super) fn resume(&mut self, now: Instant) {
        self.since = self.since.map(|_| now);
    }

    /// Since when a message has been arriving.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether more has arrived than a message of this size takes. Fragments that carry little, or
    /// nothing, take more in framing than they bring, and neither the limit of a message's size nor
    /// that of the rate counts them.
    pub(super) fn exceeds(&self, message_size: usize) -> bool {
        const SPARE: u64 = 64 * 1024;
        self.bytes
            > (message_size as u64)
                .saturating_mul(2)
                .saturating_add(SPARE)
    }
}
