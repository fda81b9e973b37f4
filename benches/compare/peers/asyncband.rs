//! asyncband's `broadcast::mpmc::bounded`: `try_send` and `try_recv`, its verbs for threads that do
//! not wait. Its README calls driving its futures from threads an adapter, not a fast path.

use asyncband::broadcast::mpmc::{BoundedReceiver, BoundedSender, TrySendError, bounded};

use crate::link::{CAPACITY, Reads, Sends};
use crate::payload::Payload;

/// A sender with n receivers.
pub(crate) fn broadcast<T: Payload>(n: usize) -> (BoundedSender<T>, Receivers<T>) {
    let (sender, first) = bounded(CAPACITY);
    let mut receivers = vec![first];
    receivers.extend((1..n).map(|_| sender.subscribe()));
    (sender, Receivers(receivers))
}

impl<T: Payload> Sends<T> for BoundedSender<T> {
    #[inline]
    fn put(&mut self, value: T) {
        let mut unsent = value;
        while let Err(TrySendError::Full(refused)) = self.try_send(unsent) {
            unsent = refused;
            std::hint::spin_loop();
        }
    }
}

/// Receivers that are polled.
pub(crate) struct Receivers<T>(Vec<BoundedReceiver<T>>);

impl<T: Payload> Reads<T> for Receivers<T> {
    fn readers(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn take(&mut self, reader: usize, mut each: impl FnMut(&T)) -> u64 {
        while let Ok(value) = self.0[reader].try_recv() {
            each(&value);
        }
        0
    }
}
