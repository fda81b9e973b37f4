//! How much is measured.

use std::time::Duration;

/// How many rounds, how long, and with how many readers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds that count; one more goes before them and does not.
    pub(crate) rounds: usize,
    /// How long a contender has the floor in a round.
    pub(crate) turn: Duration,
    /// How long one is paced in a round.
    pub(crate) paced: Duration,
    /// How long one is watched doing nothing.
    pub(crate) idle: Duration,
    /// Whether it is only shown that everything works: nothing is sized by the clock.
    pub(crate) is_smoke: bool,
}

impl Plan {
    /// The whole measurement.
    pub(crate) const FULL: Self = Self {
        rounds: 7,
        turn: Duration::from_millis(80),
        paced: Duration::from_millis(300),
        idle: Duration::from_secs(1),
        is_smoke: false,
    };

    /// In less than a minute, and as much noisier.
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        turn: Duration::from_millis(10),
        paced: Duration::from_millis(40),
        idle: Duration::from_millis(100),
        is_smoke: false,
    };

    /// Once through everything.
    pub(crate) const SMOKE: Self = Self {
        rounds: 1,
        turn: Duration::ZERO,
        paced: Duration::from_millis(2),
        idle: Duration::from_millis(10),
        is_smoke: true,
    };

    /// The numbers of readers that are asked about.
    pub(crate) fn readers(&self) -> &'static [usize] {
        &[1, 8, 64, 1000]
    }
}
