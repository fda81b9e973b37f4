//! How fast senders go: bursts and rests, so that all threads make progress on two cores.

use std::thread;
use std::time::Duration;

use crate::random::Random;

/// Where a sender is in its burst.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    left: u64,
}

impl Pace {
    /// To be called before each send.
    pub(crate) fn keep(&mut self, random: &mut Random) {
        if self.left > 0 {
            self.left -= 1;
            return;
        }
        thread::sleep(Duration::from_micros(random.between(50, 4000)));
        // Now and then one that fills every channel.
        self.left = if random.once_in(50) {
            random.between(500, 4000)
        } else {
            random.below(40)
        };
    }
}
