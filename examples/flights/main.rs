//! Replays the flight records of `examples/data/` (or any others) as events on one [`Feed`].
//!
//! ```text
//! cargo run --release --example flights
//! cargo run --release --example flights -- --repeat 100 --subscribers 8
//! cargo run --release --example flights -- --speed 1000000 --overflow drop-oldest --capacity 16
//! gunzip -c more.csv.gz | cargo run --release --example flights -- --input -
//! ```
//!
//! Four subscribers, each on a thread of its own, compute different things from the same events:
//! the delay by route, the busiest airports, a histogram of delays by hour of day, and alerts for
//! long delays. These go out on a second feed, which one more thread reads.
//!
//! # Any CSV
//!
//! The first line names the columns. `date`, `delay`, `distance`, `origin` and `destination` are
//! needed, in any order and in upper or lower case; others are ignored. Fields may be quoted;
//! spaces around them, a byte order mark, CRLF and empty lines do no harm.
//!
//! - `date` is `YYYY/MM/DD HH:MM` or `YYYY-MM-DD HH:MM`, with a `T` in the place of the space if so
//!   written, and with `:SS`, a fraction of a second (ignored) and `Z` if they are there. An offset
//!   from UTC is refused: the hours of the day are those of the place of departure.
//! - `delay` and `distance` are numbers, in minutes and miles, rounded to whole ones.
//! - `origin` and `destination` are names of any kind.
//!
//! A record with the wrong number of fields, a field that is empty or not UTF-8, a bad date or a
//! bad number is reported with its line and the reason, counted, and skipped. Records have to be
//! replayed in the order of their time, so all of them are read and sorted (those of one time stay
//! as they were) before the first is sent: the input has to end, and to fit into memory.

mod accounts;
mod crew;
mod findings;
mod input;
mod interrupt;
mod moment;
mod options;
mod progress;
mod records;
mod replay;
mod report;
mod table;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use fanfeed::Feed;

use crate::crew::Crew;
use crate::options::Options;
use crate::progress::Progress;
use crate::report::Report;

/// The reason that the example ends without its tables.
enum Failure {
    /// The user must change the arguments or the input: exit code 2.
    Usage(String),
    /// An operation of the system failed: exit code 1.
    Machine(String),
}

fn main() -> ExitCode {
    let (code, message) = match run(&Options::parse()) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => (2, message),
        Err(Failure::Machine(message)) => (1, message),
    };
    note(format_args!("error: {message}"));
    ExitCode::from(code)
}

fn run(options: &Options) -> Result<(), Failure> {
    let feed = Feed::new();
    let stop = interrupt::install(&feed)
        .map_err(|error| Failure::Machine(format!("cannot listen for Ctrl-C: {error}")))?;
    let source = input::Source::new(options.input.as_deref());
    let Some(records) = input::load(&source, &stop)? else {
        return print("Interrupted while the records were being read: none was replayed.\n");
    };
    for complaint in records.malformed.complaints(&source) {
        note(format_args!("{complaint}"));
    }
    if records.flights.is_empty() {
        return print(&format!(
            "Nothing to replay: {source} has no record that can be read ({} malformed).\n",
            records.malformed.count()
        ));
    }

    let crew = Crew::start(&feed, options)?;
    let progress = Progress::new(records.flights.len() as u64, options.repeat);
    let replay = replay::run(&feed, &records.flights, options, &stop, progress);
    feed.close();
    let logs = crew.join();
    print(
        &Report {
            source: &source,
            records: &records,
            options,
            replay: &replay,
            logs: &logs,
        }
        .to_string(),
    )
}

/// Writes to standard output. A reader that has closed it, such as `head`, is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Machine(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Writes a line to standard error, and ignores a closed one.
fn note(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
