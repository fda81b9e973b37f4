//! How many entries a member of a group may have at a time.
//!
//! The server gives a member as many new entries as it asks for, so a member that asked for all that its buffer holds would
//! take a burst from the others. A member has what its handlers have, one more, and what they settle in [`AHEAD`] to twice that time.

use std::time::{Duration, Instant};

/// For how long the handlers of a member should at least have work without another read.
const AHEAD: Duration = Duration::from_millis(20);

/// The measured pace of a member's handlers.
#[derive(Debug)]
pub(crate) struct Pace {
    least: usize,
    most: usize,
    window: usize,
    /// How many entries were settled since the last measurement, ...
    settled: usize,
    /// ... which was then.
    since: Instant,
}

impl Pace {
    pub(crate) fn new(concurrency: usize, buffer: usize) -> Self {
        let least = concurrency.saturating_add(1);
        Pace {
            least,
            most: concurrency.saturating_add(buffer).max(least),
            window: least,
            settled: 0,
            since: Instant::now(),
        }
    }

    pub(crate) fn settle(&mut self) {
        self.settled += 1;
    }

    /// Whether a member with this many entries should read again. It waits until it has half of them, so that it does not read
    /// for each single one.
    pub(crate) fn is_low(&self, held: usize) -> bool {
        2 * held <= self.window
    }

    /// How many entries the member may have now. The number doubles each time as many were settled within [`AHEAD`], and
    /// otherwise follows the pace.
    pub(crate) fn window(&mut self, now: Instant) -> usize {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= AHEAD {
            let parts = elapsed.as_micros() / AHEAD.as_micros();
            let part = usize::try_from(parts).map_or(0, |parts| self.settled / parts.max(1));
            self.measured(2 * part, now);
        } else if self.settled >= self.window {
            self.measured(2 * self.window, now);
        }
        self.window
    }

    fn measured(&mut self, window: usize, now: Instant) {
        self.window = window.clamp(self.least, self.most);
        self.settled = 0;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::{AHEAD, Pace};

    fn settled(pace: &mut Pace, count: usize) {
        (0..count).for_each(|_| pace.settle());
    }

    #[test]
    fn a_slow_member_has_one_more_than_its_handlers() {
        let mut pace = Pace::new(3, 256);
        let start = pace.since;
        for step in 0..10 {
            settled(&mut pace, 3);
            assert_eq!(pace.window(start + 10 * AHEAD * step), 4);
        }
    }

    #[test]
    fn a_quick_member_fills_its_buffer_until_it_has_been_idle() {
        let mut pace = Pace::new(1, 256);
        let start = pace.since;
        let windows: Vec<usize> = (0..9)
            .map(|_| {
                let window = pace.window(start);
                settled(&mut pace, window);
                window
            })
            .collect();
        assert_eq!(windows, [2, 4, 8, 16, 32, 64, 128, 256, 257]);
        settled(&mut pace, 2000);
        assert_eq!(pace.window(start + AHEAD), 257);
        assert_eq!(pace.window(start + 2 * AHEAD), 2);
    }

    #[test]
    fn it_follows_the_pace() {
        let mut pace = Pace::new(1, 256);
        let start = pace.since;
        settled(&mut pace, 40);
        assert_eq!(pace.window(start + 4 * AHEAD), 20);
        assert!(pace.is_low(10) && !pace.is_low(11));
    }
}
