//! How much is measured.

use std::time::Duration;

use crate::link::CAPACITY;

/// A ring or channel has just wrapped around.
const LITTLE: u64 = CAPACITY as u64 * 9 / 8;

/// How many rounds, how long, and with how many readers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds that count; one more goes before them and does not.
    pub(crate) rounds: usize,
    /// The least values that a run is made of. They are more than there is room for, or it would be
    /// the setting up that is measured.
    pub(crate) least: u64,
    /// How long a contender has the floor in a round.
    pub(crate) turn: Duration,
    /// How long one is paced in a round.
    pub(crate) paced: Duration,
    /// How long one is watched doing nothing.
    pub(crate) idle: Duration,
    /// The numbers of readers that are asked about.
    pub(crate) readers: &'static [usize],
    /// Whether it is only shown that everything works: nothing is sized by the clock.
    pub(crate) is_smoke: bool,
}

impl Plan {
    /// The whole measurement.
    pub(crate) const FULL: Self = Self {
        rounds: 7,
        least: 2 * CAPACITY as u64,
        turn: Duration::from_millis(60),
        paced: Duration::from_millis(150),
        idle: Duration::from_millis(250),
        readers: &[1, 8, 64, 1000],
        is_smoke: false,
    };

    /// In less than a minute, and as much noisier.
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        least: LITTLE,
        turn: Duration::from_millis(10),
        paced: Duration::from_millis(20),
        idle: Duration::from_millis(50),
        readers: &[1, 8, 1000],
        is_smoke: false,
    };

    /// Once through everything.
    pub(crate) const SMOKE: Self = Self {
        rounds: 1,
        least: LITTLE,
        turn: Duration::ZERO,
        paced: Duration::from_millis(2),
        idle: Duration::from_millis(10),
        readers: &[1, 8, 64, 1000],
        is_smoke: true,
    };
}
