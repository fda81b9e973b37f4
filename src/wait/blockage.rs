//! The sends that are blocked on one subscriber: how many there were, and for how long.

use std::time::{Duration, Instant};

#[cfg(feature = "tracing")]
use super::alerts::{Alerts, Report, Told};
use super::line::{Key, Line};
use crate::sync::Mutex;

/// The waits that are under way, and the time that all waits have taken so far.
///
/// Waits that overlap add up: with n waits under way, the total grows n times as fast as the clock.
#[derive(Debug)]
pub(crate) struct Waits {
    /// When each wait under way began, in the order in which they were noted.
    under_way: Line<Instant>,
    /// Up to when the time of the waits under way is counted.
    counted: Option<Instant>,
}

impl Waits {
    pub(crate) const fn new() -> Self {
        Self {
            under_way: Line::new(),
            counted: None,
        }
    }

    /// The time that the waits under way have taken since the last call.
    pub(crate) fn count(&mut self, now: Instant) -> Duration {
        let counted = self.counted.replace(now).unwrap_or(now);
        // Threads read the clock before they take the lock, so `now` may be the earlier one.
        self.counted = Some(now.max(counted));
        let number = u32::try_from(self.under_way.len()).unwrap_or(u32::MAX);
        now.saturating_duration_since(counted)
            .saturating_mul(number)
    }

    /// Notes that a wait begins. The caller has called [`count`](Self::count).
    pub(crate) fn begin(&mut self, now: Instant) -> Key {
        self.under_way.push(now)
    }

    /// The time after `since` up to which the time of the waits under way is counted. A wait that
    /// begins at `since`, and is noted only now, has not been counted for that time.
    fn counted_after(&self, since: Instant) -> Duration {
        let later = self.counted.filter(|counted| *counted > since);
        later.map_or(Duration::ZERO, |counted| counted.duration_since(since))
    }

    /// Notes that a wait has ended. The caller has called [`count`](Self::count).
    pub(crate) fn end(&mut self, key: Key) {
        self.under_way.remove(key);
    }

    /// When the first of the waits under way that was noted began.
    pub(crate) fn longest_since(&self) -> Option<Instant> {
        self.under_way.first().copied()
    }
}

/// The figures of the sends that one subscriber has blocked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Blocked {
    /// How many waits have begun.
    pub(crate) count: u64,
    /// The time that all waits have taken, including those that are under way.
    pub(crate) total: Duration,
    /// For how long the longest of the waits under way has lasted.
    pub(crate) now: Option<Duration>,
}

/// Keeps the figures of the sends that one subscriber has blocked.
///
/// Only sends that are blocked take its lock: once when the wait ends, and once before that if the
/// thread parks or the task returns. Most waits of a running stream end while the thread still
/// looks for room, and take the lock once.
///
/// **The invariant.** Each wait is counted exactly once, with all of its time. While a thread is
/// parked, or a task is not polled, its wait is among those [under way](Waits). So the figures of
/// a wait that lasts include it. A wait that is not [shown](Self::show) yet belongs to a thread
/// that runs, and is missing in the figures for that long. It is counted when it is shown or ends.
///
/// Waits are in the order in which they are shown. So the longest wait may be reported as shorter
/// than it is, by the time that another send looked for room before it parked.
#[derive(Debug)]
pub(crate) struct Blockage(Mutex<State>);

#[derive(Debug)]
struct State {
    waits: Waits,
    count: u64,
    total: Duration,
    #[cfg(feature = "tracing")]
    alerts: Alerts,
}

/// The wait of one send. It must be [ended](Blockage::end).
#[derive(Debug)]
pub(crate) struct Wait {
    since: Instant,
    /// Its place among the waits under way, once it is shown.
    key: Option<Key>,
    #[cfg(feature = "tracing")]
    told: Told,
}

/// A wait that has ended.
#[derive(Debug, Default)]
#[must_use = "it may have to be reported"]
pub(crate) struct EndedWait {
    /// What to report of it.
    #[cfg(feature = "tracing")]
    pub(crate) report: Option<Report>,
}

