//! tokio's broadcast channel.

use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};

use super::{RING, Seats};
use crate::subscribers::Crowd;

/// A sender, until it is closed, and its receivers.
#[derive(Debug)]
pub(crate) struct Broadcast {
    sender: Option<Sender<u64>>,
    receivers: Seats<Receiver<u64>>,
}

impl Default for Broadcast {
    fn default() -> Self {
        Self {
            sender: Some(channel(RING).0),
            receivers: Seats::default(),
        }
    }
}

impl Broadcast {
    fn sender(&self) -> &Sender<u64> {
        self.sender.as_ref().expect("it is not closed")
    }
}

impl Crowd for Broadcast {
    fn join(&mut self) {
        let receiver = self.sender().subscribe();
        self.receivers.add(receiver);
    }

    fn leave(&mut self, number: usize) {
        self.receivers.remove(number);
    }

    fn compact(&mut self) {
        self.receivers.compact();
    }

    fn count(&self) -> usize {
        self.receivers.len()
    }

    fn send(&mut self, value: u64) {
        assert_eq!(self.sender().send(value).ok(), Some(self.count()));
    }

    fn receive(&mut self, value: u64) {
        for receiver in self.receivers.iter_mut() {
            assert_eq!(receiver.try_recv(), Ok(value));
        }
    }

    fn close(&mut self) {
        self.sender = None;
    }

    fn assert_closed(&mut self) {
        for receiver in self.receivers.iter_mut() {
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
        }
    }
}
