//! The sender that has a ring to itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{CapacityError, TrySendError};
use crate::publish::publish_by_methods;
use crate::subscription::Closed;
use crate::traits::{debug_struct, unwind_safe};

use super::builder::SubscriberBuilder;
use super::core::Core;
use super::handle::{Handle, subscribing_methods};
use super::monitor::ReaderStats;
use super::options::Builder;
use super::receiver::Receiver;
use super::writer::Writer;

/// One shared ring that one thread at a time sends on: the fastest way to many readers.
///
/// It is a [`RingFeed`](crate::RingFeed) whose verbs take `&mut self`, so it publishes a value by
/// plain stores, without any read-modify-write. [`RingFeed`](crate::RingFeed) says what a ring
/// promises. The ring ends when this is dropped or closed.
///
/// # Examples
///
/// ```
/// use fanfeed::ExclusiveRingFeed;
///
/// let mut ring = ExclusiveRingFeed::new(1024)?;
/// let mut readers = [ring.subscribe(), ring.subscribe()];
/// assert_eq!(ring.send("hello"), 0);
/// assert_eq!(ring.send_batch(["brave", "world"]), 3);
/// for reader in &mut readers {
///     let mut words = Vec::new();
///     reader.drain(|word| words.push(*word))?;
///     assert_eq!(words, ["hello", "brave", "world"]);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ExclusiveRingFeed<T> {
    writer: Writer<T>,
}

// As for `RingFeed`. Values written before a panic have been published, or their positions are
// written again.
unwind_safe!([T] ExclusiveRingFeed<T>);

impl<T> ExclusiveRingFeed<T> {
    /// Creates a ring without readers. Its capacity is rounded up to a power of two.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or more than 2^30.
    pub fn new(capacity: usize) -> Result<Self, CapacityError> {
        Builder::new(capacity).build_exclusive()
    }

    pub(crate) fn core(&self) -> &Arc<Core<T>> {
        self.writer.core()
    }

    /// Creates a ring whose first position is `start` instead of 0, for tests of large positions.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    #[cfg(any(test, fuzzing))]
    #[doc(hidden)]
    pub fn starting_at(capacity: usize, start: u64) -> Result<Self, CapacityError> {
        Ok(Self {
            writer: Writer::starting_at(capacity, start)?,
        })
    }

    /// The position of the next value: the number of values that were sent.
    pub fn position(&self) -> u64 {
        self.writer.position()
    }

    /// Ends the ring. All its subscriptions end without an error, and nothing more can be sent.
    /// Readers can still take what was sent before. The ring's values are dropped when the last
    /// reader is dropped, or at once if there are no readers.
    pub fn close(&mut self) {
        self.writer.close();
    }

    /// A handle to subscribe with, for other threads. It does not keep the ring alive.
    pub fn handle(&self) -> Handle<T> {
        Handle::new(Arc::clone(self.core()))
    }
}

impl<T> Builder<T> {
    /// Builds a ring with one sender, which is faster.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or more than 2^30.
    pub fn build_exclusive(self) -> Result<ExclusiveRingFeed<T>, CapacityError> {
        let writer = Writer::new(self.capacity, self.drop_when_read)?;
        #[cfg(feature = "tracing")]
        self.set_up(writer.core());
        Ok(ExclusiveRingFeed { writer })
    }
}

impl<T: Send + Sync> ExclusiveRingFeed<T> {
    /// Sends a value, and waits for readers that keep the ring full. Returns the value's position:
    /// the number of values sent before it.
    ///
    /// On a closed ring this drops the value, and returns the position where the ring ended.
    ///
    /// # Panics
    ///
    /// The value that was in the slot a lap before is dropped after this one is published. If its
    /// drop panics, the panic propagates; the ring is sound, and the value was sent.
    ///
    /// A send without a timeout panics if it would have to wait for room inside a handler of one of
    /// the ring's readers ([`Receiver::drain`] and similar methods), on the same thread: it
    /// might wait for that reader. It then sends nothing.
    #[inline]
    pub fn send(&mut self, value: T) -> u64 {
        self.writer.send(value)
    }

    /// Sends a value if there is room.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] if a reader keeps the ring full ([`slowest`](Self::slowest) tells
    /// which), [`TrySendError::Closed`] if the ring is closed.
    #[inline]
    pub fn try_send(&mut self, value: T) -> Result<u64, TrySendError<T>> {
        self.writer.try_send(value)
    }

