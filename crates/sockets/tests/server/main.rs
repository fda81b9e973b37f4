//! The server, as clients over raw WebSockets see it.

mod arriving;
mod awaits;
mod events;
mod faults;
mod handlers;
mod hooks;
mod hostile;
mod joining;
#[cfg(feature = "metrics")]
mod metrics;
mod panics;
mod shutdown;
mod silence;
mod slow;
mod support;
#[cfg(feature = "tracing")]
mod tracing;
