//! The state that the two sides of a broker share. It outlives a connection.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::config::Config;
use crate::inbound::Kept;
use crate::outbound::Pipeline;

/// The settings of one broker, and the state that its sides keep while the cluster is away.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// The publishing side takes this when it is opened, and puts it back when it is dropped.
    pub(crate) pipeline: Mutex<Option<Pipeline>>,
    /// The receiving side takes this when it is opened, and puts it back when it is dropped.
    pub(crate) kept: Mutex<Option<Kept>>,
    /// Whether one of the engine's two threads has ended.
    ended: AtomicBool,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        Shared {
            config,
            pipeline: Mutex::new(None),
            kept: Mutex::new(None),
            ended: AtomicBool::new(false),
        }
    }

    /// Called by each of the engine's two threads at its end. The later one drops the clients,
    /// because that takes time and the last handle of a user may outlive the broker. The earlier
    /// one must not drop them, because the other side may still need its own client.
    pub(crate) fn ended(&self) {
        // ORDERING: both threads swap, so the later one sees what the side of the earlier one put
        // back.
        if !self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let (kept, pipeline) = (self.kept.lock().take(), self.pipeline.lock().take());
        if let Some(mut kept) = kept {
            kept.leave();
        }
        drop(pipeline);
    }
}
