//! Floor 1: what happens to a value for which a subscriber has no room.

/// What happens to a value that does not fit into a subscriber's own channel. Each subscriber
/// chooses its policy.
///
/// This is for channels that the feed makes, because the feed owns their queues. For other channels
/// see [`CarrierOverflow`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Overflow {
    /// The send waits for room. No value is lost, unless a sender gives one up. Then the subscriber
    /// learns how many values it missed at that point of the stream.
    #[default]
    Block,
    /// The subscriber misses the value, and learns how many it missed at that point of the stream.
    DropNewest,
    /// The oldest value in the channel is dropped to make room. The subscriber learns how many
    /// values it missed before it gets the next.
    ///
    /// The send drops the oldest value during its delivery. An unsubscribe on another thread may
    /// wait for the delivery, so the value's destructor must not wait for such a thread.
    DropOldest,
    /// The subscription ends. Its receiver gets what is in the channel, and then the error
    /// `Overflowed`.
    Disconnect,
}

/// What happens to a value that does not fit into a channel that the caller brought along.
///
/// There is no `DropOldest` here, because only the owner of a queue can push out its oldest value:
/// see [`Overflow`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CarrierOverflow {
    /// The send waits for room. No value is lost, unless a sender gives one up. Then
    /// [`Stats::dropped`](crate::Stats::dropped) counts it.
    #[default]
    Block,
    /// The subscriber misses the value, and [`Stats::dropped`](crate::Stats::dropped) counts it.
    DropNewest,
    /// The subscription ends with
    /// [`SubscriptionError::Overflowed`](crate::SubscriptionError::Overflowed).
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
