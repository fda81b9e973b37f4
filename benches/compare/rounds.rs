//! Contenders take turns: what the machine does to one round of one of them it does to the same round of the others, so
//! that the ratios hold where absolute figures drift.

use fanfeed_benches::stats::Spread;
use fanfeed_benches::watchdog::Watchdog;

use crate::plan::Plan;

/// One who is measured: a name, how it waits, and what makes one round of figures, one for each of the question's columns.
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
pub(crate) struct Case {
    /// What tells it from the question's others.
    pub(crate) label: String,
    /// How many readers there are, if that is what the cases differ in.
    pub(crate) readers: Option<usize>,
    /// Who takes part. The ratios are to the first.
    pub(crate) contenders: Vec<Contender>,
    /// Who is held against whom, besides.
    pub(crate) pairs: Vec<(&'static str, &'static str)>,
}

/// What came of a case.
pub(crate) struct Measured {
    pub(crate) label: String,
    pub(crate) readers: Option<usize>,
    pub(crate) rows: Vec<Row>,
    pub(crate) pairs: Vec<Pair>,
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
    /// Runs it: a round that does not count, in which everybody finds their size, and then those that do.
    pub(crate) fn run(mut self, question: &str, plan: &Plan, watchdog: &Watchdog) -> Measured {
        let mut rounds: Vec<Vec<Vec<f64>>> = vec![Vec::new(); self.contenders.len()];
        let warm_up = usize::from(!plan.is_smoke);
        for round in 0..warm_up + plan.rounds {
            for (contender, rounds) in self.contenders.iter_mut().zip(&mut rounds) {
                let what = format!("{question}, {}, {}", self.label, contender.name);
                let figures = watchdog.watch(what, || (contender.measure)());
                if round >= warm_up {
                    rounds.push(figures);
                }
            }
        }
        let rows = self.contenders.iter().zip(&rounds);
        Measured {
            rows: rows
                .map(|(contender, ours)| Row {
                    name: contender.name,
                    waits: contender.waits,
                    figures: (0..ours[0].len())
                        .map(|column| Spread::of(ours.iter().map(|round| round[column]).collect()))
                        .collect(),
                    ratio: ratio(ours, &rounds[0]),
                })
                .collect(),
            pairs: self
                .pairs
                .iter()
                .map(|&(ours, theirs)| Pair {
                    ours,
                    theirs,
                    ratio: ratio(&rounds[self.index(ours)], &rounds[self.index(theirs)]),
                })
                .collect(),
            label: self.label,
            readers: self.readers,
        }
    }

    fn index(&self, name: &str) -> usize {
        let mut names = self.contenders.iter().map(|contender| contender.name);
        names
            .position(|it| it == name)
            .unwrap_or_else(|| panic!("{name} is in a pair, and does not take part"))
    }
}

fn ratio(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> Spread {
    let rounds = ours.iter().zip(theirs);
    Spread::of(rounds.map(|(ours, theirs)| ours[0] / theirs[0]).collect())
}
