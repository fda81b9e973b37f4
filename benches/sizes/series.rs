//! A series: the same work at growing sizes, by contenders that take turns.

use fanfeed_benches::watchdog::Watchdog;

use crate::plan::Plan;
use crate::{ends, senders, sends, subscribers, tasks};

/// All series.
pub(crate) const SERIES: &[Series] = &[
    subscribers::SERIES,
    senders::SERIES,
    tasks::SERIES,
    sends::SERIES,
    ends::SERIES,
];

/// What is measured at growing sizes.
pub(crate) struct Series {
    /// The name that `--only` takes.
    pub(crate) key: &'static str,
    /// The title of its tables.
    pub(crate) title: &'static str,
    /// What a reader has to know to understand the tables.
    pub(crate) note: &'static str,
    /// The measures: one table each, in nanoseconds.
    pub(crate) measures: &'static [&'static str],
    /// The sizes.
    pub(crate) sizes: fn(&Plan) -> &'static [usize],
    /// Makes the contenders.
    pub(crate) contenders: fn(Plan) -> Vec<Contender>,
}

/// One way to do the work.
pub(crate) struct Contender {
    name: &'static str,
    peers: &'static [&'static str],
    run: Box<dyn FnMut(usize) -> Vec<f64>>,
}

impl Contender {
    /// A contender whose growth is held against that of `peers`. `run` does the work at one size,
    /// and returns one figure for each measure of the series.
    pub(crate) fn new(
        name: &'static str,
        peers: &'static [&'static str],
        run: impl FnMut(usize) -> Vec<f64> + 'static,
    ) -> Self {
        Self {
            name,
            peers,
            run: Box::new(run),
        }
    }
}

/// The figures of a series.
pub(crate) struct Measured {
    pub(crate) sizes: &'static [usize],
    pub(crate) rows: Vec<Row>,
}

/// The figures of one contender.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The contenders whose growth this one's is held against; none for a peer.
    pub(crate) peers: &'static [&'static str],
    /// By size, then by round, then by measure.
    pub(crate) figures: Vec<Vec<Vec<f64>>>,
}

impl Series {
    /// Runs all contenders at all sizes, in rounds. The first round at a small size finds cold
    /// memory, so each contender runs once at the smallest size before.
    pub(crate) fn run(
        &self,
        plan: &Plan,
        runs_row: impl Fn(&str) -> bool,
        watchdog: &Watchdog,
    ) -> Measured {
        let sizes = (self.sizes)(plan);
        let sizes = &sizes[..sizes.partition_point(|&size| size <= plan.up_to)];
        let sizes = &sizes[sizes.partition_point(|&size| size < plan.from)..];
        let mut contenders = (self.contenders)(*plan);
        contenders.retain(|contender| runs_row(contender.name));
        let mut rows: Vec<Row> = contenders
            .iter()
            .map(|contender| Row {
                name: contender.name,
                peers: contender.peers,
                figures: vec![Vec::new(); sizes.len()],
            })
            .collect();
        if let (false, Some(&smallest)) = (plan.is_smoke, sizes.first()) {
            for contender in &mut contenders {
                (contender.run)(smallest);
            }
        }
        for round in 0..plan.rounds {
            for (index, &size) in sizes.iter().enumerate() {
                if round >= plan.rounds_at(size) {
                    continue;
                }
                for (contender, row) in contenders.iter_mut().zip(&mut rows) {
                    let what = format!("{}, {}, {size}", self.key, contender.name);
                    let figures = watchdog.watch(what, || (contender.run)(size));
                    assert_eq!(figures.len(), self.measures.len(), "one for each measure");
                    row.figures[index].push(figures);
                }
            }
        }
        Measured { sizes, rows }
    }
}

impl Row {
    /// The figures of one measure at one size, round by round.
    pub(crate) fn rounds(&self, measure: usize, size: usize) -> Vec<f64> {
        let rounds = self.figures[size].iter();
        rounds.map(|figures| figures[measure]).collect()
    }
}
