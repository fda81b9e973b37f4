//! The size of a pool.

/// The number of threads that call handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    pub(crate) threads: usize,
    pub(crate) limit: usize,
}

impl PoolOptions {
    /// One thread for each core, but at least 2 and at most 8. Up to eight times as many while some
    /// handlers take 10 ms or longer, whether they wait or compute. Up to 512 when all threads are
    /// blocked.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            threads: cores.clamp(2, 8),
            limit: 512,
        }
    }

    /// The number of threads when no handler blocks, at least 1.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self.limit = self.limit.max(self.threads);
        self
    }

    /// The most threads when handlers block. If all of them are blocked, the other handlers wait,
    /// and [`Event::PoolExhausted`](crate::Event::PoolExhausted) reports it.
    #[must_use]
    pub fn limit(mut self, threads: usize) -> Self {
        self.limit = threads.max(1);
        self.threads = self.threads.min(self.limit);
        self
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self::new()
    }
}
