//! The server, as clients over raw WebSockets see it.

mod faults;
mod support;
