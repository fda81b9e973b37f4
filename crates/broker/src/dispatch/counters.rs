//! The counters of a broker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::stats::BrokerStats;

/// Counters of the publishing side and of the handling side, which are on different cores and so on different lines.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    publishing: CachePadded<Publishing>,
    handling: CachePadded<Handling>,
}

#[derive(Debug, Default)]
struct Publishing {
    published: AtomicU64,
    confirmed: AtomicU64,
    failed: AtomicU64,
    unrouted: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Handling {
    delivered: AtomicU64,
    redelivered: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    nanoseconds: AtomicU64,
}

/// What one run of a job adds to the counters.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) delivered: u64,
    pub(crate) redelivered: u64,
    pub(crate) failed: u64,
    pub(crate) given_up: u64,
}

// ORDERING: each counter stands for itself, so Relaxed.
impl Counters {
    pub(crate) fn published(&self) {
        self.publishing.published.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn confirmed(&self, n: u64) {
        self.publishing.confirmed.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn publish_failed(&self, n: u64) {
        self.publishing.failed.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn unrouted(&self) {
        self.publishing.unrouted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, n: u64) {
        self.publishing.dropped.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn handled(&self, tally: &Tally, took: Duration) {
        let add = |counter: &AtomicU64, n: u64| {
            if n > 0 {
                counter.fetch_add(n, Ordering::Relaxed);
            }
        };
        add(&self.handling.delivered, tally.delivered);
        add(&self.handling.redelivered, tally.redelivered);
        add(&self.handling.failed, tally.failed);
        add(&self.handling.given_up, tally.given_up);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(&self.handling.nanoseconds, nanoseconds);
    }

    pub(crate) fn read(&self) -> BrokerStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BrokerStats {
            published: get(&self.publishing.published),
            confirmed: get(&self.publishing.confirmed),
            publish_failed: get(&self.publishing.failed),
            unrouted: get(&self.publishing.unrouted),
            dropped: get(&self.publishing.dropped),
            delivered: get(&self.handling.delivered),
            redelivered: get(&self.handling.redelivered),
            failed: get(&self.handling.failed),
            given_up: get(&self.handling.given_up),
            handler_time: Duration::from_nanos(get(&self.handling.nanoseconds)),
        }
    }
}
