//! Whether a message of a group is still this member's.

use std::time::{Duration, Instant};

/// The claim of a member to a message that it handles. It lapses when the server has not been told
/// about the message during `ack_wait`, and then the server gives the message to another member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    /// When the server was last told that the message is being handled.
    told: Instant,
    /// Whether `ack_wait` has passed between two times at which it was told.
    lapsed: bool,
}

impl Claim {
    /// The claim to a message that the server delivers now.
    pub(super) fn new() -> Self {
        Claim {
            told: Instant::now(),
            lapsed: false,
        }
    }

    /// Returns whether the server has to be told again.
    pub(super) fn renew(&mut self, ack_wait: Duration) -> bool {
        let is_due = self.told.elapsed() >= ack_wait / 3;
        if is_due {
            self.lapsed = self.has_lapsed(ack_wait);
            self.told = Instant::now();
        }
        is_due
    }

    /// Called when the connection has ended over which the server was told. It may have received
    /// nothing that was sent after `heard`.
    pub(super) fn lose_link(&mut self, heard: Instant) {
        self.told = self.told.min(heard);
    }

    /// Whether another member may have the message.
    pub(super) fn has_lapsed(&self, ack_wait: Duration) -> bool {
        self.lapsed || self.told.elapsed() >= ack_wait
    }
}
