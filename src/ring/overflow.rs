//! What becomes of a reader that falls behind.

/// What happens when a value is to be written over that a reader of a [`RingFeed`](crate::RingFeed) has not read yet.
/// Chosen per reader.
///
/// All readers share the ring's slots, so there is no such thing as dropping the newest value for one of them: compare
/// [`Overflow`](crate::Overflow), which is for channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum RingOverflow {
    /// The send waits for the reader. Nothing is lost.
    #[default]
    Block,
    /// The reader misses the oldest values, an eighth of the ring at a time, and learns how many.
    /// It never holds up a sender. It adds memory for one more eighth of the ring, which is freed
    /// when it leaves.
    DropOldest,
    /// The subscription ends with
    /// [`SubscriptionError::Overflowed`](crate::SubscriptionError::Overflowed) when a value that
    /// the reader has not read is to be overwritten. Values are overwritten an eighth of the ring
    /// at a time: the reader is then more than seven eighths of the capacity behind. It never holds
    /// up a sender. A value that the reader is being handed counts as one that it has not read yet;
    /// the reader may finish reading it. If one send cuts off more than 16 readers, further sends
    /// end their subscriptions, before the next eighth is full. A reader that reads or waits finds
    /// out by itself.
    Disconnect,
}
