//! What the two sides of a broker share, and what outlives a connection.

use std::hash::{BuildHasher, RandomState};
use std::process;

use parking_lot::Mutex;

use crate::config::Config;
use crate::names::Names;
use crate::receiving::Kept;

/// One broker's settings, its name, and what its receiving side keeps across reconnects.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) names: Names,
    /// What the server calls the connections, and what the consumers of plain subscriptions are called by.
    pub(crate) member: String,
    /// Taken by the receiving side that is opened, and put back when it is dropped. JetStream alone.
    pub(crate) kept: Mutex<Kept>,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        let random = RandomState::new().hash_one(process::id());
        Shared {
            names: Names::new(&config.prefix),
            member: format!("{}-{random:016x}", process::id()),
            kept: Mutex::default(),
            config,
        }
    }
}
