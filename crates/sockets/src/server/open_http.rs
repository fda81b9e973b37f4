//! The HTTP connections of a server's own listener, which a shutdown waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::core::Core;

/// An HTTP connection that is open and has no slot of a WebSocket. It is counted until it is
/// dropped, or has a slot.
pub(super) struct OpenHttp {
    core: Arc<Core>,
    is_counted: AtomicBool,
    has_asked: AtomicBool,
}

impl OpenHttp {
    pub(super) fn new(core: &Arc<Core>) -> Arc<Self> {
        core.http_opened();
        Arc::new(Self {
            core: Arc::clone(core),
            is_counted: AtomicBool::new(true),
            has_asked: AtomicBool::new(false),
        })
    }

    /// A request has come over the connection.
    pub(super) fn ask(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }

    /// Whether a request has ever come over the connection.
    pub(super) fn has_asked(&self) -> bool {
        // ORDERING: it is stored and loaded by the same task.
        self.has_asked.load(Ordering::Relaxed)
    }

    /// The connection has a slot, by which it is counted from now on.
    pub(super) fn has_slot(&self) {
        // ORDERING: only one caller gets `true`; the count itself is under a lock.
        if self.is_counted.swap(false, Ordering::Relaxed) {
            self.core.http_closed();
        }
    }
}

impl Drop for OpenHttp {
    fn drop(&mut self) {
        self.has_slot();
    }
}
