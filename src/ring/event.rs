//! A value with its position in the stream.

use std::ops::ControlFlow;

use crate::traits::debug_struct;

use super::reader::Visit;

/// A value of a ring, as [`Receiver::drain_with`](crate::ring::Receiver::drain_with) passes it:
/// with its position, and whether it is the last of its batch.
pub struct Event<'a, T> {
    value: &'a T,
    position: u64,
    is_last: bool,
}

impl<'a, T> Event<'a, T> {
    /// The value.
    #[inline]
    pub fn value(&self) -> &'a T {
        self.value
    }

    /// The value's position: the number of values sent on the ring before it.
    /// [`send`](crate::RingFeed::send) returns the same number.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether this is the last value of its batch. A handler can then write out or acknowledge
    /// what it has gathered.
    ///
    /// Each batch that is passed to its end has such a value, and no other value after it. A batch
    /// that ends early has none: the handler stopped it or panicked, or the subscription was
    /// cancelled meanwhile.
    #[inline]
    pub fn is_last(&self) -> bool {
        self.is_last
    }
}

impl<T> Clone for Event<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Event<'_, T> {}

debug_struct!([T] Event<'_, T>, |this| Event { position: this.position, is_last: this.is_last });

/// A handler of events.
pub(crate) struct Events<F>(pub(crate) F);

impl<T, B, F: FnMut(Event<'_, T>) -> ControlFlow<B>> Visit<T> for Events<F> {
    type Stop = B;
    const HEEDS_CUT: bool = true;

    #[inline(always)]
    fn visit(&mut self, value: &T, position: u64, end: u64) -> ControlFlow<B> {
        (self.0)(Event {
            value,
            position,
            is_last: position + 1 == end,
        })
    }
}
