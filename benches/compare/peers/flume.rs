//! flume: `bounded`, with its default features; its README says of `spin` that it may help "on a
//! small number of platforms".

use flume::{Receiver, Sender, bounded};

use super::channels::{Blocking, Channel};
use crate::payload::Payload;

/// A bounded channel.
pub(crate) struct Flume;

impl<T: Payload> Channel<T> for Flume {
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

impl<T: Payload> Blocking<T> for Flume {
    #[inline]
    fn send(sender: &mut Sender<T>, value: T) {
        sender.send(value).expect("the receiver is there");
    }

    #[inline]
    fn recv(receiver: &mut Receiver<T>) -> T {
        receiver.recv().expect("the sender is there")
    }
}
