//! What observers of a server or a client get: events, counters, and what the features `tracing`
//! and `metrics` add.

#[macro_use]
mod counters;
mod clock;
mod handler;
#[cfg(feature = "server")]
mod handshake;
mod meters;
mod observers;
mod trace;

use std::sync::Arc;

use crate::handler::HandlerError;
use crate::middleware::guard;

#[cfg(feature = "server")]
pub(crate) use clock::at_most;
pub(crate) use counters::{Counter, counters};
pub(crate) use handler::observed;
#[cfg(feature = "server")]
pub(crate) use handshake::Handshake;
pub(crate) use meters::{Gauge, Held, Histogram};
pub(crate) use observers::Observers;
pub(crate) use trace::publishing;

/// Calls code of the application, whose result is not needed. Its panic has been printed by the
/// panic hook, and ends nothing here.
pub(crate) fn quietly<R>(call: impl FnOnce() -> R) -> Option<R> {
    guard(call).ok()
}

/// The longest key or id of a peer in an event, in bytes. Observers may be a thousand events
/// behind.
pub(crate) const LONGEST_TEXT: usize = 256;

/// The longest text of an error in an event, in bytes. It may quote what a peer sent.
const LONGEST_ERROR: usize = 1024;

/// As much of a text as fits into so many bytes.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What an event shows of a key or an id that a peer sent.
pub(crate) fn shown(text: &str) -> Arc<str> {
    cut(text, LONGEST_TEXT).into()
}

/// What an event shows of the text of an error.
pub(crate) fn shown_error(text: &str) -> Arc<str> {
    cut(text, LONGEST_ERROR).into()
}

/// What an event shows of an error that the application's code returned. Its `Display` may panic.
pub(crate) fn shown_failure(error: &HandlerError) -> Arc<str> {
    match guard(|| error.to_string()) {
        Ok(text) => shown_error(&text),
        Err(panic) => shown_error(&panic.text()),
    }
}
