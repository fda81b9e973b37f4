//! The client library's events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_nats::Event;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::link::is_refusal;

/// The most errors of the server that are kept until they are read.
const KEPT: usize = 100;

/// The state of one connection, according to the client library's events.
#[derive(Debug)]
pub(crate) struct Signs {
    changes: watch::Sender<Seen>,
    errors: Mutex<Vec<Arc<str>>>,
    /// How often the library dropped messages because its buffer was full. Events may be lost, so
    /// this may be too low, but not 0.
    slow: AtomicU64,
    /// Once this is set, the library does not reconnect. The engine does.
    connected: AtomicBool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    lost: bool,
    errors: u64,
}

impl Signs {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Signs {
            changes: watch::Sender::new(Seen::default()),
            errors: Mutex::default(),
            slow: AtomicU64::new(0),
            connected: AtomicBool::new(false),
        })
    }

    pub(crate) fn take(&self, event: Event) {
        match event {
            Event::Disconnected | Event::Closed => {
                self.changes.send_modify(|seen| seen.lost = true);
            }
            Event::SlowConsumer(_) => {
                // ORDERING: a count; no other data depends on it.
                self.slow.fetch_add(1, Ordering::Relaxed);
            }
            Event::ServerError(error) => self.note(error.to_string()),
            Event::Connected | Event::LameDuckMode | Event::Draining | Event::ClientError(_) => {}
        }
    }

    fn note(&self, error: String) {
        {
            let mut errors = self.errors.lock();
            if errors.len() == KEPT {
                errors.remove(0);
            }
            errors.push(error.into());
        }
        self.changes.send_modify(|seen| seen.errors += 1);
    }

    pub(crate) fn set_connected(&self) {
        // ORDERING: pairs with the load in `is_connected`.
        self.connected.store(true, Ordering::Release);
    }

    pub(crate) fn is_connected(&self) -> bool {
        // ORDERING: pairs with the store in `set_connected`.
        self.connected.load(Ordering::Acquire)
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.changes.borrow().lost
    }

    /// Waits for the end of the connection, and returns what the server said last.
    pub(crate) async fn lost(&self) -> Arc<str> {
        let mut changes = self.changes.subscribe();
        // This fails only if the sender was dropped, and the sender is in `self`.
        let _ = changes.wait_for(|seen| seen.lost).await;
        match self.errors.lock().last() {
            Some(error) => Arc::clone(error),
            None => "the server closed it, or it broke".into(),
        }
    }

    /// Waits until the server has reported another error.
    pub(crate) async fn next_error(&self) {
        let mut changes = self.changes.subscribe();
        let before = changes.borrow_and_update().errors;
        let _ = changes.wait_for(|seen| seen.errors > before).await;
    }

    /// Removes the reported errors.
    pub(crate) fn forget_errors(&self) {
        self.errors.lock().clear();
    }

    pub(crate) fn errors(&self) -> Vec<Arc<str>> {
        self.errors.lock().clone()
    }

    /// Returns the server's error if it refused `verb` (`Publish to` or `Subscription to`) for this
    /// subject.
    pub(crate) fn refusal(&self, verb: &str, subject: &str) -> Option<Arc<str>> {
        let wanted = format!("{verb} \"{subject}\"").to_lowercase();
        let errors = self.errors.lock();
        let found = errors
            .iter()
            .find(|error| error.to_lowercase().contains(&wanted));
        found.cloned()
    }

    /// Takes the errors that say that the user is not allowed to do something.
    pub(crate) fn take_refusals(&self) -> Vec<Arc<str>> {
        let mut errors = self.errors.lock();
        errors.extract_if(.., |error| is_refusal(error)).collect()
    }

    /// Removes the errors about a subject.
    pub(crate) fn forget_about(&self, subject: &str) {
        let mut errors = self.errors.lock();
        errors.retain(|error| subject_of(error) != Some(subject));
    }

    /// Returns how often the library dropped messages since the last call.
    pub(crate) fn take_slow(&self) -> u64 {
        // ORDERING: a count; no other data depends on it.
        self.slow.swap(0, Ordering::Relaxed)
    }
}

/// Returns the subject that an error of the server names.
pub(crate) fn subject_of(error: &str) -> Option<&str> {
    error.split('"').nth(1)
}
