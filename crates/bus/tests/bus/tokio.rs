//! Async listeners.
