//! The errors of a bus.

use std::collections::VecDeque;

use crate::error::EventError;
use crate::sync::Mutex;

/// The latest errors, and how many older ones were dropped to make room.
pub(crate) struct ErrorLog {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    errors: VecDeque<EventError>,
    dropped: u64,
}

impl ErrorLog {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::default(),
        }
    }

    pub(crate) fn push(&self, error: EventError) {
        let pushed_out = {
            let mut state = self.state.lock();
            state.errors.push_back(error);
            let is_over = state.errors.len() > self.capacity;
            is_over.then(|| {
                state.dropped += 1;
                state.errors.pop_front()
            })
        };
        // Outside the lock: it may hold the error of a user.
        drop(pushed_out);
    }

    pub(crate) fn all(&self) -> Vec<EventError> {
        self.state.lock().errors.iter().cloned().collect()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    pub(crate) fn clear(&self) {
        let cleared = std::mem::take(&mut *self.state.lock());
        drop(cleared);
    }
}
