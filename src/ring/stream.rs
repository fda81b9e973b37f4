//! Reading a ring without blocking a thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::FusedStream;

use crate::error::RecvError;
use crate::receive::{self, RecvAsync, RecvMany, Waiting};

use super::receiver::Receiver;

/// Clones of a ring's values. The stream ends when the subscription has ended and every value is
/// taken. It skips missed values, which [`Receiver::missed`] counts.
///
/// ```
/// use futures_util::StreamExt;
///
/// # tokio_test(async {
/// let ring = fanfeed::RingFeed::new(8)?;
/// let mut reader = ring.subscribe();
/// ring.send_batch(1..=4);
/// ring.close();
/// assert_eq!(reader.next().await, Some(1));
/// assert_eq!(reader.collect::<Vec<_>>().await, [2, 3, 4]);
/// # Ok(())
/// # });
/// # fn tokio_test(test: impl Future<Output = Result<(), fanfeed::CapacityError>>) {
/// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test).unwrap();
/// # }
/// ```
impl<T: Clone> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        receive::poll_next(self.get_mut(), context)
    }
}

impl<T: Clone> FusedStream for Receiver<T> {
    fn is_terminated(&self) -> bool {
        self.is_at_end()
    }
}

/// A wait that does not block a thread. Made by [`Receiver::wait_async`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct WaitAsync<'a, T>(Waiting<'a, Receiver<T>>);

impl<T> Future for WaitAsync<'_, T> {
    type Output = Result<(), RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = |receiver: &mut Receiver<T>| receiver.poll_wait(context);
        self.get_mut().0.poll(context, poll)
    }
}

impl<T> Receiver<T> {
    /// Waits until there is something to read, as [`wait`](Self::wait) does, without blocking the
    /// thread. So a task can read by reference, and values need not be `Clone`.
    ///
    /// Cancel-safe: it reads nothing. It yields to other tasks as
    /// [`recv_async`](Self::recv_async) does.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    ///
    /// ```
    /// # tokio_test(async {
    /// let ring = fanfeed::RingFeed::new(8)?;
    /// let mut reader = ring.subscribe();
    /// let sender = async {
    ///     ring.send_batch([1, 2, 3]);
    ///     ring.close();
    /// };
    /// let sum = async {
    ///     let mut sum = 0;
    ///     while reader.wait_async().await.is_ok() {
    ///         let _ = reader.drain(|value| sum += value);
    ///     }
    ///     sum
    /// };
    /// assert_eq!(tokio::join!(sum, sender).0, 6);
    /// # Ok(())
    /// # });
    /// # fn tokio_test(test: impl Future<Output = Result<(), fanfeed::CapacityError>>) {
    /// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test).unwrap();
    /// # }
    /// ```
    pub fn wait_async(&mut self) -> WaitAsync<'_, T> {
        WaitAsync(Waiting::new(self))
    }
}

impl<T: Clone> Receiver<T> {
    /// Appends clones of up to `limit` values to `values`, and returns how many. Waits for the
    /// first of them without blocking the thread; the others are those that are there then. It
    /// returns 0 only if `limit` is 0.
    ///
    /// It stops early at missed values: the next read reports how many, at their place in the
    /// stream. Threads have [`wait`](Self::wait) and [`drain_up_to`](Self::drain_up_to).
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
    /// # Panics
    ///
    /// A panic of a value's `clone` propagates. That value has been read; those before it are in
    /// `values`.
    ///
    /// ```
    /// use fanfeed::RecvError;
    ///
    /// # tokio_test(async {
    /// let ring = fanfeed::RingFeed::new(8)?;
    /// let mut reader = ring.subscribe();
    /// ring.send_batch(0..3);
    /// ring.close();
    /// let mut values = Vec::new();
    /// assert_eq!(reader.recv_many(&mut values, 2).await, Ok(2));
    /// assert_eq!(reader.recv_many(&mut values, 2).await, Ok(1));
    /// assert_eq!(values, [0, 1, 2]);
    /// assert_eq!(reader.recv_many(&mut values, 2).await, Err(RecvError::Closed));
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

    /// Takes a clone of the next value, and waits for it without blocking the thread, whatever its
    /// [way of waiting](crate::ring::WaitStrategy).
    ///
    /// Cancel-safe: if the future is dropped before it has completed, no value is lost.
    ///
    /// ```
    /// use fanfeed::RecvError;
    ///
    /// # tokio_test(async {
    /// let ring = fanfeed::RingFeed::new(1)?;
    /// let mut reader = ring.subscribe();
    /// let sender = async {
    ///     assert_eq!(ring.send_async("a").await, 0);
    ///     assert_eq!(ring.send_async("b").await, 1); // waits for room
    ///     ring.close();
    /// };
    /// let received = async {
    ///     assert_eq!(reader.recv_async().await, Ok("a"));
    ///     assert_eq!(reader.recv_async().await, Ok("b"));
    ///     assert_eq!(reader.recv_async().await, Err(RecvError::Closed));
    /// };
    /// tokio::join!(sender, received);
    /// # Ok(())
    /// # });
    /// # fn tokio_test(test: impl Future<Output = Result<(), fanfeed::CapacityError>>) {
    /// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test).unwrap();
    /// # }
    /// ```
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
