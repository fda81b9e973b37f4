//! The state that the two sides of a broker share, and that outlives a connection.

use parking_lot::Mutex;

use crate::config::Config;
use crate::inbound::Kept;
use crate::outbound::Pipeline;

/// One broker's settings, and what its sides keep while the cluster is away.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// The publishing side takes it when it is opened, and puts it back when it is dropped.
    pub(crate) pipeline: Mutex<Option<Pipeline>>,
    /// The receiving side takes it when it is opened, and puts it back when it is dropped.
    pub(crate) kept: Mutex<Option<Kept>>,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        Shared {
            config,
            pipeline: Mutex::new(None),
            kept: Mutex::new(None),
        }
    }
}
