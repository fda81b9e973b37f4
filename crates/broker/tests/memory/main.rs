//! What the memory driver promises beyond the suite that all drivers pass.

mod buffers;
mod close;
#[path = "../common/mod.rs"]
mod common;
mod destructors;
mod events;
mod failures;
mod followers;
mod groups;
mod keys;
mod pool;

use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
