//! Yielding the processor, as long as that is quick.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::sync::{spin_loop, thread_local, yield_now};

/// A longer yield has given the processor to threads that use up their time slices. While the
/// threads of one program take turns, most yields take some microseconds.
const QUICK: Duration = Duration::from_micros(500);

/// About the time to park and to be woken, on a busy machine. A yield is not slow if one value was
/// moved for each of these, however long it took: many threads had their turns, each with many
/// values.
const SWITCH: Duration = Duration::from_micros(50);

/// The number of yields that are left out after a slow one: at first, and at most. The first number
/// of parks takes about as long as the slow yield.
const LEFT_OUT: (u32, u32) = (16, 4096);

/// After this many quick yields a slow one counts as the first again.
const FORGOTTEN: u32 = 64;

thread_local! {
    /// The slow yields of this thread.
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    static SLOW: Slow = const { Slow::new() };
}

/// Yields the processor to other threads, if that has been quick lately. Returns whether it did; if
/// not, the caller should park or sleep.
///
/// On an idle machine, a yield runs the thread that the caller waits for at once, and costs less
/// than to park and to be woken. But if other threads compute on the same core, the scheduler gives
/// each of them a whole time slice, some milliseconds, before the caller runs again. A thread that
/// is woken from a park does not wait for that: it may run at once, because it has used less than
/// its share.
///
/// `progress` counts the values that other threads put or take.
pub(crate) fn yield_if_quick(progress: impl Fn() -> u64) -> bool {
    SLOW.with(|slow| {
        slow.yields(|| {
            let (begun, before) = (Instant::now(), progress());
            yield_now();
            (begun.elapsed(), progress().wrapping_sub(before))
        })
    })
}

fn is_slow(took: Duration, values: u64) -> bool {
    took > QUICK && u128::from(values) * SWITCH.as_nanos() < took.as_nanos()
}

/// Decides which yields of a thread are left out.
#[derive(Debug)]
struct Slow {
    /// The number of yields still to leave out.
    left: Cell<u32>,
    /// The number that was left out after the last slow yield.
    last: Cell<u32>,
    /// The number of quick yields after that.
    quick: Cell<u32>,
}

impl Slow {
    const fn new() -> Self {
        Self {
            left: Cell::new(0),
            last: Cell::new(0),
            quick: Cell::new(0),
        }
    }

    /// Calls `yields`, unless this yield is left out. It returns how long it took, and how many
    /// values were moved meanwhile.
    fn yields(&self, yields: impl FnOnce() -> (Duration, u64)) -> bool {
        if let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            return false;
        }
        let (took, values) = yields();
        if !is_slow(took, values) {
            self.quick.set(self.quick.get().saturating_add(1));
            return true;
        }
        let last = if self.quick.take() < FORGOTTEN {
            self.last.get()
        } else {
            0
        };
        let next = (last * 4).clamp(LEFT_OUT.0, LEFT_OUT.1);
        self.left.set(next);
        self.last.set(next);
        true
    }
}

/// The waits between looks at what another thread is about to do: spins, each twice as long as the
/// last, and then yields.
#[derive(Debug, Default)]
pub(crate) struct Snooze {
    round: u32,
}

impl Snooze {
    const SPINS: u32 = 7;
    const YIELDS: u32 = 4;

    /// Whether it has yielded as often as it should before the caller parks. It continues to yield
    /// after that.
    pub(crate) fn is_completed(&self) -> bool {
        self.round >= Self::SPINS + Self::YIELDS
    }

    /// Waits a little. Returns false if it did not wait because yields have been slow: the caller
    /// should park.
    pub(crate) fn snooze(&mut self) -> bool {
        let waited = if self.round < Self::SPINS {
            (0..1 << self.round).for_each(|_| spin_loop());
            true
        } else {
            yield_if_quick(|| 0)
        };
        if !self.is_completed() {
            self.round += 1;
        }
        waited
    }

    /// Begins again, with spins.
    pub(crate) fn reset(&mut self) {
        self.round = 0;
    }
}

#[cfg(all(test, not(any(fanfeed_loom, fanfeed_shuttle))))]
mod tests {
    use std::time::Duration;

    use super::{FORGOTTEN, LEFT_OUT, QUICK, SWITCH, Slow, is_slow};

    const SLOW: (Duration, u64) = (Duration::from_millis(3), 1);
    const SHORT: (Duration, u64) = (Duration::from_micros(1), 0);

    /// How many yields are left out before the next one.
    fn left_out(slow: &Slow) -> u32 {
        let mut left_out = 0;
        while !slow.yields(|| SHORT) {
            left_out += 1;
        }
        left_out
    }

    #[test]
    fn yields_are_left_out_after_slow_ones_more_each_time() {
        let slow = Slow::new();
        assert_eq!(left_out(&slow), 0);
        let counts = [(); 6].map(|()| {
            assert!(slow.yields(|| SLOW));
            left_out(&slow)
        });
        assert_eq!(counts, [16, 64, 256, 1024, 4096, 4096]);
    }

    #[test]
    fn slow_yields_are_forgotten_after_many_quick_ones() {
        let slow = Slow::new();
        slow.yields(|| SLOW);
        assert_eq!(left_out(&slow), LEFT_OUT.0);
        (1..FORGOTTEN).for_each(|_| assert!(slow.yields(|| SHORT)));
        slow.yields(|| SLOW);
        assert_eq!(left_out(&slow), LEFT_OUT.0);
    }

    #[test]
    fn a_long_yield_in_which_many_values_were_moved_is_not_slow() {
        assert!(!is_slow(QUICK, 0));
        assert!(is_slow(QUICK * 2, 0));
        assert!(is_slow(QUICK * 2, 19));
        assert!(!is_slow(SWITCH * 20, 20));
        assert!(!is_slow(SWITCH * 20, u64::MAX));
    }
}
