//! tokio's broadcast channel. A sender never waits: slow readers lose values, and are told how
//! many.

use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};

use crate::link::{CAPACITY, Reads, Sends};
use crate::payload::Payload;

/// A sender with n receivers.
pub(crate) fn broadcast<T: Payload>(n: usize) -> (Sender<T>, Receivers<T>) {
    let (sender, first) = channel(CAPACITY);
    let mut receivers = vec![first];
    receivers.extend((1..n).map(|_| sender.subscribe()));
    (sender, Receivers(receivers))
}

impl<T: Payload> Sends<T> for Sender<T> {
    #[inline]
    fn put(&mut self, value: T) {
        self.send(value).ok().expect("there are receivers");
    }
}

/// Receivers that are polled.
pub(crate) struct Receivers<T>(Vec<Receiver<T>>);

impl<T: Payload> Reads<T> for Receivers<T> {
    fn readers(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn take(&mut self, reader: usize, mut each: impl FnMut(&T)) -> u64 {
        loop {
            match self.0[reader].try_recv() {
                Ok(value) => each(&value),
                Err(TryRecvError::Lagged(missed)) => return missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return 0,
            }
        }
    }
}