    /// Sends a value, and waits up to `timeout` for readers that keep the ring full.
    ///
    /// # Errors
    ///
    /// As for [`try_send`](Self::try_send), and `Full` if there is no room within `timeout`.
    pub fn send_timeout(&mut self, value: T, timeout: Duration) -> Result<u64, TrySendError<T>> {
        // A deadline beyond the range of the clock is no deadline.
        self.writer
            .send_until(value, || Instant::now().checked_add(timeout))
    }

    /// Sends a value, and waits until `deadline` for readers that keep the ring full.
    ///
    /// # Errors
    ///
    /// As for [`try_send`](Self::try_send), and `Full` if there is no room by `deadline`.
    pub fn send_deadline(&mut self, value: T, deadline: Instant) -> Result<u64, TrySendError<T>> {
        self.writer.send_until(value, || Some(deadline))
    }

    /// Sends the values in order, and waits for readers that keep the ring full. Returns the
    /// position after the last value.
    ///
    /// Values are published together, in stretches of at most an eighth of the capacity. Each value
    /// is written to its slot as the iterator yields it.
    ///
    /// # Panics
    ///
    /// If the iterator or an old value's drop panics, the values that were written are published,
    /// and then the panic propagates.
    pub fn send_batch<I: IntoIterator<Item = T>>(&mut self, values: I) -> u64 {
        self.writer.send_batch(values)
    }

