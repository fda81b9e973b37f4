//! A carrier of our own that knows when it was given up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fanfeed::{Carrier, TrySendError};

use crate::value::Value;
use crate::world::World;

/// A bounded queue under a lock, whose two ends share it.
#[derive(Debug)]
pub(crate) struct Shelf {
    values: Mutex<VecDeque<Value>>,
    capacity: usize,
    is_given_up: AtomicBool,
}

impl Shelf {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            values: Mutex::new(VecDeque::with_capacity(capacity)),
            capacity,
            is_given_up: AtomicBool::new(false),
        })
    }

    pub(crate) fn take(&self) -> Option<Value> {
        self.values
            .lock()
            .expect("nobody panics with it")
            .pop_front()
    }

    /// Its subscription was unsubscribed: nothing may come any more.
    pub(crate) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::SeqCst);
    }
}

/// The end that is subscribed.
#[derive(Debug)]
pub(crate) struct ShelfEnd(pub(crate) Arc<Shelf>);

impl Carrier<Value> for ShelfEnd {
    fn try_send(&self, value: Value) -> Result<(), TrySendError<Value>> {
        let shelf = &self.0;
        if shelf.is_given_up.load(Ordering::SeqCst) {
            World::current().violated(
                "nothing is put on a channel once `unsubscribe` has returned",
                format!("value {:?}", value.read()),
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
