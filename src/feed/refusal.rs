//! Why an own channel did not simply take a value.

use crate::wait::Caught;

/// Why a queue takes no more values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum End {
    /// Unsubscribed, or the feed ended.
    Closed = 1,
    /// The receiver fell behind under [`Overflow::Disconnect`](crate::Overflow::Disconnect).
    Overflowed = 2,
}

impl End {
    /// The reason with that number. 0 is none; a queue keeps no other numbers than these.
    pub(crate) fn numbered(number: u8) -> Option<Self> {
        [Self::Closed, Self::Overflowed]
            .into_iter()
            .find(|end| *end as u8 == number)
    }
}

/// Why an [`offer`](super::queue::Queue::offer) was not taken.
#[derive(Debug)]
pub(crate) enum Refusal<T> {
    /// There is no room, and the sender is to wait for it.
    Full(T),
    /// There is no room, and the value is to be missed.
    Missed(T),
    /// There is no room, and the subscription is to end for it.
    Overflowed(T),
    /// The far end is gone.
    Closed(T),
    /// It was taken after all, and pushed out another whose drop panicked.
    Pushed(Box<Pushed>),
}

/// A value was put into the queue, and one that it pushed out panicked when it was dropped.
#[derive(Debug)]
pub(crate) struct Pushed {
    /// Whether the receiver waits and is to be woken by [`ring`](super::queue::Queue::ring).
    pub(crate) waits: bool,
    pub(crate) panic: Caught,
}
