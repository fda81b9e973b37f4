//! async-broadcast: `try_broadcast` and `try_recv`, its verbs for threads that do not wait. In
//! overflow mode the oldest value is dropped to make room.

use async_broadcast::{Receiver, Sender, TryRecvError, TrySendError, broadcast};

use crate::link::{CAPACITY, Reads, Sends};
use crate::payload::Payload;

/// A sender that waits for n readers.
pub(crate) fn lossless<T: Payload>(n: usize) -> (Sender<T>, Receivers<T>) {
    let (sender, first) = broadcast(CAPACITY);
    let mut receivers = vec![first];
    receivers.extend((1..n).map(|_| sender.new_receiver()));
    (sender, Receivers(receivers))
}

/// A sender in overflow mode, with n readers.
pub(crate) fn lossy<T: Payload>(n: usize) -> (Sender<T>, Receivers<T>) {
    let (mut sender, receivers) = lossless(n);
    sender.set_overflow(true);
    (sender, receivers)
}

impl<T: Payload> Sends<T> for Sender<T> {
    #[inline]
    fn put(&mut self, value: T) {
        let mut unsent = value;
        loop {
            match self.try_broadcast(unsent) {
                Ok(_) => return,
                Err(TrySendError::Full(refused)) => unsent = refused,
                Err(TrySendError::Closed(_) | TrySendError::Inactive(_)) => {
                    unreachable!("the receivers are there")
                }
            }
            std::hint::spin_loop();
        }
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
                Err(TryRecvError::Overflowed(missed)) => return missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return 0,
            }
        }
    }
}
