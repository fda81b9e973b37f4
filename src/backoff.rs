//! How long to wait before trying again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The waits between attempts that keep failing.
///
/// The step starts at a tenth of `max` and doubles with each attempt that failed quickly, up to
/// `max`. An attempt that lasted longer than `max` before it failed resets the step to a tenth.
/// Each wait is drawn uniformly from the upper half of the step: it is never longer than the step
/// and never shorter than half of it. So many clients that lost the same server do not return to it
/// at the same moment.
///
/// | attempts that failed quickly | 1 | 2 | 3 | 4 | 5 and more |
/// |---|---|---|---|---|---|
/// | longest wait after the last, of `max` | 1/10 | 2/10 | 4/10 | 8/10 | all |
/// | shortest | 1/20 | 1/10 | 2/10 | 4/10 | half |
///
/// A `max` below one millisecond counts as one millisecond, so that even a `max` of zero does not
/// turn failures into a busy loop. A `max` above 2^64 - 1 nanoseconds (584 years) counts as that
/// limit.
///
/// A `Backoff` reads no clock: the caller says how long an attempt lasted, and the `Backoff` says
/// how long to wait. So a simulated clock can drive it. Two that have the same seed and get the
/// same durations give the same waits.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use fanfeed::Backoff;
///
/// let mut backoff = Backoff::with_seed(Duration::from_secs(10), 7);
/// let first = backoff.next_wait(Duration::ZERO);
/// assert!(Duration::from_millis(500) <= first && first <= Duration::from_secs(1));
/// let second = backoff.next_wait(Duration::ZERO);
/// assert!(Duration::from_secs(1) <= second && second <= Duration::from_secs(2));
/// let after_a_long_attempt = backoff.next_wait(Duration::from_secs(11));
/// assert!(after_a_long_attempt <= Duration::from_secs(1));
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    /// In nanoseconds, as is `step`.
    max: u64,
    /// The next wait is drawn from this, unless the attempt before it was a long one. From
    /// `first_step()` to `max`.
    step: u64,
    random: SplitMix64,
}

impl Backoff {
    const SHORTEST_MAX: u64 = 1_000_000;

    /// A backoff with a random seed.
    pub fn new(max: Duration) -> Self {
        // The keys of a `RandomState` are the only random numbers that std offers.
        Self::with_seed(max, RandomState::new().hash_one(()))
    }

    /// A backoff whose waits are determined by `seed`.
    pub fn with_seed(max: Duration, seed: u64) -> Self {
        let max = u64::try_from(max.as_nanos())
            .unwrap_or(u64::MAX)
            .max(Self::SHORTEST_MAX);
        let mut backoff = Self {
            max,
            step: 0,
            random: SplitMix64(seed),
        };
        backoff.step = backoff.first_step();
        backoff
    }

    /// The limit of every wait: the `max` that was given, clamped to the bounds above.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// How long to wait before the next attempt, after an attempt that failed and lasted
    /// `attempt_lasted`.
    pub fn next_wait(&mut self, attempt_lasted: Duration) -> Duration {
        if attempt_lasted > self.max() {
            self.step = self.first_step();
        }
        let wait = self.step - self.random.below(self.step / 2 + 1);
        self.step = self.step.saturating_mul(2).min(self.max);
        Duration::from_nanos(wait)
    }

    fn first_step(&self) -> u64 {
        self.max / 10
    }
}

/// A backoff with this `max` and a random seed.
impl From<Duration> for Backoff {
    fn from(max: Duration) -> Self {
        Self::new(max)
    }
}

/// SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (OOPSLA
/// 2014), with the constants of Vigna's public-domain `splitmix64.c`. It has no bad seed, and
/// jitter needs no more than that.
#[derive(Debug, Clone)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number less than `bound`. The bias is less than `bound` in 2^64, which no wait can show.
    fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product, which is less than either factor.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::SplitMix64;

    #[test]
    fn the_generator_is_the_published_one() {
        // The first numbers of splitmix64.c from the seed 1234567.
        let mut random = SplitMix64(1_234_567);
        assert_eq!(
            [random.next(), random.next(), random.next()],
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
