//! fanfeed's channels and rings, compared with their peers: `cargo bench --bench compare`, with `--
//! --quick` in under a minute.
//!
//! Each question has one table. All contenders of a table take turns in one loop, and every row
//! says how it waits. Each reader compares each value with the value that it expects, and branches.
//! The threads are pinned: one core sends, one drains, whatever the number of readers. Ratios are
//! stable where absolute figures drift.
//!
//! `-- --only targets` compares each of ours with its best peer, with the ratio that it should
//! reach; `--row own-recv` does so for one row in a few seconds. `-- --readme` puts a full run's
//! tables and charts into README.

mod bursts;
mod chart;
mod contended;
mod cpu_time;
mod csv_files;
mod field;
mod handler;
mod link;
mod memory;
mod options;
mod paced;
mod payload;
mod peers;
mod plan;
mod questions;
mod readme;
mod rounds;
mod sizer;
mod stream;
mod svg;
mod table;
mod threads;
mod throughput;

use std::error::Error;
use std::fs;
use std::time::Duration;

use clap::Parser;
use fanfeed_benches::machine::Machine;
use fanfeed_benches::watchdog::Watchdog;

use crate::csv_files::CsvFiles;
use crate::memory::Counting;
use crate::options::Options;
use crate::questions::{QUESTIONS, Question, targets};
use crate::readme::Readme;
use crate::rounds::Measured;

/// No run takes longer than this; most take a tenth of a second.
const LIMIT: Duration = Duration::from_secs(60);

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if options.list {
        for question in QUESTIONS {
            println!("{:<20} {}", question.key, question.title);
        }
        println!("{:<20} with --row, one of:", targets::KEY);
        for row in targets::ROWS {
            println!("  {:<18} {}", row.key, row.title);
        }
        return Ok(());
    }
    let (plan, machine) = (options.plan(), Machine::here());
    for (what, which) in machine.facts() {
        println!("{what:<20} {which}");
    }
    let directory = options.directory();
    let csv = match &directory {
        Some(directory) => {
            fs::create_dir_all(directory)
                .map_err(|error| format!("{} cannot be made: {error}", directory.display()))?;
            Some(CsvFiles::new(directory, &machine)?)
        }
        None => None,
    };
    let watchdog = Watchdog::start(LIMIT);
    let about = format!(
        "{}; medians of {} interleaved rounds",
        machine.line(),
        plan.rounds
    );
    let mut readme = options.readme.then(Readme::open).transpose()?;
    let mut ask = |question: &Question| -> Result<Vec<Measured>, Box<dyn Error>> {
        table::heading(question);
        let mut cases = Vec::new();
        (question.ask)(plan, &mut |case| {
            let measured = case.run(question.key, &plan, &watchdog);
            if plan.is_smoke {
                println!("  {}: {} work", measured.label, measured.rows.len());
            } else {
                table::print(question, &measured);
            }
            cases.push(measured);
        });
        if let (Some(directory), Some(csv)) = (&directory, &csv) {
            csv.write(question, &cases)?;
            let chart = chart::draw(question, &cases, &machine);
            if let Some(chart) = &chart {
                fs::write(directory.join(format!("{}.svg", question.key)), chart)?;
            }
            if let Some(readme) = &mut readme {
                readme.put(question, &cases, chart.as_deref(), &about)?;
            }
        }
        Ok(cases)
    };
    let mut measured = Vec::new();
    for row in options.targets() {
        measured.push((row, ask(row)?));
    }
    if !plan.is_smoke && !measured.is_empty() {
        table::summary(&measured);
    }
    for question in options.questions() {
        ask(question)?;
    }
    if let Some(directory) = &directory {
        println!("\nCSV and charts: {}", directory.display());
    }
    Ok(())
}
