//! How a receiver that polls avoids taking values one at a time.

use std::cell::Cell;
use std::mem;

use crate::sync::{MODELLED, spin_loop, thread_local};

/// How many values a receiver had taken when it last knew of no more.
///
/// A receiver that polls may take values as fast as they come, a few at a time. Then the senders
/// wait for a cache line with each value. So the receiver pauses, and then finds several values.
///
/// If several values have come, the stream is quick, and a longer pause lets it fill many cache
/// lines. The pause is shorter the more other receivers have paused on the thread since, because a
/// receiver's turn is a pause for the others, too.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    taken: u32,
    /// The thread's [`LOOKS`] after the last look that counted.
    looks: u16,
}

impl Pace {
    /// A receiver pauses if it has taken fewer values than this since the last time, and fewer than
    /// can be there at the same time.
    const FEW: u32 = 32;
    /// A stream is quick if this many values have come, or more.
    const MANY: u32 = 8;

    /// Called when the receiver of a channel of this capacity has taken `taken` values in all, and
    /// knows of no more. Returns true if it has paused.
    #[inline]
    pub(crate) fn pauses(&mut self, taken: u32, capacity: usize) -> bool {
        let since = taken.wrapping_sub(mem::replace(&mut self.taken, taken));
        let few = capacity.min(Self::FEW as usize) as u32;
        let keeps_pace = !MODELLED && (1..few).contains(&since);
        if keeps_pace {
            pause(self.hints(since, capacity));
        }
        keeps_pace
    }

    /// Called when the receiver has taken `taken` values in all, and may know of more.
    #[inline]
    pub(crate) fn goes_on(&mut self, taken: u32) {
        self.taken = taken;
    }

    /// How many spin hints to pause for after `since` values, which are few.
    #[cold]
    #[inline(never)]
    fn hints(&mut self, since: u32, capacity: usize) -> u32 {
        let others = others_since(&mut self.looks);
        // The pause may bring eight times as many values. They must take up at most half of the
        // channel.
        if since < Self::MANY || since as usize * 16 > capacity {
            return HINTS;
        }
        HINTS_OF_QUICK
            .saturating_sub(HINTS_OF_QUICK / 16 * u32::from(others))
            .max(HINTS)
    }
}

/// Like [`Pace`], for a receiver that pauses before it looks, and so also pauses when it would find
/// a value.
///
/// The pause is shorter the more often other receivers have looked on its thread since it last
/// looked, because their looks take time, too. So a thread that polls many receivers in turn does
/// not pause for each.
#[derive(Debug)]
pub(crate) struct PaceBefore {
    /// As in [`Pace`], modulo 2^16: then many values may look like few, which costs a pause.
    taken: u16,
    /// The thread's [`LOOKS`] after the last look.
    looks: u16,
}

thread_local! {
    /// How many looks receivers have made on this thread. Looks after many values do not count.
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    static LOOKS: Cell<u16> = const { Cell::new(0) };
}

/// Counts a look, and returns how many other looks the thread has made since `last`. Sets `last` to
/// the new count.
fn others_since(last: &mut u16) -> u16 {
    let looks = LOOKS.with(Cell::get);
    LOOKS.with(|all| all.set(looks.wrapping_add(1)));
    looks.wrapping_sub(mem::replace(last, looks.wrapping_add(1)))
}

/// The number of spin hints that take about as long as another receiver's look and its taking of a
/// value.
const HINTS_OF_LOOK: u32 = 2;

impl PaceBefore {
    /// For a receiver whose count of taken values begins at `taken`.
    pub(crate) fn new(taken: u64) -> Self {
        Self {
            taken: taken as u16,
            looks: 0,
        }
    }

    /// Called when the receiver has taken `taken` values in all, knows of no more, and is about to
    /// look. Pauses if it looks too often.
    #[inline]
    pub(crate) fn pause(&mut self, taken: u64) {
        let since = self.since(taken);
        if !MODELLED && u32::from(since) < Pace::FEW {
            pause(self.hints(since));
        }
    }

    /// How many values the receiver has taken since its last look.
    #[inline]
    fn since(&mut self, taken: u64) -> u16 {
        (taken as u16).wrapping_sub(mem::replace(&mut self.taken, taken as u16))
    }

