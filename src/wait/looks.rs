//! How a receiver looks for a value before it parks.

use super::yields::yield_if_quick;
use crate::sync::{MODELLED, spin_loop};

/// Looks of a thread at a place that another core writes, at growing intervals.
///
/// A look at a value that has just been written moves a cache line between the cores. A receiver
/// that looks without a pause takes each value as soon as it is there, and the sender waits for the
/// line with each send. A receiver that first pauses finds several values, whose lines move
/// together. So a receiver pauses for longer before its first look while that look finds something,
/// and for less once it does not.
///
/// The pauses add up to some microseconds, after which the receiver yields a few times. Then the
/// thread must park.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// The logarithm of the number of pauses before the first look.
    first: u32,
}

impl Looks {
    /// The largest `first`: 64 pauses, a few microseconds.
    const LATEST: u32 = 6;
    /// Looks with pauses end before this round.
    const ROUNDS: u32 = 8;
    /// The number of looks after that, each after a yield, so that a sender on the same core gets
    /// its turn.
    const YIELDS: u32 = 4;

    /// Looks at `subject` until a value is there, or the thread must park. For `progress` see
    /// [`yield_if_quick`].
    pub(crate) fn until<S, R>(
        &mut self,
        subject: &mut S,
        look: impl FnMut(&mut S) -> Option<R>,
        progress: impl Fn(&S) -> u64,
    ) -> Option<R> {
        self.until_round((Self::ROUNDS, Self::YIELDS), subject, look, progress)
    }

    /// For a sender that waits for room. It pauses for long before its first look, so that the
    /// receiver makes room for several values. It yields early and often, because the receiver, or
    /// another waiting sender, may be on the same core.
    pub(crate) fn until_room<S, R>(
        subject: &mut S,
        look: impl FnMut(&mut S) -> Option<R>,
        progress: impl Fn(&S) -> u64,
    ) -> Option<R> {
        Self { first: 5 }.until_round((7, 2 * Self::YIELDS), subject, look, progress)
    }

    fn until_round<S, R>(
        &mut self,
        (rounds, yields): (u32, u32),
        subject: &mut S,
        mut look: impl FnMut(&mut S) -> Option<R>,
        progress: impl Fn(&S) -> u64,
    ) -> Option<R> {
        if MODELLED {
            return None;
        }
        for round in self.first..rounds {
            for _ in 0..1 << round {
                spin_loop();
            }
            if let Some(found) = look(subject) {
                self.first = if round == self.first {
                    (round + 1).min(Self::LATEST)
                } else {
                    self.first.saturating_sub(1)
                };
                return Some(found);
            }
        }
        self.first = self.first.saturating_sub(1);
        for _ in 0..yields {
            if !yield_if_quick(|| progress(subject)) {
                break;
            }
            let found = look(subject);
            if found.is_some() {
                return found;
            }
        }
        None
    }
}
