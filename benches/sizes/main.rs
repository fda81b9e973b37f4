//! How cost grows with size: `cargo bench --bench sizes`, with `-- --quick` in a fraction of the
//! time, and with `-- --list` and `-- --only SERIES` for one series. All of it takes about three
//! minutes; `--only`, `--row`, `--from` and `--up-to` run a part.
//!
//! Each series does the same work at growing sizes with fanfeed, crossbeam and tokio: subscribers
//! that come, receive and go; threads that are blocked in a send; tasks that wait. All contenders
//! take turns in every round, each in a process of its own, and every value is checked where it is
//! received. The tables give the cost per item, its growth from one size to the next, and that
//! growth over a peer's, round by round. A verdict closes each table: it names the steps at which
//! fanfeed's cost grows faster than a peer's, with the costs of both, and the last line counts them.
//! A verdict fails nothing, because it depends on times.
//!
//! Each row is compared with the peers that do the same work. A peer that does other work is
//! compared too, but counted apart, and the note of the series says what the difference is. The
//! rule of the verdicts is in `fanfeed_benches::growth`, with its unit tests.

mod ends;
mod executor;
mod options;
mod peers;
mod plan;
mod scatter;
mod senders;
mod sends;
mod series;
mod stopwatch;
mod subscribers;
mod table;
mod tasks;

use std::time::Duration;

use clap::Parser;
use fanfeed_benches::machine::Machine;
use fanfeed_benches::watchdog::Watchdog;

use crate::options::Options;
use crate::series::SERIES;
use crate::table::Outcome;

/// No contender takes longer than this at one size; with a million subscribers most take some
/// seconds.
const LIMIT: Duration = Duration::from_secs(600);

fn main() {
    let options = Options::parse();
    if options.list {
        for series in SERIES {
            println!("{:<14} {}", series.key, series.title);
        }
        return;
    }
    let plan = options.plan();
    if let Some(contender) = &options.contender {
        let watchdog = Watchdog::start(LIMIT);
        for series in SERIES.iter().filter(|series| options.runs(series.key)) {
            series.run_contender(&plan, contender, &watchdog);
        }
        return;
    }
    for (what, which) in Machine::here().facts() {
        println!("{what:<20} {which}");
    }
    if !plan.is_smoke {
        Outcome::explain();
    }
    let mut outcome = Outcome::default();
    for series in SERIES.iter().filter(|series| options.runs(series.key)) {
        println!("\n## {} ({})\n{}", series.title, series.key, series.note);
        let measured = series.run(&plan, options.of_plan(), |name| options.runs_row(name));
        if plan.is_smoke {
            println!("  {} contenders work", measured.rows.len());
        } else if measured.sizes.is_empty() {
            println!("  no size is that small");
        } else {
            table::print(series, &measured, &mut outcome);
        }
    }
    if !plan.is_smoke {
        outcome.print();
    }
}