    /// How many spin hints to pause for after `since` values, which are few.
    #[cold]
    #[inline(never)]
    fn hints(&mut self, since: u16) -> u32 {
        let others = others_since(&mut self.looks);
        if since == 0 {
            return 0;
        }
        HINTS.saturating_sub(HINTS_OF_LOOK * u32::from(others))
    }
}

/// The length of a pause, in spin hints.
const HINTS: u32 = 32;
/// The length of a pause in a quick stream, in spin hints.
const HINTS_OF_QUICK: u32 = 256;

/// 32 hints take 0.8 microseconds if a spin hint takes 24 ns. Not inlined, so that the code of a
/// receiver that does not pause stays short.
#[cold]
#[inline(never)]
fn pause(hints: u32) {
    (0..hints).for_each(|_| spin_loop());
}

#[cfg(test)]
mod tests {
    use super::{HINTS, HINTS_OF_LOOK, HINTS_OF_QUICK, Pace, PaceBefore};

    #[test]
    fn a_receiver_pauses_once_after_few_values() {
        let mut pace = Pace {
            taken: u32::MAX,
            looks: 0,
        };
        let taken: [u32; 8] = [u32::MAX, 0, 0, 31, 63, 94, 94, 200];
        let paused = taken.map(|taken| pace.pauses(taken, 64));
        let expected = [false, true, false, true, false, true, false, false];
        assert_eq!(paused, expected);
    }

    #[test]
    fn a_receiver_that_has_taken_a_whole_channel_does_not_pause() {
        for (most, paused) in [(1, false), (2, false), (3, true)] {
            assert_eq!(Pace::default().pauses(2, most), paused);
        }
    }

    #[test]
    fn a_receiver_of_a_quick_stream_pauses_for_longer() {
        let mut pace = Pace::default();
        let hints = |pace: &mut Pace, since, capacity| {
            // The thread's first look may come after many others.
            pace.hints(since, capacity);
            pace.hints(since, capacity)
        };
        for (since, capacity, expected) in [
            (7, 1024, HINTS),
            (8, 1024, HINTS_OF_QUICK),
            (31, 1024, HINTS_OF_QUICK),
            (8, 128, HINTS_OF_QUICK),
            (9, 128, HINTS),
            (31, 256, HINTS),
        ] {
            assert_eq!(hints(&mut pace, since, capacity), expected, "{since}");
        }
        let mut all: Vec<_> = (0..16).map(|_| Pace::default()).collect();
        let mut turn = |count: usize| {
            let hints = all[..count].iter_mut().map(|pace| pace.hints(31, 1024));
            hints.max()
        };
        turn(16);
        assert_eq!(turn(16), Some(HINTS));
        turn(4);
        assert_eq!(turn(4), Some(HINTS_OF_QUICK / 16 * 13));
    }

    #[test]
    fn a_receiver_that_may_know_of_more_values_does_not_pause() {
        let mut pace = Pace::default();
        pace.goes_on(8);
        assert!(!pace.pauses(8, 1024));
        assert!(pace.pauses(16, 1024));
    }

    /// The number of hints that a look pauses for.
    fn look(pace: &mut PaceBefore, taken: u64) -> u32 {
        let since = pace.since(taken);
        if u32::from(since) < Pace::FEW {
            pace.hints(since)
        } else {
            0
        }
    }

    #[test]
    fn a_receiver_pauses_for_less_the_more_others_look() {
        const WHOLE: u32 = HINTS;
        let mut pace = PaceBefore::new(u64::MAX);
        let taken = [u64::MAX, 0, 0, 31, 63, 94, 94, 200];
        let hints = taken.map(|taken| look(&mut pace, taken));
        // The first look may come after any number of the thread's looks, but after no values.
        assert_eq!(hints, [0, WHOLE, 0, WHOLE, 0, WHOLE, 0, 0]);

        let mut all: Vec<_> = (0..20).map(|_| PaceBefore::new(0)).collect();
        let mut turn = |count: usize, taken: u64| {
            let hints = all[..count].iter_mut().map(|pace| look(pace, taken));
            hints.max()
        };
        assert_eq!(turn(20, 0), Some(0));
        assert_eq!(turn(20, 1), Some(0));
        assert_eq!(
            turn(5, 2).zip(turn(5, 3)),
            Some((0, WHOLE - 4 * HINTS_OF_LOOK))
        );
        assert_eq!(
            turn(1, 4).zip(turn(1, 5)),
            Some((WHOLE - 4 * HINTS_OF_LOOK, WHOLE))
        );
    }
}
