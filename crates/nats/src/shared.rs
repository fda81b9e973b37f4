//! The state that the two sides of a broker share. It outlives a connection.

use std::hash::{BuildHasher, RandomState};
use std::process;

use parking_lot::Mutex;

use crate::config::Config;
use crate::names::Names;
use crate::receiving::Kept;

/// The settings of one broker, its name, and the state that its receiving side keeps across
/// reconnects.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) names: Names,
    /// The name of the connections, and the beginning of the names of plain subscriptions'
    /// consumers.
    pub(crate) member: String,
    /// The receiving side takes this when it is opened, and puts it back when it is dropped. Only
    /// JetStream uses it.
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
