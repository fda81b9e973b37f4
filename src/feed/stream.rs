//! Receiving without blocking a thread.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::FusedStream;

use super::receiver::Receiver;
use crate::receive::{self, RecvAsync, RecvMany, Waiting};

/// The values of a feed's own channel. The stream ends when the subscription has ended and every
/// value is taken. It skips missed values, which [`Receiver::missed`] counts.
///
/// ```
/// use futures_util::StreamExt;
///
/// # tokio_test(async {
/// let feed = fanfeed::Feed::new();
/// let mut receiver = feed.channel(8)?;
/// feed.send_batch(1..=4);
/// feed.close();
/// assert_eq!(receiver.next().await, Some(1));
/// let doubled = receiver.map(|value| 2 * value);
/// assert_eq!(doubled.collect::<Vec<_>>().await, [4, 6, 8]);
/// # Ok(())
/// # });
/// # fn tokio_test(test: impl Future<Output = Result<(), fanfeed::CapacityError>>) {
/// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test).unwrap();
/// # }
/// ```
impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        receive::poll_next(self.get_mut(), context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), None)
    }
}

impl<T> FusedStream for Receiver<T> {
    fn is_terminated(&self) -> bool {
        self.is_at_end()
    }
}

impl<T> Receiver<T> {
    /// Appends up to `limit` values to `values`, and returns how many. Waits for the first of them
    /// without blocking the thread; the others are those that are there then. It returns 0 only if
    /// `limit` is 0.
    ///
    /// It stops early at missed values: the next receive reports how many, at their place in the
    /// stream. For threads there is [`drain_into`](Self::drain_into).
    ///
    /// Cancel-safe: if the future is dropped before it has completed, no value is lost, and
    /// `values` is as it was.
    ///
    /// It yields to other tasks as [`recv_async`](Self::recv_async) does, and counts as one of the
    /// 128 polls.
    ///
    /// # Errors
    ///
    /// If no value came, the reason: see [Lagging](Receiver#lagging) and
    /// [Closing](Receiver#closing).
    ///
    /// ```
    /// use fanfeed::{Feed, Overflow, RecvError};
    ///
    /// # tokio_test(async {
    /// let feed = Feed::new();
    /// let mut receiver = feed.subscriber().capacity(3).overflow(Overflow::DropNewest).channel()?;
    /// feed.send_batch(0..5);
    /// feed.close();
    /// let mut values = Vec::new();
    /// assert_eq!(receiver.recv_many(&mut values, 2).await, Ok(2));
    /// assert_eq!(receiver.recv_many(&mut values, 2).await, Ok(1));
    /// assert_eq!(values, [0, 1, 2]);
    /// assert_eq!(receiver.recv_many(&mut values, 2).await, Err(RecvError::Lagged(2)));
    /// assert_eq!(receiver.recv_many(&mut values, 2).await, Err(RecvError::Closed));
    /// # Ok(())
    /// # });
    /// # fn tokio_test(test: impl Future<Output = Result<(), fanfeed::CapacityError>>) {
    /// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test).unwrap();
    /// # }
    /// ```
    pub fn recv_many<'a>(&'a mut self, values: &'a mut Vec<T>, limit: usize) -> RecvMany<'a, Self> {
        RecvMany {
            receiver: Waiting::new(self),
            values,
            limit,
        }
    }

    /// Takes the next value, and waits for it without blocking the thread.
    ///
    /// ```
    /// use fanfeed::{Feed, RecvError};
    ///
    /// # tokio_test(async {
    /// let feed = Feed::new();
    /// let mut receiver = feed.channel(1)?;
    /// let sender = async {
    ///     assert_eq!(feed.send_async("a").await, 1);
    ///     assert_eq!(feed.send_async("b").await, 1); // waits for room
    ///     feed.close();
    /// };
    /// let received = async {
    ///     assert_eq!(receiver.recv_async().await, Ok("a"));
    ///     assert_eq!(receiver.recv_async().await, Ok("b"));
    ///     assert_eq!(receiver.recv_async().await, Err(RecvError::Closed));
    /// };
    /// tokio::join!(sender, received);
    /// # Ok(())
    /// # });
    /// # fn tokio_test(test: impl Future<Output = Result<(), fanfeed::CapacityError>>) {
    /// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test).unwrap();
    /// # }
    /// ```
    ///
    /// Cancel-safe: if the future is dropped before it has completed, no value is lost.
    ///
    /// After 128 polls on this thread, of any feed or ring, have completed at once, one poll yields
    /// to other tasks: it returns `Pending` and wakes its own task. Polls of other futures on this
    /// thread do the same until it is polled again, 64 at most. The `Stream` does the same.
    ///
    /// # Errors
    ///
    /// See [Lagging](Receiver#lagging) and [Closing](Receiver#closing).
    pub fn recv_async(&mut self) -> RecvAsync<'_, Self> {
        RecvAsync(Waiting::new(self))
    }
}
