//! How much is measured.

/// How many rounds, and at which sizes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds that count.
    pub(crate) rounds: usize,
    /// The rounds of sizes from [`MOST`] on, if that is fewer: one of them takes half a minute.
    pub(crate) rounds_of_most: usize,
    /// The numbers of subscribers, in ascending order.
    pub(crate) subscribers: &'static [usize],
    /// The numbers of blocked threads, in ascending order.
    pub(crate) threads: &'static [usize],
    /// The numbers of tasks, in ascending order.
    pub(crate) tasks: &'static [usize],
    /// Smaller sizes are left out.
    pub(crate) from: usize,
    /// Greater sizes are left out.
    pub(crate) up_to: usize,
    /// Small sizes are repeated until a run has done this for so many items.
    pub(crate) items: usize,
    /// Whether the run only shows that everything works, and prints no figures.
    pub(crate) is_smoke: bool,
}

/// From this size on there are fewer rounds.
const MOST: usize = 1_000_000;

impl Plan {
    /// The whole measurement.
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        rounds_of_most: 3,
        subscribers: &[10, 100, 1_000, 10_000, 100_000, 1_000_000],
        threads: &[1, 10, 100, 1_000],
        tasks: &[10, 100, 1_000, 3_000, 30_000],
        from: 0,
        up_to: usize::MAX,
        items: 10_000,
        is_smoke: false,
    };

    /// In a fraction of the time, and noisier.
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        rounds_of_most: 3,
        subscribers: &[10, 1_000, 100_000],
        threads: &[1, 10, 100],
        tasks: &[10, 300, 3_000],
        from: 0,
        up_to: usize::MAX,
        items: 2_000,
        is_smoke: false,
    };

    /// Once through everything.
    pub(crate) const SMOKE: Self = Self {
        rounds: 1,
        rounds_of_most: 1,
        subscribers: &[1, 10, 300],
        threads: &[1, 10],
        tasks: &[1, 10, 100],
        from: 0,
        up_to: usize::MAX,
        items: 1,
        is_smoke: true,
    };

    /// How many rounds this size has.
    pub(crate) fn rounds_at(&self, size: usize) -> usize {
        if size < MOST {
            self.rounds
        } else {
            self.rounds.min(self.rounds_of_most)
        }
    }

    /// How often a run of this size is repeated.
    pub(crate) fn repeats(&self, size: usize) -> usize {
        (self.items / size).max(1)
    }
}
