//! A carrier of the soak's own that detects when it was given up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fanfeed::{Carrier, TrySendError};

use crate::world::World;

/// A bounded queue under a lock, whose two ends share it.
#[derive(Debug)]
pub(crate) struct Shelf<T> {
    values: Mutex<VecDeque<T>>,
    capacity: usize,
    is_given_up: AtomicBool,
}

impl<T> Shelf<T> {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            values: Mutex::new(VecDeque::with_capacity(capacity)),
            capacity,
            is_given_up: AtomicBool::new(false),
        })
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.values
            .lock()
            .expect("nobody panics with it")
            .pop_front()
    }

    /// Its subscription was unsubscribed, or what it is subscribed to stopped: nothing may come any
    /// more.
    pub(crate) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::SeqCst);
    }
}

/// The end that is subscribed.
#[derive(Debug)]
pub(crate) struct ShelfEnd<T>(pub(crate) Arc<Shelf<T>>);

impl<T> Clone for ShelfEnd<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send> Carrier<T> for ShelfEnd<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let shelf = &self.0;
        if shelf.is_given_up.load(Ordering::SeqCst) {
            World::current().violated(
                "nothing is put on a channel once its end has returned",
                "one more",
            );
        }
        let mut values = shelf.values.lock().expect("nobody panics with it");
        if values.len() == shelf.capacity {
            return Err(TrySendError::Full(value));
        }
        values.push_back(value);
        Ok(())
    }

    fn depth(&self) -> Option<usize> {
        Some(self.0.values.lock().expect("nobody panics with it").len())
    }
}
