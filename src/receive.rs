//! Floor 3: what the receivers of feeds and of rings share.

#[cfg(feature = "async")]
use std::future::Future;
use std::iter::FusedIterator;
#[cfg(feature = "async")]
use std::pin::Pin;
#[cfg(feature = "async")]
use std::ptr;
#[cfg(feature = "async")]
use std::task::{Context, Poll, ready};

use crate::error::{RecvError, TryRecvError};
#[cfg(feature = "async")]
use crate::wait::poll_turn;

/// A receiver that keeps the waker of the task that waits for it.
#[cfg(feature = "async")]
pub trait ForgetWaker {
    /// Removes the waker of the task that polled and no longer waits.
    fn forget_waker(&mut self);
}

/// A receiver, as its iterators and futures use it.
pub trait Receive {
    /// What it receives: a value of a channel, or a clone of a ring's value.
    type Value;

    /// Waits for the next value, and takes it.
    fn next_value(&mut self) -> Result<Self::Value, RecvError>;

    /// Takes the next value, if there is one now.
    fn next_value_now(&mut self) -> Result<Self::Value, TryRecvError>;

    /// Takes the next value, or registers the task's waker if there is none, and only then.
    #[cfg(feature = "async")]
    fn poll_value(&mut self, context: &Context<'_>) -> Poll<Result<Self::Value, RecvError>>;

    /// Appends up to `limit` values, at least one, or registers the task's waker if there is none,
    /// and only then. `limit` is not 0.
    #[cfg(feature = "async")]
    fn poll_values(
        &mut self,
        context: &Context<'_>,
        values: &mut Vec<Self::Value>,
        limit: usize,
    ) -> Poll<Result<usize, RecvError>>;
}

/// The next value, and waits for it. Skips missed values. `None` once no value will come any more.
fn next<R: Receive>(receiver: &mut R) -> Option<R::Value> {
    loop {
        match receiver.next_value() {
            Ok(value) => return Some(value),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed | RecvError::Overflowed) => return None,
        }
    }
}

/// Waits for each value of a receiver `R`. Made by its `iter` method.
#[derive(Debug)]
pub struct Iter<'a, R>(pub(crate) &'a mut R);

impl<R: Receive> Iterator for Iter<'_, R> {
    type Item = R::Value;

    fn next(&mut self) -> Option<R::Value> {
        next(self.0)
    }
}

impl<R: Receive> FusedIterator for Iter<'_, R> {}

/// The values that are there for a receiver `R` now. Made by its `try_iter` method.
#[derive(Debug)]
pub struct TryIter<'a, R>(pub(crate) &'a mut R);

impl<R: Receive> Iterator for TryIter<'_, R> {
    type Item = R::Value;

    fn next(&mut self) -> Option<R::Value> {
        loop {
            match self.0.next_value_now() {
                Ok(value) => return Some(value),
                Err(TryRecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    }
}

/// A receiver `R` as an iterator that waits for each value.
#[derive(Debug)]
pub struct IntoIter<R>(pub(crate) R);

impl<R: Receive> Iterator for IntoIter<R> {
    type Item = R::Value;

    fn next(&mut self) -> Option<R::Value> {
        next(&mut self.0)
    }
}

impl<R: Receive> FusedIterator for IntoIter<R> {}

/// The next item of a receiver's stream: skips missed values, and ends once no value will come any
/// more.
#[cfg(feature = "async")]
pub(crate) fn poll_next<R: Receive>(
    receiver: &mut R,
    context: &Context<'_>,
) -> Poll<Option<R::Value>> {
    ready!(poll_turn(context, ptr::from_ref(&*receiver).cast()));
    loop {
        return match receiver.poll_value(context) {
            Poll::Ready(Ok(value)) => Poll::Ready(Some(value)),
            Poll::Ready(Err(RecvError::Lagged(_))) => continue,
            Poll::Ready(Err(RecvError::Closed | RecvError::Overflowed)) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        };
    }
}

/// The receiver that a future borrows.
#[cfg(feature = "async")]
#[derive(Debug)]
pub(crate) struct Waiting<'a, R: ForgetWaker> {
    receiver: &'a mut R,
    /// Whether the future has registered a waker. Otherwise the waker that the receiver has, if
    /// any, is that of a stream or a future that was polled before.
    has_registered: bool,
}

#[cfg(feature = "async")]
impl<'a, R: ForgetWaker> Waiting<'a, R> {
    pub(crate) fn new(receiver: &'a mut R) -> Self {
        Self {
            receiver,
            has_registered: false,
        }
    }

    /// Polls the receiver by `poll`, which registers a waker if it returns `Pending`.
    #[inline]
    pub(crate) fn poll<V>(
        &mut self,
        context: &Context<'_>,
        poll: impl FnOnce(&mut R) -> Poll<V>,
    ) -> Poll<V> {
        ready!(poll_turn(context, ptr::from_ref(&*self.receiver).cast()));
        let polled = poll(self.receiver);
        self.has_registered |= polled.is_pending();
        polled
    }
}

#[cfg(feature = "async")]
impl<R: ForgetWaker> Drop for Waiting<'_, R> {
    fn drop(&mut self) {
        if self.has_registered {
            self.receiver.forget_waker();
        }
    }
}

/// A receive that waits without blocking a thread. Made by the `recv_async` method of a receiver
/// `R`.
#[cfg(feature = "async")]
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct RecvAsync<'a, R: Receive + ForgetWaker>(pub(crate) Waiting<'a, R>);

#[cfg(feature = "async")]
impl<R: Receive + ForgetWaker> Future for RecvAsync<'_, R> {
    type Output = Result<R::Value, RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = |receiver: &mut R| receiver.poll_value(context);
        self.get_mut().0.poll(context, poll)
    }
}

/// A receive of several values that waits without blocking a thread. Made by the `recv_many` method
/// of a receiver `R`.
#[cfg(feature = "async")]
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct RecvMany<'a, R: Receive + ForgetWaker> {
    pub(crate) receiver: Waiting<'a, R>,
    pub(crate) values: &'a mut Vec<R::Value>,
    pub(crate) limit: usize,
}

#[cfg(feature = "async")]
impl<R: Receive + ForgetWaker> Future for RecvMany<'_, R> {
    type Output = Result<usize, RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            receiver,
            values,
            limit,
        } = self.get_mut();
        if *limit == 0 {
            return Poll::Ready(Ok(0));
        }
        let poll = |receiver: &mut R| receiver.poll_values(context, values, *limit);
        receiver.poll(context, poll)
    }
}
