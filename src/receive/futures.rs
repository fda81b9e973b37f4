//! Receiving without blocking a thread, from channels and from rings.

use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, ready};

use crate::error::RecvError;
use crate::wait::poll_turn;

/// A receiver that keeps the waker of the task that waits for it.
pub trait ForgetWaker {
    /// Removes the waker of the task that polled and no longer waits.
    fn forget_waker(&mut self);
}

/// A receiver, as its futures and its stream use it.
pub trait PollReceive: ForgetWaker {
    /// What it receives: a value of a channel, or a clone of a ring's value.
    type Value;

    /// Takes the next value, or registers the task's waker if there is none, and only then.
    fn poll_value(&mut self, context: &Context<'_>) -> Poll<Result<Self::Value, RecvError>>;

    /// Appends up to `limit` values, at least one, or registers the task's waker if there is none,
    /// and only then. `limit` is not 0.
    fn poll_values(
        &mut self,
        context: &Context<'_>,
        values: &mut Vec<Self::Value>,
        limit: usize,
    ) -> Poll<Result<usize, RecvError>>;
}

/// The next item of a receiver's stream: skips missed values, and ends once no value will come any
/// more.
pub(crate) fn poll_next<R: PollReceive>(
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
#[derive(Debug)]
pub(crate) struct Waiting<'a, R: ForgetWaker> {
    receiver: &'a mut R,
    /// Whether the future has registered a waker. Otherwise the waker that the receiver has, if
    /// any, is that of a stream or a future that was polled before.
    has_registered: bool,
}

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

impl<R: ForgetWaker> Drop for Waiting<'_, R> {
    fn drop(&mut self) {
        if self.has_registered {
            self.receiver.forget_waker();
        }
    }
}

/// A receive that waits without blocking a thread. Made by the `recv_async` method of a receiver
/// `R`.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct RecvAsync<'a, R: PollReceive>(pub(crate) Waiting<'a, R>);

impl<R: PollReceive> Future for RecvAsync<'_, R> {
    type Output = Result<R::Value, RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = |receiver: &mut R| receiver.poll_value(context);
        self.get_mut().0.poll(context, poll)
    }
}

/// A receive of several values that waits without blocking a thread. Made by the `recv_many` method
/// of a receiver `R`.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct RecvMany<'a, R: PollReceive> {
    pub(crate) receiver: Waiting<'a, R>,
    pub(crate) values: &'a mut Vec<R::Value>,
    pub(crate) limit: usize,
}

impl<R: PollReceive> Future for RecvMany<'_, R> {
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