impl Blockage {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            waits: Waits::new(),
            count: 0,
            total: Duration::ZERO,
            #[cfg(feature = "tracing")]
            alerts: Alerts::new(),
        }))
    }

    /// Shows a wait in the figures, unless it is shown already. Called before the thread parks or
    /// the task returns.
    pub(crate) fn show(&self, wait: &mut Wait) {
        if wait.key.is_none() {
            let mut state = self.0.lock();
            state.count += 1;
            state.count_time(wait.since);
            let counted = state.waits.counted_after(wait.since);
            state.total = state.total.saturating_add(counted);
            wait.key = Some(state.waits.begin(wait.since));
        }
    }

    /// Notes that a send no longer waits.
    pub(crate) fn end(&self, wait: Wait, now: Instant) -> EndedWait {
        let mut state = self.0.lock();
        if let Some(key) = wait.key {
            state.count_time(now);
            state.waits.end(key);
        } else {
            let lasted = now.saturating_duration_since(wait.since);
            state.count += 1;
            state.total = state.total.saturating_add(lasted);
        }
        EndedWait {
            #[cfg(feature = "tracing")]
            report: state.alerts.end(wait.told, now),
        }
    }

    /// Looks at a wait that is under way. Returns what to report of it now.
    #[cfg(feature = "tracing")]
    pub(crate) fn look(&self, wait: &mut Wait, now: Instant) -> Option<Report> {
        let is_due = wait.told.may_be_due(now);
        is_due.then(|| self.0.lock().alerts.look(&mut wait.told, now))?
    }

    /// Sets after which time a wait is reported.
    #[cfg(feature = "tracing")]
    pub(crate) fn set_threshold(&self, threshold: Duration) {
        self.0.lock().alerts.set_threshold(threshold);
    }

    pub(crate) fn figures(&self) -> Blocked {
        let mut state = self.0.lock();
        // Under the lock, so that the figures of successive calls never decrease.
        let now = Instant::now();
        state.count_time(now);
        let since = state.waits.longest_since();
        Blocked {
            count: state.count,
            total: state.total,
            now: since.map(|since| now.saturating_duration_since(since)),
        }
    }
}

impl Wait {
    /// A wait that has begun, and is not shown in the figures yet. This takes no lock.
    pub(crate) fn new(since: Instant) -> Self {
        Self {
            since,
            key: None,
            #[cfg(feature = "tracing")]
            told: Told::new(since),
        }
    }

    /// When to look at the wait again.
    #[cfg(feature = "tracing")]
    pub(crate) fn due(&self) -> Option<Instant> {
        self.told.due()
    }
}

impl State {
    fn count_time(&mut self, now: Instant) {
        self.total = self.total.saturating_add(self.waits.count(now));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Blockage, Wait, Waits};

    #[test]
    fn a_wait_is_counted_once_with_all_its_time_whether_it_is_shown_or_not() {
        let blockage = Blockage::new();
        let second = Duration::from_secs(1);
        let base = Instant::now().checked_sub(100 * second).unwrap();
        let at = |seconds| base + seconds * second;
        let total = || {
            let blocked = blockage.figures();
            (blocked.count, blocked.total)
        };
        // Ends before it is shown: the figures of the wait are those of any other.
        let short = Wait::new(at(0));
        assert_eq!(total(), (0, Duration::ZERO));
        let _ = blockage.end(short, at(3));
        assert_eq!(total(), (1, 3 * second));
        assert_eq!(blockage.figures().now, None);
        // Shown after the time of other waits was counted up to now.
        let mut first = Wait::new(at(10));
        let mut second_one = Wait::new(at(10));
        blockage.show(&mut first);
        blockage.show(&mut first);
        let alone = blockage.figures();
        assert_eq!(alone.count, 2);
        assert!(alone.total >= 93 * second && alone.now >= Some(90 * second));
        blockage.show(&mut second_one);
        let both = blockage.figures();
        assert_eq!(both.count, 3);
        assert!(both.total >= 183 * second, "{both:?}");
        assert!(both.total < 213 * second, "{both:?}");
        let now = Instant::now();
        let _ = blockage.end(first, now);
        let _ = blockage.end(second_one, now);
        let ended = blockage.figures();
        assert!(ended.total >= both.total && ended.now.is_none());
        assert_eq!(blockage.figures().total, ended.total);
    }

    #[test]
    fn waits_that_overlap_add_up_and_are_counted_while_they_last() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut waits = Waits::new();
        let mut total = Duration::ZERO;
        let mut until = |waits: &mut Waits, seconds| {
            total += waits.count(at(seconds));
            total.as_secs()
        };
        assert_eq!(until(&mut waits, 1), 0);
        let first = waits.begin(at(1));
        assert_eq!(until(&mut waits, 4), 3);
        let second = waits.begin(at(4));
        assert_eq!(until(&mut waits, 6), 7);
        assert_eq!(waits.longest_since(), Some(at(1)));
        waits.end(first);
        assert_eq!(waits.longest_since(), Some(at(4)));
        // A thread that read the clock earlier, and took the lock later.
        assert_eq!(until(&mut waits, 5), 7);
        assert_eq!(until(&mut waits, 8), 9);
        waits.end(second);
        assert_eq!(waits.longest_since(), None);
        assert_eq!(until(&mut waits, 100), 9);
    }
}
