//! bus: `broadcast`, which waits in its own way, and `try_recv`, with which its documentation
//! polls; `recv` where one reader waits.

use bus::{Bus, BusReader};

use crate::link::{CAPACITY, OneByOne, Reads, Receives, Sends};
use crate::payload::Payload;

/// A bus with n readers that are polled.
pub(crate) fn polled<T: Payload>(n: usize) -> (Bus<T>, Polled<T>) {
    let mut bus = Bus::new(CAPACITY);
    let readers = (0..n).map(|_| bus.add_rx()).collect();
    (bus, Polled(readers))
}

/// A bus with one reader that waits in its own way.
pub(crate) fn parked<T: Payload>() -> (Bus<T>, OneByOne<BusReader<T>>) {
    let mut bus = Bus::new(CAPACITY);
    let reader = bus.add_rx();
    (bus, OneByOne(reader))
}

impl<T: Payload> Sends<T> for Bus<T> {
    #[inline]
    fn put(&mut self, value: T) {
        self.broadcast(value);
    }
}

/// Readers that are looked at in turn.
pub(crate) struct Polled<T>(Vec<BusReader<T>>);

impl<T: Payload> Reads<T> for Polled<T> {
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

impl<T: Payload> Receives<T> for BusReader<T> {
    #[inline]
    fn receive(&mut self) -> T {
        self.recv().expect("the bus is there")
    }
}
