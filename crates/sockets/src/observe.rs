//! What observers of a server or a client get: events, counters, and what the features `tracing` and `metrics` add.

#[macro_use]
mod counters;
mod handler;
mod meters;
mod observers;
mod trace;

use crate::middleware::guard;

pub(crate) use counters::{Counter, counters};
pub(crate) use handler::observed;
pub(crate) use meters::{Gauge, Held, Histogram};
pub(crate) use observers::Observers;
pub(crate) use trace::publishing;

/// Calls code of the application whose result nobody needs. Its panic has been printed by the panic hook, and ends nothing here.
pub(crate) fn quietly<R>(call: impl FnOnce() -> R) -> Option<R> {
    guard(call).ok()
}
