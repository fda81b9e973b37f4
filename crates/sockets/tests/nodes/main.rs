//! Several servers over one broker.

mod fleet;
mod history;
mod memory;
mod processes;
#[path = "../server/support.rs"]
#[allow(dead_code, reason = "shared with the tests of one server")]
mod support;
