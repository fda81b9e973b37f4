//! Floor 1: what happens to a value for which a subscriber has no room.

/// What becomes of a value that does not fit into a subscriber's own channel. Chosen per subscriber.
///
/// This is for channels that the feed makes itself, whose queue it owns; for others see [`CarrierOverflow`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Overflow {
    /// The send waits for room. No value is lost, unless a sender gives one up. Then the subscriber
    /// learns how many values it missed at that point of the stream.
    #[default]
    Block,
    /// The value is lost to this subscriber, which learns how many it missed at that point of the stream.
    DropNewest,
    /// The oldest value in the channel makes room. The subscriber learns how many it missed before it gets the next.
    ///
    /// The send drops that value during its delivery. An unsubscribe on another thread may wait for
    /// the delivery, so the value's destructor must not wait for such a thread.
    DropOldest,
    /// The subscription ends: its receiver gets what is in the channel, then an error of its own kind.
    Disconnect,
}

/// What becomes of a value that does not fit into a channel that was brought along.
///
/// Pushing out the oldest value takes a queue of one's own, so it is not among these: see [`Overflow`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CarrierOverflow {
    /// The send waits for room. No value is lost, unless a sender gives one up. Then
    /// [`Stats::dropped`](crate::Stats::dropped) counts it.
    #[default]
    Block,
    /// The value is lost to this subscriber, and counted in [`Stats::dropped`](crate::Stats::dropped).
    DropNewest,
    /// The subscription ends with [`SubscriptionError::Overflowed`](crate::SubscriptionError::Overflowed).
    Disconnect,
}

impl From<CarrierOverflow> for Overflow {
    fn from(overflow: CarrierOverflow) -> Self {
        match overflow {
            CarrierOverflow::Block => Self::Block,
            CarrierOverflow::DropNewest => Self::DropNewest,
            CarrierOverflow::Disconnect => Self::Disconnect,
        }
    }
}
