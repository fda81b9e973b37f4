//! Growth: what an item costs at a greater size over what it costs at a smaller one.

use crate::stats::Spread;

/// A cost that rises by no more than this does not count as growth. One that rises by more grows
/// faster than a peer's if its growth is more than this times the peer's.
pub const LIMIT: f64 = 1.25;

/// What an item costs at two sizes, round by round, for one contender.
#[derive(Debug, Clone)]
pub struct Step {
    from: Vec<f64>,
    to: Vec<f64>,
}

/// How the growth of one contender compares with that of a peer, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It grows no faster.
    NoFaster,
    /// The peer's cost falls, and this one's does not, but it does not rise above [`LIMIT`] either.
    PeerFalls,
    /// It grows faster in the median of the rounds, and the spread of the rounds can explain that.
    Unsure,
    /// It grows faster, but costs less than the peer at both sizes.
    Cheaper,
    /// It grows faster, and costs more than the peer at one size or both.
    Faster,
}

impl Step {
    /// The costs at the smaller size and at the greater. Rounds that only one of them has do not
    /// count for ratios.
    ///
    /// # Panics
    ///
    /// If a size has no round.
    pub fn new(from: Vec<f64>, to: Vec<f64>) -> Self {
        assert!(!from.is_empty() && !to.is_empty(), "a cost has a round");
        Self { from, to }
    }

    fn rounds(&self) -> impl Iterator<Item = f64> {
        self.to.iter().zip(&self.from).map(|(to, from)| to / from)
    }

    /// The growth, round by round.
    pub fn growth(&self) -> Spread {
        Spread::of(self.rounds().collect())
    }

    /// This growth over that of a peer, round by round.
    pub fn over(&self, peer: &Self) -> Spread {
        self.over_at_least(peer, 0.0)
    }

    /// The same, where the peer's growth counts as `least` if it is less.
    fn over_at_least(&self, peer: &Self, least: f64) -> Spread {
        let rounds = self.rounds().zip(peer.rounds());
        Spread::of(rounds.map(|(ours, peer)| ours / peer.max(least)).collect())
    }

    /// The median costs, at the smaller size and at the greater.
    pub fn medians(&self) -> [f64; 2] {
        [&self.from, &self.to].map(|rounds| Spread::of(rounds.clone()).median)
    }

    /// Compares with a peer.
    ///
    /// A peer whose cost falls counts as one whose cost stays: a fixed cost that more items share
    /// makes any cost fall, and a contender without that fixed cost has not grown for it.
    pub fn compare(&self, peer: &Self) -> Verdict {
        if self.over(peer).median <= LIMIT || self.growth().median <= 1.0 {
            return Verdict::NoFaster;
        }
        if self.over_at_least(peer, 1.0).median <= LIMIT {
            return Verdict::PeerFalls;
        }
        let [(from, to), (peer_from, peer_to)] =
            [self, peer].map(|step| (middle(&step.from), middle(&step.to)));
        let least = to.least / from.greatest;
        let peer_greatest = peer_to.greatest / peer_from.least;
        if least <= peer_greatest.max(1.0) {
            return Verdict::Unsure;
        }
        let costs = self.medians().into_iter().zip(peer.medians());
        if costs.into_iter().all(|(ours, peer)| ours < peer) {
            Verdict::Cheaper
        } else {
            Verdict::Faster
        }
    }
}

