//! Several servers over one broker.

mod churn;
mod faults;
mod fleet;
mod goodbye;
mod history;
mod memory;
mod processes;
mod stub;
#[path = "../server/support.rs"]
#[allow(dead_code, reason = "shared with the tests of one server")]
mod support;
