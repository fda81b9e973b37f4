//! Middleware that counts requests by their key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Middleware, Next};
use crate::request::Request;

/// Counts requests and measures handlers, by the key of the request. Clones share the counts, and
/// any number of them can be in use in one process.
///
/// Only keys that have a handler are counted, so a peer cannot make the table grow.
///
/// ```
/// use fanfeed_sockets::middleware::Metrics;
///
/// let metrics = Metrics::new();
/// // server.middleware(metrics.clone())
/// for (key, count) in metrics.counts() {
///     println!("{key}: {} received, {} failed", count.received, count.failed);
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    counts: Arc<Mutex<BTreeMap<Arc<str>, KeyCount>>>,
}

/// The counts of one key of request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyCount {
    /// Requests that came to the handler.
    pub received: u64,
    /// Requests whose handler returned an error.
    pub failed: u64,
    /// How long the handlers that have returned took, together.
    pub handler_time: Duration,
}

impl Metrics {
    /// Makes counts that are all zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counts so far.
    pub fn counts(&self) -> BTreeMap<Arc<str>, KeyCount> {
        self.counts.lock().clone()
    }

    fn update(&self, key: &str, update: impl FnOnce(&mut KeyCount)) {
        let mut counts = self.counts.lock();
        match counts.get_mut(key) {
            Some(count) => update(count),
            None => update(counts.entry(key.into()).or_default()),
        }
    }
}

impl Middleware for Metrics {
    fn wrap(&self, next: Next) -> Next {
        let metrics = self.clone();
        Arc::new(move |request: Request| {
            let metrics = metrics.clone();
            let next = Arc::clone(&next);
            async move {
                let key = request.key().to_owned();
                metrics.update(&key, |count| count.received += 1);
                let started = Instant::now();
                let reply = next.handle(request).await;
                metrics.update(&key, |count| {
                    count.failed += u64::from(reply.is_err());
                    count.handler_time += started.elapsed();
                });
                reply
            }
        })
    }
}
