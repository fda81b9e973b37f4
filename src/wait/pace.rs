//! How a receiver that polls keeps from taking values one at a time.

use std::mem;

use crate::sync::{MODELLED, spin_loop};

/// What a receiver had taken when it last found itself at the end of what it knew.
///
/// If a receiver polls, and takes values as fast as they come, a few at a time, then the senders wait for a cache line with
/// each of them. So it pauses, and then finds several.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    taken: u32,
}

impl Pace {
    /// How few values a receiver takes from one end to the next, for it to pause.
    const FEW: u32 = 32;
    /// For a receiver whose count of taken values begins at `taken`, and may wrap.
    pub(crate) fn new(taken: u32) -> Self {
        Self { taken }
    }

    /// The receiver has taken so many values, and knows of no other. True if it has paused.
    #[inline]
    pub(crate) fn pauses(&mut self, taken: u32) -> bool {
        let since = taken.wrapping_sub(mem::replace(&mut self.taken, taken));
        let keeps_pace = !MODELLED && (1..Self::FEW).contains(&since);
        if keeps_pace {
            pause();
        }
        keeps_pace
    }
}

/// 0.8 microseconds where a spin hint takes 24 ns. Out of the way of those who do not pause.
#[cold]
#[inline(never)]
fn pause() {
    (0..32).for_each(|_| spin_loop());
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn a_receiver_pauses_once_after_few_values() {
        let mut pace = Pace::new(u32::MAX);
        let taken: [u32; 8] = [u32::MAX, 0, 0, 31, 63, 94, 94, 200];
        let paused = taken.map(|taken| pace.pauses(taken));
        let expected = [false, true, false, true, false, true, false, false];
        assert_eq!(paused, expected);
    }
}
