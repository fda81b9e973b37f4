//! How many entries a member of a group may have at a time.
//!
//! The server gives a member as many new entries as it asks for. A member that asked for as many as
//! its buffer holds would take a burst from the others. So a member has the entries that its
//! handlers have, one more, and as many as they settle in [`AHEAD`] to twice that time.

use std::time::{Duration, Instant};

/// The shortest time for which the handlers of a member should have work without another read.
const AHEAD: Duration = Duration::from_millis(20);

/// After this time without a settled entry, a member counts as slow again.
const IDLE: Duration = Duration::from_secs(1);

/// The measured pace of a member's handlers.
#[derive(Debug)]
pub(crate) struct Pace {
    least: usize,
    most: usize,
    window: usize,
    /// How many entries were settled since the last measurement, or since the member last had none:
    /// the time in which it waits for the server must not count as slow handling.
    settled: usize,
    since: Instant,
    /// When the last entry was settled.
    last: Instant,
}

impl Pace {
    pub(crate) fn new(concurrency: usize, buffer: usize) -> Self {
        let least = concurrency.saturating_add(1);
        let now = Instant::now();
        Pace {
            least,
            most: concurrency.saturating_add(buffer).max(least),
            window: least,
            settled: 0,
            since: now,
            last: now,
        }
    }

    /// Called when the member gets an entry and has no other.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.settled = 0;
        self.since = now;
    }

    pub(crate) fn settle(&mut self, now: Instant) {
        self.settled += 1;
        self.last = now;
    }

    /// Whether a member with this many entries should read again. It waits until it has half of the
    /// entries it may have, so that it does not read for each entry, unless a handler has no next
    /// entry.
    pub(crate) fn is_low(&self, held: usize) -> bool {
        held < self.least || 2 * held <= self.window
    }

    /// How many entries the member may have now. The number doubles each time that so many entries
    /// were settled within [`AHEAD`], and otherwise follows the pace.
    pub(crate) fn window(&mut self, now: Instant) -> usize {
        if self.settled == 0 {
            if now.saturating_duration_since(self.last) >= IDLE {
                self.window = self.least;
            }
            return self.window;
        }
        let elapsed = self.last.saturating_duration_since(self.since);
        if elapsed >= AHEAD {
            let parts = elapsed.as_micros() / AHEAD.as_micros();
            let part = usize::try_from(parts).map_or(0, |parts| self.settled / parts.max(1));
            self.measured(2 * part);
        } else if self.settled >= self.window {
            self.measured(2 * self.window);
        }
        self.window
    }

    fn measured(&mut self, window: usize) {
        self.window = window.clamp(self.least, self.most);
        self.settled = 0;
        self.since = self.last;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{AHEAD, IDLE, Pace};

    fn settle(pace: &mut Pace, count: usize, now: Instant) {
        (0..count).for_each(|_| pace.settle(now));
    }

    #[test]
    fn a_slow_member_has_one_more_than_its_handlers() {
        let mut pace = Pace::new(3, 256);
        let start = pace.since;
        for step in 1..10 {
            settle(&mut pace, 3, start + 10 * AHEAD * step);
            assert_eq!(pace.window(start + 10 * AHEAD * step), 4);
        }
        // With two long handlers, there is a place for one message that a handler can begin next,
        // and one for a message after it.
        assert!(pace.is_low(2) && pace.is_low(3) && !pace.is_low(4));
    }

    #[test]
    fn a_quick_member_fills_its_buffer_until_it_has_been_idle() {
        let mut pace = Pace::new(1, 256);
        let mut now = pace.since;
        let windows: Vec<usize> = (0..9)
            .map(|_| {
                let window = pace.window(now);
                // The server's answer takes longer than the handlers.
                now += 4 * AHEAD;
                pace.begin(now);
                now += Duration::from_millis(1);
                settle(&mut pace, window, now);
                window
            })
            .collect();
        assert_eq!(windows, [2, 4, 8, 16, 32, 64, 128, 256, 257]);
        assert_eq!(pace.window(now), 257);
        assert_eq!(pace.window(now + IDLE / 2), 257);
        assert_eq!(pace.window(now + IDLE), 2);
    }

    #[test]
    fn it_follows_the_pace() {
        let mut pace = Pace::new(1, 256);
        let start = pace.since;
        settle(&mut pace, 40, start + 4 * AHEAD);
        assert_eq!(pace.window(start + 4 * AHEAD), 20);
        assert!(pace.is_low(10) && !pace.is_low(11));
    }
}
