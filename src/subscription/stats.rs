//! The figures of a subscription.

use std::time::Duration;

/// The figures of one subscription since it was made.
///
/// `delivered + dropped` is the number of values that were sent to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Stats {
    /// Values that were put on the subscription's channel and not pushed out again, or passed to
    /// its closure.
    pub delivered: u64,
    /// Values that the subscriber missed: refused while full, pushed out by newer values, given up
    /// by a sender, or lost to a panic.
    pub dropped: u64,
    /// Values in the channel now, if the channel can tell.
    pub depth: Option<usize>,
    /// How often a send found the subscriber full and had to wait for it.
    pub blocked: u64,
    /// The total time that sends have waited for the subscriber, including the waits that are under
    /// way. Sends that wait at the same time add up. A wait is included from when its thread parks
    /// or its task is pending, or from its end, with all of its time.
    pub blocked_for: Duration,
    /// How long the send that has waited longest for the subscriber has been waiting; `None` if no
    /// send is waiting for it now.
    #[cfg_attr(feature = "serde", serde(default))]
    pub blocked_now: Option<Duration>,
}
