//! A series: the same work at growing sizes, by contenders that take turns.

use std::env;
use std::process::{Command, Stdio};

use fanfeed_benches::pin;
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
    /// The core to which the thread that measures is pinned.
    pub(crate) core: usize,
    /// Makes the contenders.
    pub(crate) contenders: fn(Plan) -> Vec<Contender>,
}

/// The contenders that a row's growth is compared with. Both lists are empty for a peer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Peers {
    /// They do what the row does.
    pub(crate) same: &'static [&'static str],
    /// They do other work, as the note of the series says. Those comparisons are counted apart.
    pub(crate) other: &'static [&'static str],
}

impl Peers {
    pub(crate) const NONE: Self = Self::of(&[]);

    /// Peers that do the same work.
    pub(crate) const fn of(same: &'static [&'static str]) -> Self {
        Self { same, other: &[] }
    }
}

/// One way to do the work.
pub(crate) struct Contender {
    name: &'static str,
    peers: Peers,
    run: Box<dyn FnMut(usize) -> Vec<f64>>,
}

impl Contender {
    /// A contender whose growth is compared with that of `peers`. `run` does the work at one size,
    /// and returns one figure for each measure of the series.
    pub(crate) fn new(
        name: &'static str,
        peers: Peers,
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
    pub(crate) peers: Peers,
    /// By size, then by round, then by measure.
    pub(crate) figures: Vec<Vec<Vec<f64>>>,
}

impl Series {
    /// The sizes to be run.
    fn sizes_of(&self, plan: &Plan) -> &'static [usize] {
        let sizes = (self.sizes)(plan);
        let sizes = &sizes[..sizes.partition_point(|&size| size <= plan.up_to)];
        &sizes[sizes.partition_point(|&size| size < plan.from)..]
    }

    /// Runs all contenders at all sizes, in rounds. Each contender of a round runs in a process of
    /// its own: what an allocation costs depends on the heap that earlier contenders have left.
    /// `options` are the arguments that select the plan.
    pub(crate) fn run(
        &self,
        plan: &Plan,
        options: &[&str],
        runs_row: impl Fn(&str) -> bool,
    ) -> Measured {
        let sizes = self.sizes_of(plan);
        let contenders = (self.contenders)(*plan).into_iter();
        let mut rows: Vec<Row> = contenders
            .filter(|contender| runs_row(contender.name))
            .map(|contender| Row {
                name: contender.name,
                peers: contender.peers,
                figures: vec![Vec::new(); sizes.len()],
            })
            .collect();
        for round in 0..plan.rounds {
            let of_round = sizes.partition_point(|&size| round < plan.rounds_at(size));
            let Some(up_to) = sizes[..of_round].last() else {
                continue;
            };
            for row in &mut rows {
                let mut process =
                    Command::new(env::current_exe().expect("this program has a path"));
                process.args(options).args(["--only", self.key]);
                process.args(["--contender", row.name]);
                process.args(["--from", &plan.from.to_string()]);
                process.args(["--up-to", &up_to.to_string()]);
                let printed = process.stderr(Stdio::inherit()).output();
                let printed = printed.expect("this program can be started again");
                assert!(printed.status.success(), "{process:?}: {}", printed.status);
                let printed = String::from_utf8(printed.stdout).expect("figures are text");
                let lines: Vec<_> = printed.lines().map(figures).collect();
                assert_eq!(lines.len(), of_round, "a line for each size");
                for (of_size, line) in row.figures.iter_mut().zip(lines) {
                    assert_eq!(line.len(), self.measures.len(), "one for each measure");
                    of_size.push(line);
                }
            }
        }
        Measured { sizes, rows }
    }

    /// Runs one contender once at each size, and prints a line of figures for each. The first run
    /// at a small size finds cold memory, so the contender runs once at the smallest size before.
    pub(crate) fn run_contender(&self, plan: &Plan, name: &str, watchdog: &Watchdog) {
        pin::to_core(self.core);
        let sizes = self.sizes_of(plan);
        let mut contenders = (self.contenders)(*plan).into_iter();
        let mut contender = contenders
            .find(|contender| contender.name == name)
            .expect("the series has this contender");
        if let (false, Some(&smallest)) = (plan.is_smoke, sizes.first()) {
            (contender.run)(smallest);
        }
        for &size in sizes {
            let what = format!("{}, {name}, {size}", self.key);
            let figures = watchdog.watch(what, || (contender.run)(size));
            let figures: Vec<_> = figures.iter().map(f64::to_string).collect();
            println!("{}", figures.join(" "));
        }
    }
}

/// The figures of a line that [`Series::run_contender`] printed.
fn figures(line: &str) -> Vec<f64> {
    let figures = line.split(' ').map(str::parse);
    figures
        .collect::<Result<_, _>>()
        .expect("figures, and nothing else")
}

impl Row {
    /// The figures of one measure at one size, round by round.
    pub(crate) fn rounds(&self, measure: usize, size: usize) -> Vec<f64> {
        let rounds = self.figures[size].iter();
        rounds.map(|figures| figures[measure]).collect()
    }
}
