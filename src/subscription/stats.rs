//! What a subscription counts.

use std::time::Duration;

/// The figures of one subscription since it was made.
///
/// `delivered + dropped` is what was sent to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Stats {
    /// Values that were put on its channel and not pushed out again, or handed to its closure.
    pub delivered: u64,
    /// Values that the subscriber missed: refused while full, pushed out by newer ones, given up by
    /// a sender, or lost to a panic.
    pub dropped: u64,
    /// Values in its channel now, where the channel can tell.
    pub depth: Option<usize>,
    /// How often a send found it full and had to wait for it.
    pub blocked: u64,
    /// For how long sends have waited for it, in all. Sends that wait at the same time add up.
    pub blocked_for: Duration,
}
