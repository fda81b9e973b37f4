//! `RingFeed`.

use fanfeed::{RingFeed, TryRecvError, ring};

use super::{RING, Seats};
use crate::subscribers::Crowd;

/// A ring and its readers.
#[derive(Debug)]
pub(crate) struct Ring {
    ring: RingFeed<u64>,
    readers: Seats<ring::Receiver<u64>>,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            ring: RingFeed::new(RING).expect("a fair capacity"),
            readers: Seats::default(),
        }
    }
}

impl Crowd for Ring {
    fn join(&mut self) {
        self.readers.add(self.ring.subscribe());
    }

    fn leave(&mut self, number: usize) {
        self.readers.remove(number);
    }

    fn compact(&mut self) {
        self.readers.compact();
    }

    fn count(&self) -> usize {
        self.readers.len()
    }

    fn send(&mut self, value: u64) {
        self.ring.send(value);
    }

    fn receive(&mut self, value: u64) {
        for reader in self.readers.iter_mut() {
            assert_eq!(reader.try_recv(), Ok(value));
        }
    }

    fn close(&mut self) {
        self.ring.close();
    }

    fn assert_closed(&mut self) {
        for reader in self.readers.iter_mut() {
            assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
        }
    }
}
