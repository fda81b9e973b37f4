//! Floor 3: what the receivers of feeds and of rings share.

#[cfg(feature = "async")]
mod futures;

use std::iter::FusedIterator;

use crate::error::{RecvError, TryRecvError};
#[cfg(feature = "async")]
pub(crate) use futures::{ForgetWaker, PollReceive, Waiting, poll_next};
#[cfg(feature = "async")]
pub use futures::{RecvAsync, RecvMany};

/// A receiver, as its iterators use it.
pub trait Receive {
    /// What it receives: a value of a channel, or a clone of a ring's value.
    type Value;

    /// Waits for the next value, and takes it.
    fn next_value(&mut self) -> Result<Self::Value, RecvError>;

    /// Takes the next value, if there is one now.
    fn next_value_now(&mut self) -> Result<Self::Value, TryRecvError>;
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
