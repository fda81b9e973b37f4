//! Why an own channel did not simply take a value.

use crate::wait::Caught;

/// Why a queue takes no more values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum End {
    /// The subscription was unsubscribed, or the feed ended.
    Closed = 1,
    /// The receiver fell behind under [`Overflow::Disconnect`](crate::Overflow::Disconnect).
    Overflowed = 2,
}

impl End {
    /// The reason with that number; `None` for 0. A queue stores no other numbers.
    pub(crate) fn numbered(number: u8) -> Option<Self> {
        [Self::Closed, Self::Overflowed]
            .into_iter()
            .find(|end| *end as u8 == number)
    }
}

/// Why a queue refused an [`offer`](super::queue::Queue::offer).
#[derive(Debug)]
pub(crate) enum Refusal<T> {
    /// There is no room, and the sender must wait for it.
    Full(T),
    /// There is no room, and the subscriber misses the value.
    Missed(T),
    /// There is no room, and the subscription ends for that reason.
    Overflowed(T),
    /// The far end is gone.
    Closed(T),
    /// The queue took the value, and pushed out another value whose drop panicked.
    Pushed(Box<Pushed>),
}

/// A value was put into the queue, and a value that it pushed out panicked when it was dropped.
#[derive(Debug)]
pub(crate) struct Pushed {
    /// Whether the receiver waits. [`ring`](super::queue::Queue::ring) then wakes it.
    pub(crate) waits: bool,
    pub(crate) panic: Caught,
}
