//! What the two sides of a broker share, and what outlives a connection.

use std::hash::{BuildHasher, RandomState};
use std::process;

use parking_lot::Mutex;

use crate::config::Config;
use crate::inbound::Kept;
use crate::names::Names;

/// One broker's settings, its name as a member of groups, and what its receiving side keeps across reconnects.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) names: Names,
    /// Unlike that of any other broker, this process's included: who has died does not come back under its name.
    pub(crate) member: String,
    /// Taken by the receiving side that is opened, and put back when it is dropped.
    pub(crate) kept: Mutex<Kept>,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        let random = RandomState::new().hash_one(process::id());
        Shared {
            names: Names::new(&config.prefix[..]),
            member: format!("{}-{random:016x}", process::id()),
            kept: Mutex::default(),
            config,
        }
    }
}