/// The spread of a cost, without its least and its greatest round where there are enough.
fn middle(rounds: &[f64]) -> Spread {
    /// One round in which another program had the processor must not decide.
    const ENOUGH: usize = 5;
    let mut rounds = rounds.to_vec();
    rounds.sort_by(f64::total_cmp);
    if rounds.len() >= ENOUGH {
        rounds.pop();
        rounds.remove(0);
    }
    Spread::of(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five rounds that differ by two percent.
    fn steady(cost: f64) -> Vec<f64> {
        [0.99, 1.0, 1.01, 0.995, 1.005]
            .map(|factor| cost * factor)
            .to_vec()
    }

    /// Five rounds, of which the least and the greatest differ by three times.
    fn noisy(cost: f64) -> Vec<f64> {
        [0.6, 0.7, 1.0, 1.6, 1.8]
            .map(|factor| cost * factor)
            .to_vec()
    }

    fn step(from: f64, to: f64) -> Step {
        Step::new(steady(from), steady(to))
    }

    fn compare(ours: (f64, f64), peer: (f64, f64)) -> Verdict {
        step(ours.0, ours.1).compare(&step(peer.0, peer.1))
    }

    #[test]
    fn a_cost_that_rises_with_the_size_grows_faster_than_one_that_stays() {
        assert_eq!(compare((20.0, 200.0), (10.0, 10.0)), Verdict::Faster);
        assert_eq!(compare((20.0, 30.0), (10.0, 10.0)), Verdict::Faster);
        assert_eq!(compare((20.0, 25.5), (10.0, 10.0)), Verdict::Faster);
    }

    #[test]
    fn a_cost_that_rises_grows_faster_than_one_that_falls() {
        assert_eq!(compare((94.0, 129.0), (15.0, 11.6)), Verdict::Faster);
        assert_eq!(compare((94.0, 129.0), (15.0, 1.0)), Verdict::Faster);
    }

    #[test]
    fn a_cost_that_rises_grows_faster_than_one_that_rises_less() {
        assert_eq!(compare((20.0, 200.0), (10.0, 50.0)), Verdict::Faster);
        assert_eq!(compare((222.0, 583.0), (118.0, 207.0)), Verdict::Faster);
    }

    #[test]
    fn costs_that_rise_alike_grow_alike() {
        assert_eq!(compare((20.0, 200.0), (10.0, 100.0)), Verdict::NoFaster);
        assert_eq!(compare((20.0, 200.0), (10.0, 81.0)), Verdict::NoFaster);
        assert_eq!(compare((20.0, 24.5), (10.0, 10.0)), Verdict::NoFaster);
    }

    #[test]
    fn a_peer_that_falls_is_no_growth_of_the_other() {
        assert_eq!(compare((37.5, 38.3), (37.5, 21.3)), Verdict::PeerFalls);
        assert_eq!(compare((37.5, 46.0), (37.5, 21.3)), Verdict::PeerFalls);
        assert_eq!(compare((37.5, 47.5), (37.5, 21.3)), Verdict::Faster);
    }

    #[test]
    fn a_cost_that_falls_does_not_grow() {
        assert_eq!(compare((40.0, 30.0), (40.0, 10.0)), Verdict::NoFaster);
    }

    #[test]
    fn a_cost_that_is_less_at_both_sizes_is_named_apart() {
        assert_eq!(compare((10.0, 40.0), (50.0, 50.0)), Verdict::Cheaper);
        assert_eq!(compare((10.0, 51.0), (50.0, 50.0)), Verdict::Faster);
        assert_eq!(compare((51.0, 400.0), (50.0, 500.0)), Verdict::NoFaster);
        assert_eq!(compare((51.0, 400.0), (50.0, 200.0)), Verdict::Faster);
    }

    #[test]
    fn a_rise_within_the_spread_is_not_sure() {
        let ours = Step::new(noisy(20.0), noisy(30.0));
        assert_eq!(ours.compare(&step(10.0, 10.0)), Verdict::Unsure);
        let ours = Step::new(noisy(20.0), noisy(200.0));
        assert_eq!(ours.compare(&step(10.0, 10.0)), Verdict::Faster);
        let peer = Step::new(noisy(10.0), noisy(10.0));
        assert_eq!(step(20.0, 30.0).compare(&peer), Verdict::Unsure);
        assert_eq!(step(20.0, 200.0).compare(&peer), Verdict::Faster);
    }

    #[test]
    fn one_disturbed_round_of_five_does_not_decide() {
        let mut disturbed = steady(20.0);
        disturbed[2] = 900.0;
        let ours = Step::new(disturbed, steady(200.0));
        assert_eq!(ours.compare(&step(10.0, 10.0)), Verdict::Faster);
    }
}
