//! tokio's bounded `mpsc`, as in its documentation for threads: `blocking_send` and
//! `blocking_recv`.

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::channels::{Blocking, Channel};
use crate::payload::Payload;

/// A bounded channel.
pub(crate) struct TokioMpsc;

impl<T: Payload> Channel<T> for TokioMpsc {
    type Sender = Sender<T>;
    type Receiver = Receiver<T>;

    fn open(capacity: usize) -> (Sender<T>, Receiver<T>) {
        channel(capacity)
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

impl<T: Payload> Blocking<T> for TokioMpsc {
    #[inline]
    fn send(sender: &mut Sender<T>, value: T) {
        sender.blocking_send(value).expect("the receiver is there");
    }

    #[inline]
    fn recv(receiver: &mut Receiver<T>) -> T {
        receiver.blocking_recv().expect("the sender is there")
    }
}
