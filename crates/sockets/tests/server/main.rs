//! The server, as clients over raw WebSockets see it.

mod awaits;
mod faults;
mod handlers;
mod hooks;
mod hostile;
mod joining;
mod panics;
mod shutdown;
mod slow;
mod support;
