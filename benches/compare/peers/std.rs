//! The standard library: `mpsc::sync_channel`, its bounded channel. Its documentation gives no
//! advice on speed.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::channels::{Blocking, Channel};
use crate::payload::Payload;

/// A bounded channel.
pub(crate) struct Std;

impl<T: Payload> Channel<T> for Std {
    type Sender = SyncSender<T>;
    type Receiver = Receiver<T>;

    fn open(capacity: usize) -> (SyncSender<T>, Receiver<T>) {
        sync_channel(capacity)
    }

    #[inline]
    fn try_send(sender: &mut SyncSender<T>, value: T) -> Result<(), T> {
        sender.try_send(value).map_err(|error| match error {
            TrySendError::Full(value) | TrySendError::Disconnected(value) => value,
        })
    }

    #[inline]
    fn try_recv(receiver: &mut Receiver<T>) -> Option<T> {
        receiver.try_recv().ok()
    }
}

impl<T: Payload> Blocking<T> for Std {
    #[inline]
    fn send(sender: &mut SyncSender<T>, value: T) {
        sender.send(value).expect("the receiver is there");
    }

    #[inline]
    fn recv(receiver: &mut Receiver<T>) -> T {
        receiver.recv().expect("the sender is there")
    }
}
