//! `Feed`, over its own channels, over crossbeam's, and with closures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fanfeed::{Feed, Receiver, Subscription, TryRecvError};

use super::{CAPACITY, Seats};
use crate::subscribers::Crowd;

/// A feed with channels of its own.
#[derive(Debug, Default)]
pub(crate) struct OwnChannels {
    feed: Feed<u64>,
    receivers: Seats<Receiver<u64>>,
}

impl Crowd for OwnChannels {
    fn join(&mut self) {
        let receiver = self.feed.channel(CAPACITY).expect("a fair capacity");
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
        assert_eq!(self.feed.send(value), self.count());
    }

    fn receive(&mut self, value: u64) {
        for receiver in self.receivers.iter_mut() {
            assert_eq!(receiver.try_recv(), Ok(value));
        }
    }

    fn close(&mut self) {
        self.feed.close();
    }

    fn assert_closed(&mut self) {
        for receiver in self.receivers.iter_mut() {
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
        }
    }
}

/// A feed whose subscribers are crossbeam channels.
#[derive(Debug, Default)]
pub(crate) struct OverCrossbeam {
    feed: Feed<u64>,
    receivers: Seats<(crossbeam_channel::Receiver<u64>, Subscription)>,
}

impl Crowd for OverCrossbeam {
    fn join(&mut self) {
        let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
        self.receivers.add((receiver, self.feed.subscribe(sender)));
    }

    fn leave(&mut self, number: usize) {
        let (receiver, subscription) = self.receivers.remove(number);
        subscription.unsubscribe();
        drop(receiver);
    }

    fn compact(&mut self) {
        self.receivers.compact();
    }

    fn count(&self) -> usize {
        self.receivers.len()
    }

    fn send(&mut self, value: u64) {
        assert_eq!(self.feed.send(value), self.count());
    }

    fn receive(&mut self, value: u64) {
        for (receiver, _) in self.receivers.iter_mut() {
            assert_eq!(receiver.try_recv(), Ok(value));
        }
    }

    fn close(&mut self) {
        self.feed.close();
    }

    fn assert_closed(&mut self) {
        for (receiver, _) in self.receivers.iter_mut() {
            let ended = receiver.try_recv().map_err(|error| error.is_disconnected());
            assert_eq!(ended, Err(true));
        }
    }
}

/// A feed whose subscribers are closures, which store the value.
#[derive(Debug, Default)]
pub(crate) struct Closures {
    feed: Feed<u64>,
    receivers: Seats<(Arc<Cell>, Subscription)>,
}

/// What a closure was called with last, and whether that was dropped.
#[derive(Debug, Default)]
struct Cell {
    value: AtomicU64,
    dropped: AtomicBool,
}

/// What a closure owns.
struct Captured(Arc<Cell>);

impl Captured {
    fn set(&self, value: u64) {
        self.0.value.store(value, Ordering::Relaxed);
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::Relaxed);
    }
}

impl Crowd for Closures {
    fn join(&mut self) {
        let cell = Arc::new(Cell::default());
        let captured = Captured(Arc::clone(&cell));
        let subscription = self.feed.subscribe_fn(move |value| captured.set(*value));
        self.receivers.add((cell, subscription));
    }

    fn leave(&mut self, number: usize) {
        let (cell, subscription) = self.receivers.remove(number);
        subscription.unsubscribe();
        assert!(cell.dropped.load(Ordering::Relaxed));
    }

    fn compact(&mut self) {
        self.receivers.compact();
    }

    fn count(&self) -> usize {
        self.receivers.len()
    }

    fn send(&mut self, value: u64) {
        assert_eq!(self.feed.send(value), self.count());
    }

    fn receive(&mut self, value: u64) {
        for (cell, _) in self.receivers.iter_mut() {
            assert_eq!(cell.value.swap(0, Ordering::Relaxed), value);
        }
    }

    fn close(&mut self) {
        self.feed.close();
    }

    fn assert_closed(&mut self) {
        for (cell, _) in self.receivers.iter_mut() {
            assert!(cell.dropped.load(Ordering::Relaxed));
            assert_eq!(cell.value.load(Ordering::Relaxed), 0);
        }
    }
}
