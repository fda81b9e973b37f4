//! What several tests share.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use fanfeed_broker::Message;

/// How long a test waits for something that is to happen.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Waits for a condition, and panics if it does not come true.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A message that tells its number.
pub fn payload(key: &str, number: usize) -> Message {
    Message::new(key, number.to_string())
}

/// A gate that handlers wait at until it is opened.
#[derive(Clone, Default)]
pub struct Gate {
    shared: Arc<(Mutex<GateState>, Condvar)>,
}

#[derive(Default)]
struct GateState {
    visitors: usize,
    open: bool,
}

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until the gate is open.
    pub fn pass(&self) {
        self.pass_unless(|| false);
    }

    /// Waits until the gate is open, or the condition holds.
    pub fn pass_unless(&self, mut condition: impl FnMut() -> bool) {
        let (state, changed) = &*self.shared;
        let deadline = Instant::now() + LIMIT;
        let mut state = state.lock().unwrap();
        state.visitors += 1;
        changed.notify_all();
        while !state.open && !condition() {
            assert!(
                Instant::now() < deadline,
                "the gate was not opened within {LIMIT:?}"
            );
            state = changed
                .wait_timeout(state, Duration::from_millis(2))
                .unwrap()
                .0;
        }
    }

    /// Waits until a handler is at the gate.
    pub fn wait_for_visitor(&self) {
        eventually("a handler is at the gate", || self.visitors() > 0);
    }

    pub fn visitors(&self) -> usize {
        self.shared.0.lock().unwrap().visitors
    }

    pub fn open(&self) {
        self.shared.0.lock().unwrap().open = true;
        self.shared.1.notify_all();
    }
}
