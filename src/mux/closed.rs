//! The error of a post on a mux that was stopped.

use std::error::Error;
use std::fmt;

/// The mux was stopped. This gives the event back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[doc(alias = "ErrMuxClosed")]
pub struct Closed<E>(E);

impl<E> Closed<E> {
    pub(super) fn new(event: E) -> Self {
        Self(event)
    }

    /// The event that was not posted.
    pub fn into_inner(self) -> E {
        self.0
    }
}

impl<E> fmt::Debug for Closed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<E> fmt::Display for Closed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the mux was stopped")
    }
}

impl<E> Error for Closed<E> {}
