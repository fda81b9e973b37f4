//! One subscription to several types.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use crate::subscription::{Stats, Subscription, SubscriptionSource, SubscriptionState};
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// A subscription to each type's feed, all on one channel.
///
/// The end of one part is the end of all: if one part ends by itself (the mux was stopped, the far
/// end of the channel is gone, its carrier panicked), the others end too.
pub(super) struct Group {
    state: SubscriptionState,
    parts: Box<[Subscription]>,
    /// Whether one part has ended, and the others are being ended.
    ending: AtomicBool,
    /// Events that were counted as delivered and were not: see [`Since`](super::since::Since).
    passed_over: Arc<AtomicU64>,
}

impl Group {
    pub(super) fn subscription(
        name: Option<Arc<str>>,
        parts: Box<[Subscription]>,
        passed_over: Arc<AtomicU64>,
    ) -> Subscription {
        let group = Arc::new(Self {
            state: SubscriptionState::new(name),
            parts,
            ending: AtomicBool::new(false),
            passed_over,
        });
        for part in &group.parts {
            let waker = Waker::from(Arc::new(PartEnd(Arc::clone(&group))));
            if !part.source().state().wake_at_end(&mut None, &waker) {
                waker.wake();
            }
        }
        Subscription::from_source(group)
    }

    /// The subscription that a stopped mux returns.
    pub(super) fn ended(name: Option<Arc<str>>) -> Subscription {
        let group = Self {
            state: SubscriptionState::new(name),
            parts: Box::new([]),
            ending: AtomicBool::new(true),
            passed_over: Arc::new(AtomicU64::new(0)),
        };
        group.finish();
        Subscription::from_source(Arc::new(group))
    }

    fn part_ended(&self) {
        // The ends of the other parts call this as well.
        if !self.ending.swap(true, Ordering::AcqRel) {
            self.cancel_soon();
            self.finish();
        }
    }

    fn finish(&self) {
        self.state
            .end(self.parts.iter().find_map(Subscription::error));
    }
}

impl SubscriptionSource for Group {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.cancel_soon();
        for part in &self.parts {
            part.unsubscribe();
        }
        // The thread that ended the first part may not have done this yet.
        self.finish();
    }

    fn cancel_soon(&self) {
        for part in self.parts.iter().filter(|part| !part.is_closed()) {
            part.source().cancel_soon();
        }
    }

    fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        let mut blocked_for = Duration::ZERO;
        for part in &self.parts {
            let stats = part.stats();
            sum.delivered += stats.delivered;
            sum.dropped += stats.dropped;
            sum.blocked += stats.blocked;
            blocked_for = blocked_for.saturating_add(stats.blocked_for);
            // Each part reports the depth of the one channel.
            sum.depth = sum.depth.or(stats.depth);
        }
        sum.blocked_for = blocked_for;
        let passed_over = self.passed_over.load(Ordering::Relaxed);
        sum.delivered = sum.delivered.saturating_sub(passed_over);
        sum
    }
}

/// Reports the end of a part.
///
/// It owns the group, which owns its parts. This cycle keeps a detached subscription alive. The end
/// of the part, and with it the end of the mux, breaks the cycle.
struct PartEnd(Arc<Group>);

impl Wake for PartEnd {
    fn wake(self: Arc<Self>) {
        self.0.part_ended();
    }
}
