//! crossfire: `spsc` and `mpsc`, whose README says that each is "optimized to its concurrent
//! model", after `detect_backoff_cfg`, which according to it doubles the speed on virtual machines.

use crossfire::{MTx, Rx, Tx, detect_backoff_cfg, mpsc, spsc};

use super::channels::{Blocking, Channel};
use crate::payload::Payload;

/// A bounded channel for one sending thread.
pub(crate) struct Spsc;

/// A bounded channel for several sending threads.
pub(crate) struct Mpsc;

impl<T: Payload + Unpin> Channel<T> for Spsc {
    type Sender = Tx<spsc::Array<T>>;
    type Receiver = Rx<spsc::Array<T>>;

    fn open(capacity: usize) -> (Self::Sender, Self::Receiver) {
        detect_backoff_cfg();
        spsc::bounded_blocking(capacity)
    }

    #[inline]
    fn try_send(sender: &mut Self::Sender, value: T) -> Result<(), T> {
        sender.try_send(value).map_err(|error| error.into_inner())
    }

    #[inline]
    fn try_recv(receiver: &mut Self::Receiver) -> Option<T> {
        receiver.try_recv().ok()
    }
}

impl<T: Payload + Unpin> Blocking<T> for Spsc {
    #[inline]
    fn send(sender: &mut Self::Sender, value: T) {
        sender.send(value).expect("the receiver is there");
    }

    #[inline]
    fn recv(receiver: &mut Self::Receiver) -> T {
        receiver.recv().expect("the sender is there")
    }
}

impl<T: Payload + Unpin> Channel<T> for Mpsc {
    type Sender = MTx<mpsc::Array<T>>;
    type Receiver = Rx<mpsc::Array<T>>;

    fn open(capacity: usize) -> (Self::Sender, Self::Receiver) {
        detect_backoff_cfg();
        mpsc::bounded_blocking(capacity)
    }

    #[inline]
    fn try_send(sender: &mut Self::Sender, value: T) -> Result<(), T> {
        sender.try_send(value).map_err(|error| error.into_inner())
    }

    #[inline]
    fn try_recv(receiver: &mut Self::Receiver) -> Option<T> {
        receiver.try_recv().ok()
    }
}

impl<T: Payload + Unpin> Blocking<T> for Mpsc {
    #[inline]
    fn send(sender: &mut Self::Sender, value: T) {
        sender.send(value).expect("the receiver is there");
    }

    #[inline]
    fn recv(receiver: &mut Self::Receiver) -> T {
        receiver.recv().expect("the sender is there")
    }
}
