//! A ring's reader as an iterator.

use std::fmt;
use std::iter::FusedIterator;

use crate::error::{RecvError, TryRecvError};

use super::receiver::RingReceiver;

/// Waits for each value of a [`RingReceiver`], and clones it. Made by [`RingReceiver::iter`].
pub struct RingIter<'a, T> {
    receiver: &'a mut RingReceiver<T>,
}

impl<'a, T> RingIter<'a, T> {
    pub(crate) fn new(receiver: &'a mut RingReceiver<T>) -> Self {
        Self { receiver }
    }
}

impl<T> fmt::Debug for RingIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RingIter").field(&self.receiver).finish()
    }
}

impl<T: Clone> Iterator for RingIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        next(self.receiver)
    }
}

impl<T: Clone> FusedIterator for RingIter<'_, T> {}

/// Clones of the values that are in a [`RingReceiver`] now. Made by [`RingReceiver::try_iter`].
pub struct RingTryIter<'a, T> {
    receiver: &'a mut RingReceiver<T>,
}

impl<'a, T> RingTryIter<'a, T> {
    pub(crate) fn new(receiver: &'a mut RingReceiver<T>) -> Self {
        Self { receiver }
    }
}

impl<T> fmt::Debug for RingTryIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RingTryIter").field(&self.receiver).finish()
    }
}

impl<T: Clone> Iterator for RingTryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        loop {
            match self.receiver.try_recv() {
                Ok(value) => return Some(value),
                Err(TryRecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    }
}

/// A [`RingReceiver`] as an iterator that waits for each value, and clones it.
pub struct RingIntoIter<T> {
    receiver: RingReceiver<T>,
}

impl<T> fmt::Debug for RingIntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RingIntoIter").field(&self.receiver).finish()
    }
}

impl<T: Clone> Iterator for RingIntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        next(&mut self.receiver)
    }
}

impl<T: Clone> FusedIterator for RingIntoIter<T> {}

impl<T: Clone> IntoIterator for RingReceiver<T> {
    type Item = T;
    type IntoIter = RingIntoIter<T>;

    fn into_iter(self) -> RingIntoIter<T> {
        RingIntoIter { receiver: self }
    }
}

impl<'a, T: Clone> IntoIterator for &'a mut RingReceiver<T> {
    type Item = T;
    type IntoIter = RingIter<'a, T>;

    fn into_iter(self) -> RingIter<'a, T> {
        self.iter()
    }
}

fn next<T: Clone>(receiver: &mut RingReceiver<T>) -> Option<T> {
    loop {
        match receiver.recv() {
            Ok(value) => return Some(value),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed | RecvError::Overflowed) => return None,
        }
    }
}
