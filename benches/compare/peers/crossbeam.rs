//! crossbeam-channel: `bounded`, as in its documentation, which gives no advice on speed.

use crossbeam_channel::{Receiver, Sender, bounded};

use super::channels::{Blocking, Channel};
use crate::payload::Payload;

/// A bounded channel.
pub(crate) struct Crossbeam;

impl<T: Payload> Channel<T> for Crossbeam {
    type Sender = Sender<T>;
    type Receiver = Receiver<T>;

    fn open(capacity: usize) -> (Sender<T>, Receiver<T>) {
        bounded(capacity)
    }

    #[inline]
    fn try_send(sender: &mut Sender<T>, value: T) -> Result<(), T> {
        sender.try_send(value).map_err(|error| error.into_inner())
    }

    #[inline]
    fn try_recv(receiver: &mut Receiver<T>) -> Option<T> {
        receiver.try_recv().ok()
    }
}

impl<T: Payload> Blocking<T> for Crossbeam {
    #[inline]
    fn send(sender: &mut Sender<T>, value: T) {
        sender.send(value).expect("the receiver is there");
    }

    #[inline]
    fn recv(receiver: &mut Receiver<T>) -> T {
        receiver.recv().expect("the sender is there")
    }
}
