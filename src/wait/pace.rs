//! How a receiver that polls keeps from taking values one at a time.

use std::cell::Cell;
use std::mem;

use crate::sync::{MODELLED, spin_loop, thread_local};

/// How many values a receiver had taken when it last had none left that it knew of.
///
/// A receiver that polls may take values as fast as they come, a few at a time. Then the senders wait for a cache line with each
/// value. So the receiver pauses, and then finds several values.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    taken: u32,
}

impl Pace {
    /// A receiver pauses if it has taken fewer values than this since the last time, and than there can be at once.
    const FEW: u32 = 32;

    /// The receiver has taken so many values, and knows of no other. There can be `most` at once. True if it has paused.
    #[inline]
    pub(crate) fn pauses(&mut self, taken: u32, most: usize) -> bool {
        let since = taken.wrapping_sub(mem::replace(&mut self.taken, taken));
        let few = most.min(Self::FEW as usize) as u32;
        let keeps_pace = !MODELLED && (1..few).contains(&since);
        if keeps_pace {
            pause(HINTS);
        }
        keeps_pace
    }
}

/// As [`Pace`], of a receiver that pauses before it looks, and so even where it would find a value.
///
/// It pauses for the shorter the more often other receivers have looked on its thread since it last did: their looks take time,
/// too. So a thread that polls many receivers in turn does not pause for each.
#[derive(Debug)]
pub(crate) struct PaceBefore {
    /// As in [`Pace`], modulo 2^16: many values may be taken for few, and cost a pause.
    taken: u16,
    /// The thread's [`LOOKS`] after the last look.
    looks: u16,
}

thread_local! {
    /// How many looks of this kind receivers have made on this thread. Looks after many values do not count.
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    static LOOKS: Cell<u16> = const { Cell::new(0) };
}

/// How many spin hints take about as long as another receiver's look and its taking a value.
const HINTS_OF_LOOK: u32 = 2;

impl PaceBefore {
    /// For a receiver whose count of taken values begins at `taken`.
    pub(crate) fn new(taken: u64) -> Self {
        Self {
            taken: taken as u16,
            looks: 0,
        }
    }

    /// The receiver has taken so many values, knows of no other, and is about to look. Pauses if it looks too often.
    #[inline]
    pub(crate) fn pause(&mut self, taken: u64) {
        let since = self.since(taken);
        if !MODELLED && u32::from(since) < Pace::FEW {
            pause(self.hints(since));
        }
    }

    /// How many values it has taken since its last look.
    #[inline]
    fn since(&mut self, taken: u64) -> u16 {
        (taken as u16).wrapping_sub(mem::replace(&mut self.taken, taken as u16))
    }

    /// For how many spin hints to pause after that many values, which are few.
    #[cold]
    #[inline(never)]
    fn hints(&mut self, since: u16) -> u32 {
        let looks = LOOKS.with(Cell::get);
        LOOKS.with(|all| all.set(looks.wrapping_add(1)));
        let others = looks.wrapping_sub(mem::replace(&mut self.looks, looks.wrapping_add(1)));
        if since == 0 {
            return 0;
        }
        HINTS.saturating_sub(HINTS_OF_LOOK * u32::from(others))
    }
}

/// How long a pause is, in spin hints.
const HINTS: u32 = 32;

/// Takes 0.8 microseconds where a spin hint takes 24 ns. It is not inlined, so that the code of a receiver that does not pause
/// stays short.
#[cold]
#[inline(never)]
fn pause(hints: u32) {
    (0..hints).for_each(|_| spin_loop());
}

#[cfg(test)]
mod tests {
    use super::{HINTS, HINTS_OF_LOOK, Pace, PaceBefore};

    #[test]
    fn a_receiver_pauses_once_after_few_values() {
        let mut pace = Pace { taken: u32::MAX };
        let taken: [u32; 8] = [u32::MAX, 0, 0, 31, 63, 94, 94, 200];
        let paused = taken.map(|taken| pace.pauses(taken, 64));
        let expected = [false, true, false, true, false, true, false, false];
        assert_eq!(paused, expected);
    }

    #[test]
    fn a_receiver_that_has_taken_all_that_there_can_be_does_not_pause() {
        for (most, paused) in [(1, false), (2, false), (3, true)] {
            assert_eq!(Pace { taken: 0 }.pauses(2, most), paused);
        }
    }

    /// For how many hints a look pauses.
    fn look(pace: &mut PaceBefore, taken: u64) -> u32 {
        let since = pace.since(taken);
        if u32::from(since) < Pace::FEW {
            pace.hints(since)
        } else {
            0
        }
    }

    #[test]
    fn a_receiver_pauses_for_the_shorter_the_more_others_look() {
        const WHOLE: u32 = HINTS;
        let mut pace = PaceBefore::new(u64::MAX);
        let taken = [u64::MAX, 0, 0, 31, 63, 94, 94, 200];
        let hints = taken.map(|taken| look(&mut pace, taken));
        // At its first look it may be anywhere among the thread's looks, but has taken nothing.
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
