//! What happens to a reader that falls behind.

/// What happens when a sender needs a slot whose value a reader of a [`RingFeed`](crate::RingFeed)
/// has not read yet. Each reader chooses its policy.
///
/// All readers share the ring's slots, so the ring cannot drop the newest value for one of them.
/// Compare [`Overflow`](crate::Overflow), which is for channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Overflow {
    /// The send waits for the reader. Nothing is lost.
    #[default]
    Block,
    /// The reader misses the oldest values, an eighth of the ring at a time, and learns how many.
    /// It never blocks a sender. It adds memory for one more eighth of the ring, which is freed
    /// when it leaves.
    DropOldest,
    /// The subscription ends with
    /// [`SubscriptionError::Overflowed`](crate::SubscriptionError::Overflowed) when a sender must
    /// overwrite a value that the reader has not read. Values are overwritten an eighth of the ring
    /// at a time, so the reader is then more than seven eighths of the capacity behind. It never
    /// blocks a sender. A value that the reader is reading counts as not read yet; the reader may
    /// finish reading it. If one send disconnects more than 16 readers, the next sends end their
    /// subscriptions, before the next eighth is full. A reader that reads or waits finds out by
    /// itself.
    Disconnect,
}
