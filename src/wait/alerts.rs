//! When a blocked send is reported with feature `tracing`.

use std::time::{Duration, Instant};

/// A send that is blocked for this long is reported, unless a threshold was set.
const THRESHOLD: Duration = Duration::from_secs(1);
/// The shortest and the longest pause after a report.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(64));

/// Limits the reports of the sends that one subscriber, or one ring, blocks.
///
/// A wait is due once it has lasted for the threshold. A pause follows each report, twice as long
/// as the one before, so a wait that goes on is reported at durations that double. Once no wait was
/// due for the length of a pause after its end, the pauses begin again with the shortest.
#[derive(Debug)]
pub(crate) struct Alerts {
    threshold: Duration,
    quiet_until: Option<Instant>,
    pause: Duration,
    suppressed: u64,
}

/// What has been reported of one wait.
#[derive(Debug)]
pub(crate) struct Told {
    since: Instant,
    /// Nothing is due before this, as far as is known.
    due: Option<Instant>,
    is_reported: bool,
}

/// A wait that is reported now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) blocked_for: Duration,
    /// How many waits have reached the threshold, and ended without a report, since the last report.
    pub(crate) suppressed: u64,
}

impl Told {
    pub(crate) fn new(since: Instant) -> Self {
        Self {
            since,
            due: None,
            is_reported: false,
        }
    }

    /// Whether the wait may be due, so that it is worth taking a lock to find out.
    pub(crate) fn may_be_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| now >= due)
    }

    /// When to ask again; `None` before the first look.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl Alerts {
    pub(crate) const fn new() -> Self {
        Self {
            threshold: THRESHOLD,
            quiet_until: None,
            pause: Duration::ZERO,
            suppressed: 0,
        }
    }

    pub(crate) fn set_threshold(&mut self, threshold: Duration) {
        self.threshold = threshold;
    }

    /// Looks at a wait that is under way. Returns a report if one is due.
    pub(crate) fn look(&mut self, told: &mut Told, now: Instant) -> Option<Report> {
        let reached = told.since.checked_add(self.threshold);
        // A time beyond the range of the clock never comes. Nor does this one.
        let far = || now + Duration::from_secs(1 << 30);
        let due = reached
            .unwrap_or_else(far)
            .max(self.quiet_until.unwrap_or(told.since));
        if now < due {
            told.due = Some(due);
            return None;
        }
        let shortest = PAUSES.0.max(self.threshold);
        if self
            .quiet_until
            .is_none_or(|until| now >= until + self.pause)
        {
            self.pause = shortest;
        }
        let quiet_until = now + self.pause;
        self.quiet_until = Some(quiet_until);
        self.pause = (2 * self.pause).min(PAUSES.1.max(shortest));
        told.due = Some(quiet_until);
        told.is_reported = true;
        Some(Report {
            blocked_for: now.saturating_duration_since(told.since),
            suppressed: std::mem::take(&mut self.suppressed),
        })
    }

    /// Looks at a wait that has ended. Returns a report if the wait was reported before, or if one
    /// is due.
    pub(crate) fn end(&mut self, mut told: Told, now: Instant) -> Option<Report> {
        let blocked_for = now.saturating_duration_since(told.since);
        if told.is_reported {
            return Some(Report {
                blocked_for,
                suppressed: std::mem::take(&mut self.suppressed),
            });
        }
        let report = self.look(&mut told, now);
        if report.is_none() && blocked_for >= self.threshold {
            self.suppressed += 1;
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Alerts, Report, Told};

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_wait_that_goes_on_is_reported_at_durations_that_double() {
        let start = Instant::now();
        let mut alerts = Alerts::new();
        let mut told = Told::new(start);
        let mut reported = Vec::new();
        for tenth in 0..5_000 {
            let now = start + Duration::from_millis(100 * tenth);
            if told.may_be_due(now) && alerts.look(&mut told, now).is_some() {
                reported.push((now - start).as_secs());
            }
        }
        assert_eq!(
            reported,
            [1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 320, 384, 448]
        );
        let now = start + seconds(500.0);
        let last = alerts.end(told, now).unwrap();
        assert_eq!(last.blocked_for, seconds(500.0));
    }

    #[test]
    fn waits_in_a_row_are_counted_and_reported_seldom() {
        let start = Instant::now();
        let mut alerts = Alerts::new();
        alerts.set_threshold(seconds(0.01));
        let mut reports = Vec::new();
        let mut now = start;
        // A thousand waits of 20 ms each, and as many that are too short to count.
        for _ in 0..1_000 {
            let told = Told::new(now);
            now += seconds(0.02);
            reports.extend(alerts.end(told, now));
            let told = Told::new(now);
            now += seconds(0.001);
            assert_eq!(alerts.end(told, now), None);
        }
        let told: u64 = reports.iter().map(|report| 1 + report.suppressed).sum();
        assert!((3..=5).contains(&reports.len()), "{reports:?}");
        assert!((300..=1_000).contains(&told), "{reports:?}");
        assert_eq!(
            reports[0],
            Report {
                blocked_for: seconds(0.02),
                suppressed: 0
            }
        );
        // After a calm, the pauses are short again.
        now += seconds(100.0);
        for expected in [1, 1] {
            let mut reported = 0;
            for _ in 0..50 {
                let told = Told::new(now);
                now += seconds(0.02);
                reported += usize::from(alerts.end(told, now).is_some());
            }
            assert_eq!(reported, expected);
        }
    }

    #[test]
    fn a_threshold_beyond_the_clock_is_never_reached() {
        let start = Instant::now();
        let mut alerts = Alerts::new();
        alerts.set_threshold(Duration::MAX);
        let mut told = Told::new(start);
        let later = start + seconds(1e6);
        assert_eq!(alerts.look(&mut told, later), None);
        assert!(!told.may_be_due(later + seconds(1e6)));
        assert_eq!(alerts.end(told, later), None);
    }
}
