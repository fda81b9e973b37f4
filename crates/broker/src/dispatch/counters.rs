//! The counters of a broker.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::observe::{Meter, Meters};
use crate::stats::BrokerStats;

/// Counters of the publishing side and of the handling side. The two sides run on different cores,
/// so their counters have separate cache lines. The handling side has several sets, so that the
/// threads of the pool do not contend at each run of a job.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) meters: Meters,
    publishing: CachePadded<Publishing>,
    handling: [CachePadded<Handling>; STRIPES],
}

const STRIPES: usize = 8;

thread_local! {
    /// The counters of this thread.
    static STRIPE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES
    };
}

#[derive(Debug, Default)]
struct Publishing {
    published: AtomicU64,
    confirmed: AtomicU64,
    failed: AtomicU64,
    unrouted: AtomicU64,
    dropped: AtomicU64,
    dead_letters_lost: AtomicU64,
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

// ORDERING: no other data depends on a counter, so Relaxed, except as `read` says.
impl Counters {
    pub(crate) fn new(driver: &'static str) -> Self {
        Self {
            meters: Meters::new(driver),
            publishing: CachePadded::default(),
            handling: Default::default(),
        }
    }

    pub(crate) fn published(&self) {
        self.count_published();
        self.record_published();
    }

    /// Counts a published message. May be called under a lock.
    pub(crate) fn count_published(&self) {
        self.publishing.published.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports a published message to the recorder, which is user code and may use the broker. So
    /// the caller holds no lock.
    pub(crate) fn record_published(&self) {
        self.meters.add(Meter::Published, 1);
    }

    pub(crate) fn confirmed(&self, n: u64) {
        self.meters.add(Meter::Confirmed, n);
        self.publishing.confirmed.fetch_add(n, Ordering::Release);
    }

    pub(crate) fn publish_failed(&self, n: u64) {
        self.meters.add(Meter::PublishFailed, n);
        self.publishing.failed.fetch_add(n, Ordering::Release);
    }

    pub(crate) fn unrouted(&self) {
        self.meters.add(Meter::Unrouted, 1);
        self.publishing.unrouted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, n: u64) {
        self.meters.add(Meter::Dropped, n);
        self.publishing.dropped.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn dead_letter_lost(&self) {
        self.meters.add(Meter::DeadLettersLost, 1);
        let lost = &self.publishing.dead_letters_lost;
        lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn handled(&self, tally: &Tally, took: Duration) {
        self.meters.add(Meter::Delivered, tally.delivered);
        self.meters.add(Meter::Redelivered, tally.redelivered);
        self.meters.add(Meter::Failed, tally.failed);
        self.meters.add(Meter::GivenUp, tally.given_up);
        let add = |counter: &AtomicU64, n: u64| {
            if n > 0 {
                counter.fetch_add(n, Ordering::Relaxed);
            }
        };
        let stripe = STRIPE.try_with(|stripe| *stripe).unwrap_or_default();
        let handling = &self.handling[stripe];
        add(&handling.delivered, tally.delivered);
        add(&handling.redelivered, tally.redelivered);
        add(&handling.failed, tally.failed);
        add(&handling.given_up, tally.given_up);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(&handling.nanoseconds, nanoseconds);
    }

    pub(crate) fn read(&self) -> BrokerStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sum = |counter: fn(&Handling) -> &AtomicU64| {
            let each = self.handling.iter();
            each.map(|handling| get(counter(handling))).sum()
        };
        // ORDERING: pairs with the Release in `confirmed` and `publish_failed`. A message is
        // counted as published before the thread that counts its outcome gets it, so `published` is
        // read last and is never less than the other two together.
        let outcome = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let confirmed = outcome(&self.publishing.confirmed);
        let publish_failed = outcome(&self.publishing.failed);
        BrokerStats {
            published: get(&self.publishing.published),
            confirmed,
            publish_failed,
            unrouted: get(&self.publishing.unrouted),
            dropped: get(&self.publishing.dropped),
            dead_letters_lost: get(&self.publishing.dead_letters_lost),
            delivered: sum(|handling| &handling.delivered),
            redelivered: sum(|handling| &handling.redelivered),
            failed: sum(|handling| &handling.failed),
            given_up: sum(|handling| &handling.given_up),
            handler_time: Duration::from_nanos(sum(|handling| &handling.nanoseconds)),
        }
    }
}
