//! How a bus is made.

use std::fmt;
use std::sync::Arc;

use crate::bus::EventBus;
use crate::core::Shared;
use crate::observer::{BusEvent, Logger};

/// Makes a bus.
///
/// ```
/// use fanfeed_bus::BusOptions;
///
/// let bus = BusOptions::new().threads(2).errors(100).logger(|event| eprintln!("{event}")).build();
/// # bus.close()?;
/// # Ok::<(), fanfeed_bus::BusError>(())
/// ```
#[derive(Clone)]
#[must_use = "`build` makes the bus"]
pub struct BusOptions {
    pub(crate) threads: usize,
    pub(crate) limit: usize,
    pub(crate) errors: usize,
    pub(crate) logger: Option<Logger>,
}

impl BusOptions {
    /// One thread for each core, but at least 2 and at most 8; up to 512 when listeners block;
    /// 1,024 errors; no logger.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            threads: cores.clamp(2, 8),
            limit: 512,
            errors: 1024,
            logger: None,
        }
    }

    /// How many threads call asynchronous listeners when none of them blocks, at least 1. They are
    /// started when they are needed.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self.limit = self.limit.max(self.threads);
        self
    }

    /// The most threads that there are when listeners block, without those that wait for a dispatch
    /// or a bus. If all of them are blocked, the other listeners wait, and
    /// [`BusEvent::PoolExhausted`] reports it.
    pub fn limit(mut self, threads: usize) -> Self {
        self.limit = threads.max(1);
        self.threads = self.threads.min(self.limit);
        self
    }

    /// How many errors [`EventBus::errors`] keeps. Older ones are dropped and counted.
    pub fn errors(mut self, errors: usize) -> Self {
        self.errors = errors;
        self
    }

    /// Calls `logger` with all that happens on the bus, on a thread of its own.
    pub fn logger(mut self, logger: impl Fn(&BusEvent) + Send + Sync + 'static) -> Self {
        self.logger = Some(Arc::new(logger));
        self
    }

    /// Makes the bus.
    pub fn build(self) -> EventBus {
        EventBus::of(Shared::new(self))
    }
}

impl Default for BusOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BusOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusOptions")
            .field("threads", &self.threads)
            .field("limit", &self.limit)
            .field("errors", &self.errors)
            .finish_non_exhaustive()
    }
}
