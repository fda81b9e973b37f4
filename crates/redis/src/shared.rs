//! The state that the two sides of a broker share, and that outlives a connection.

use std::hash::{BuildHasher, RandomState};
use std::process;

use parking_lot::Mutex;

use crate::config::Config;
use crate::inbound::Kept;
use crate::names::Names;

/// One broker's settings, its name as a member of groups, and what its receiving side keeps across
/// reconnects.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) names: Names,
    /// No other broker has this name, not even in the same process: a member that has died never
    /// comes back with it.
    pub(crate) member: String,
    /// The receiving side takes it when it is opened, and puts it back when it is dropped.
    pub(crate) kept: Mutex<Kept>,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        let random = RandomState::new().hash_one(process::id());
        Shared {
            names: Names::new(&config.prefix[..]).bare(config.bare),
            member: format!("{}-{random:016x}", process::id()),
            kept: Mutex::default(),
            config,
        }
    }
}