    /// Sends as many of the values as there is room for, in order. Returns the position after the
    /// last value.
    ///
    /// Values are published together as with [`send_batch`](Self::send_batch).
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] with the values that found no room, because of a reader.
    /// [`TrySendError::Closed`] with the values that were left when the ring was closed. The values
    /// before them have been sent. The iterator is read to its end in any case, so it must end. An
    /// empty batch does not fail.
    ///
    /// # Panics
    ///
    /// As for [`send_batch`](Self::send_batch). If the iterator panics after room has run out, the
    /// values that it yielded and that found no room are dropped.
    ///
    /// ```
    /// use fanfeed::{ExclusiveRingFeed, TrySendError};
    ///
    /// let mut ring = ExclusiveRingFeed::new(4)?;
    /// let mut reader = ring.subscribe();
    /// let Err(TrySendError::Full(rest)) = ring.try_send_batch(1..=6) else {
    ///     panic!("there was room for more than four");
    /// };
    /// assert_eq!(rest, [5, 6]);
    /// assert!(reader.try_iter().eq(1..=4));
    /// assert_eq!(ring.try_send_batch(rest), Ok(6));
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn try_send_batch<I: IntoIterator<Item = T>>(
        &mut self,
        values: I,
    ) -> Result<u64, TrySendError<Vec<T>>> {
        self.writer.try_send_batch(values)
    }

    /// Sends the values in order, and waits up to `timeout` in all for room. Returns the position
    /// after the last value.
    ///
    /// # Errors
    ///
    /// As for [`try_send_batch`](Self::try_send_batch). `Full` has the values that were not sent in
    /// time.
    ///
    /// # Panics
    ///
    /// As for [`try_send_batch`](Self::try_send_batch).
    pub fn send_batch_timeout<I: IntoIterator<Item = T>>(
        &mut self,
        values: I,
        timeout: Duration,
    ) -> Result<u64, TrySendError<Vec<T>>> {
        // A deadline beyond the range of the clock is no deadline.
        self.writer
            .send_batch_until(values, || Instant::now().checked_add(timeout))
    }

    /// Sends the values in order, and waits until `deadline` for room. Returns the position after
    /// the last value.
    ///
    /// # Errors
    ///
    /// As for [`try_send_batch`](Self::try_send_batch). `Full` has the values that were not sent in
    /// time.
    ///
    /// # Panics
    ///
    /// As for [`try_send_batch`](Self::try_send_batch).
    pub fn send_batch_deadline<I: IntoIterator<Item = T>>(
        &mut self,
        values: I,
        deadline: Instant,
    ) -> Result<u64, TrySendError<Vec<T>>> {
        self.writer.send_batch_until(values, || Some(deadline))
    }

    /// Sends clones of the values in order: [`send_batch`](Self::send_batch) of a slice.
    pub fn send_slice(&mut self, values: &[T]) -> u64
    where
        T: Clone,
    {
        self.send_batch(values.iter().cloned())
    }

    /// Sends a value that `write` writes in place, and waits for readers that keep the ring full.
    /// Returns the value's position.
    ///
    /// `write` gets a value that was sent some laps before, or the default value, so it can reuse
    /// that value's memory. For large values this saves copying them.
    ///
    /// # Panics
    ///
    /// If `write` panics, nothing is sent and the panic propagates. A later `write` may get the
    /// half-written value that this one left.
    ///
    /// ```
    /// let mut ring = fanfeed::ExclusiveRingFeed::<Vec<u8>>::new(4)?;
    /// let mut reader = ring.subscribe();
    /// for round in 0..9 {
    ///     ring.send_with(|bytes| {
    ///         bytes.clear();
    ///         bytes.extend([round; 1000]);
    ///     });
    ///     assert_eq!(reader.recv(), Ok(vec![round; 1000]));
    /// }
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn send_with(&mut self, write: impl FnOnce(&mut T)) -> u64
    where
        T: Default,
    {
        self.writer.send_with(write)
    }

    /// Claims `count` slots, lets `write` write each value in place, and publishes them together.
    /// It waits for readers that keep the ring full, until there is room for all values. Returns
    /// the position after the last value.
    ///
    /// `write` is called with each index from 0 to `count - 1` in turn, and with a value as
    /// [`send_with`](Self::send_with) passes it. No reader sees any of the values before the last
    /// one was written. On a closed ring, and for a count of 0, `write` is not called.
    ///
    /// While the values are written, readers that join with
    /// [`history`](crate::ring::SubscriberBuilder::history), and readers that drop the oldest, get
    /// no values from further back than the capacity less `count`, because these slots are about to
    /// be overwritten. After a panic of `write`, this continues until as many values were sent.
    ///
    /// # Panics
    ///
    /// If `count` is more than [`max_claim`](Self::max_claim), which is seven eighths of the
    /// capacity. Nothing is sent then.
    ///
    /// If `write` panics, nothing is sent, and the panic propagates. The values that it has written
    /// stay in the slots. A later `send_with` or `send_batch_with` may pass them to `write`; other
    /// sends drop them.
    ///
    /// It panics like [`send`](Self::send) if it would have to wait inside a handler of one of the
    /// ring's readers.
    ///
    /// ```
    /// let mut ring = fanfeed::ExclusiveRingFeed::<[u64; 32]>::new(8)?;
    /// let mut reader = ring.subscribe();
    /// let end = ring.send_batch_with(3, |index, page| page.fill(index as u64));
    /// assert_eq!(end, 3);
    /// let mut sums = Vec::new();
    /// reader.drain(|page| sums.push(page.iter().sum::<u64>()))?;
    /// assert_eq!(sums, [0, 32, 64]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_batch_with(&mut self, count: usize, write: impl FnMut(usize, &mut T)) -> u64
    where
        T: Default,
    {
        self.assert_fits(count);
        self.writer.send_batch_with(count, write)
    }

    /// Like [`send_batch_with`](Self::send_batch_with), if there is room for all values now. With a
    /// count of 1 it writes one value in place without waiting.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] if a reader keeps the ring too full, [`TrySendError::Closed`] if the
    /// ring is closed. Each gives `write` back, which was not called.
    ///
    /// # Panics
    ///
    /// As [`send_batch_with`](Self::send_batch_with), except that it never waits.
    pub fn try_send_batch_with<W: FnMut(usize, &mut T)>(
        &mut self,
        count: usize,
        write: W,
    ) -> Result<u64, TrySendError<W>>
    where
        T: Default,
    {
        self.assert_fits(count);
        self.writer.try_send_batch_with(count, write)
    }

    /// How many slots [`send_batch_with`](Self::send_batch_with) can claim in one call: seven
    /// eighths of the [`capacity`](Self::capacity), or all of it if it is 8 or less.
    ///
    /// Senders make room an eighth of the capacity at a time. A longer claim would reach the eighth
    /// in which it began, and overwrite positions where readers may still begin.
    pub fn max_claim(&self) -> usize {
        self.core().track.shape().max_claim() as usize
    }

    fn assert_fits(&self, count: usize) {
        let most = self.max_claim();
        assert!(
            count <= most,
            "{count} slots were requested in one claim, but the ring allows at most {most}"
        );
    }
}

subscribing_methods!(ExclusiveRingFeed);

publish_by_methods!(ExclusiveRingFeed<T>, ExclusiveRingFeed, [Send + Sync] -> u64, TrySendError<T>);

debug_struct!([T] ExclusiveRingFeed<T>, |this| ExclusiveRingFeed {
    capacity: this.capacity(),
    position: this.position(),
    subscribers: this.subscriber_count(),
});
