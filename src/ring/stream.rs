//! Reading a ring without blocking a thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::FusedStream;

use crate::error::RecvError;

use super::receiver::Receiver;

/// Clones of a ring's values. The stream ends when the subscription has ended and every value is
/// taken. It skips missed values, which [`Receiver::missed`] counts.
impl<T: Clone> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.get_mut();
        loop {
            return match this.poll_next_value(context) {
                Poll::Ready(Ok(value)) => Poll::Ready(Some(value)),
                Poll::Ready(Err(RecvError::Lagged(_))) => continue,
                Poll::Ready(Err(RecvError::Closed | RecvError::Overflowed)) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
        }
    }
}

impl<T: Clone> FusedStream for Receiver<T> {
    fn is_terminated(&self) -> bool {
        self.is_at_end()
    }
}

/// A receive that waits without blocking a thread. Made by [`Receiver::recv_async`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct RecvAsync<'a, T> {
    receiver: &'a mut Receiver<T>,
}

impl<T: Clone> Future for RecvAsync<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().receiver.poll_next_value(context)
    }
}

impl<T> Drop for RecvAsync<'_, T> {
    fn drop(&mut self) {
        // This also removes the task's waker.
        self.receiver.leave_line();
    }
}

impl<T: Clone> Receiver<T> {
    /// Takes a clone of the next value, and waits for it without blocking the thread, whatever its
    /// [way of waiting](crate::ring::WaitStrategy).
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
    pub fn recv_async(&mut self) -> RecvAsync<'_, T> {
        RecvAsync { receiver: self }
    }
}
