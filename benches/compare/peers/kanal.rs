//! kanal: `bounded`, with its own mutex, which its README calls "specially tuned" (feature
//! `std-mutex` is off by default).

use kanal::{Receiver, Sender, bounded};

use super::channels::{Blocking, Channel};
use crate::payload::Payload;

/// A bounded channel.
pub(crate) struct Kanal;

impl<T: Payload + Copy> Channel<T> for Kanal {
    type Sender = Sender<T>;
    type Receiver = Receiver<T>;

    fn open(capacity: usize) -> (Sender<T>, Receiver<T>) {
        bounded(capacity)
    }

    #[inline]
    fn try_send(sender: &mut Sender<T>, value: T) -> Result<(), T> {
        // It keeps what it refuses, so that only a value that can be copied is sent like this.
        match sender.try_send(value).expect("the receiver is there") {
            true => Ok(()),
            false => Err(value),
        }
    }

    #[inline]
    fn try_recv(receiver: &mut Receiver<T>) -> Option<T> {
        receiver.try_recv().expect("the sender is there")
    }
}

impl<T: Payload + Copy> Blocking<T> for Kanal {
    #[inline]
    fn send(sender: &mut Sender<T>, value: T) {
        sender.send(value).expect("the receiver is there");
    }

    #[inline]
    fn recv(receiver: &mut Receiver<T>) -> T {
        receiver.recv().expect("the sender is there")
    }
}
