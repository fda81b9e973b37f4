//! Contenders take turns, so that the machine affects the same round of each in the same way. So
//! ratios are stable where absolute figures drift.

use fanfeed_benches::stats::Spread;
use fanfeed_benches::watchdog::Watchdog;

use crate::plan::Plan;

/// A contender: a name, how it waits, and a function that makes one round of figures, one for each
/// of the question's columns.
pub(crate) struct Contender {
    name: &'static str,
    waits: &'static str,
    measure: Box<dyn FnMut() -> Vec<f64>>,
}

impl Contender {
    /// A contender that measures itself.
    pub(crate) fn new(
        name: &'static str,
        waits: &'static str,
        measure: impl FnMut() -> Vec<f64> + 'static,
    ) -> Self {
        Self {
            name,
            waits,
            measure: Box::new(measure),
        }
    }
}

/// One table of a question.
#[derive(Default)]
pub(crate) struct Case {
    /// What tells it from the question's others.
    pub(crate) label: String,
    /// How many readers there are, if that is what the cases differ in.
    pub(crate) readers: Option<usize>,
    /// The contenders. The ratios are to the first.
    pub(crate) contenders: Vec<Contender>,
    /// Pairs of contenders to compare as well.
    pub(crate) pairs: Vec<(&'static str, &'static str)>,
    /// The ratio that the first should reach to the best peer.
    pub(crate) goal: Option<Goal>,
}

/// What the first contender's first figure has to be over that of the best peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    /// How many contenders are ours: the peers come after them.
    pub(crate) ours: usize,
    /// What the ratio has to be.
    pub(crate) bound: Bound,
}

/// A ratio to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// Of figures of which more is better.
    AtLeast(f64),
    /// Of figures of which less is better.
    AtMost(f64),
}

impl Bound {
    /// Whether this ratio, to two digits, is as good.
    pub(crate) fn is_reached(self, ratio: f64) -> bool {
        let ratio = (100.0 * ratio).round() / 100.0;
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(greatest) => ratio <= greatest,
        }
    }
}

/// What came of a case.
pub(crate) struct Measured {
    pub(crate) label: String,
    pub(crate) readers: Option<usize>,
    pub(crate) rows: Vec<Row>,
    /// Those that were asked for; where there is a goal, the first beside the best peer leads them.
    pub(crate) pairs: Vec<Pair>,
    pub(crate) goal: Option<Goal>,
}

/// One contender's figures.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) waits: &'static str,
    /// One for each column.
    pub(crate) figures: Vec<Spread>,
    /// Its first figure over the first contender's, round by round.
    pub(crate) ratio: Spread,
}

/// The first figure of one over that of another, round by round.
pub(crate) struct Pair {
    pub(crate) ours: &'static str,
    pub(crate) theirs: &'static str,
    pub(crate) ratio: Spread,
}

impl Case {
    /// Runs it: a round that does not count, in which everybody finds their size, and then those
    /// that do.
    pub(crate) fn run(mut self, question: &str, plan: &Plan, watchdog: &Watchdog) -> Measured {
        let mut rounds: Vec<Vec<Vec<f64>>> = vec![Vec::new(); self.contenders.len()];
        let warm_up = usize::from(!plan.is_smoke);
        for round in 0..warm_up + plan.rounds {
            let mut turns: Vec<_> = self.contenders.iter_mut().zip(&mut rounds).collect();
            // A contender that leaves the machine in a bad state for the next one does so to
            // another in every other round.
            if round % 2 == 1 {
                turns.reverse();
            }
            for (contender, rounds) in turns {
                let what = format!("{question}, {}, {}", self.label, contender.name);
                let figures = watchdog.watch(what, || (contender.measure)());
                if round >= warm_up {
                    rounds.push(figures);
                }
            }
        }
        let rows: Vec<Row> = (self.contenders.iter().zip(&rounds))
            .map(|(contender, ours)| Row {
                name: contender.name,
                waits: contender.waits,
                figures: (0..ours[0].len())
                    .map(|column| Spread::of(ours.iter().map(|round| round[column]).collect()))
                    .collect(),
                ratio: ratio(ours, &rounds[0]),
            })
            .collect();
        let best = self.goal.map(|goal| (0, best_peer(&rows, goal)));
        let others =
            (self.pairs.iter()).map(|(ours, theirs)| (self.index(ours), self.index(theirs)));
        let pairs = (best.into_iter().chain(others))
            .map(|(ours, theirs)| Pair {
                ours: rows[ours].name,
                theirs: rows[theirs].name,
                ratio: ratio(&rounds[ours], &rounds[theirs]),
            })
            .collect();
        Measured {
            label: self.label,
            readers: self.readers,
            rows,
            pairs,
            goal: self.goal,
        }
    }

    fn index(&self, name: &str) -> usize {
        let mut names = self.contenders.iter().map(|contender| contender.name);
        names
            .position(|it| it == name)
            .unwrap_or_else(|| panic!("{name} is in a pair, and does not take part"))
    }
}

/// Which of the peers has the best first figure.
fn best_peer(rows: &[Row], goal: Goal) -> usize {
    let figure = |&index: &usize| rows[index].figures[0].median;
    let peers = goal.ours..rows.len();
    let best = match goal.bound {
        Bound::AtLeast(_) => peers.max_by(|one, other| figure(one).total_cmp(&figure(other))),
        Bound::AtMost(_) => peers.min_by(|one, other| figure(one).total_cmp(&figure(other))),
    };
    best.expect("there is a peer")
}

fn ratio(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> Spread {
    let rounds = ours.iter().zip(theirs);
    Spread::of(rounds.map(|(ours, theirs)| ours[0] / theirs[0]).collect())
}
