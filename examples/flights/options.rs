//! What can be set on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};
use fanfeed::Overflow;

/// Replays flight records as events on one feed, and shows what its subscribers made of them.
#[derive(Debug, Parser)]
#[command(name = "flights", after_help = AFTER)]
pub(crate) struct Options {
    /// A CSV file to replay instead of the built-in records, or `-` for standard input.
    ///
    /// Its first line names the columns. Needed, in any order: date, delay (minutes),
    /// distance (miles), origin, destination; others are ignored. A date is written
    /// 2001/01/31 23:59, 2001-01-31 23:59 or 2001-01-31T23:59, with seconds or without,
    /// in no time zone or `Z`.
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub(crate) input: Option<PathBuf>,

    /// How fast the records are replayed: `max`, or a factor of real time, such as 100000.
    #[arg(
        long,
        value_name = "max|FACTOR",
        allow_negative_numbers = true,
        default_value = "max"
    )]
    pub(crate) speed: Speed,

    /// How often the records are replayed, one time after another.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) repeat: u64,

    /// How many subscribers the feed has, each on a thread of its own.
    ///
    /// The first four are, in this order: routes, airports, hours, alerts. Fewer leaves out
    /// the last of them; every further one only counts. (The reader of the alerts is not
    /// among them: it subscribes to the feed that `alerts` sends on.)
    #[arg(long, value_name = "N", default_value_t = 4, verbatim_doc_comment, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) subscribers: u64,

    /// How many events wait for a subscriber before it counts as full.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = capacity)]
    pub(crate) capacity: usize,

    /// What happens to an event for a subscriber that is full.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Policy::Block)]
    pub(crate) overflow: Policy,
}

const AFTER: &str = "\
The tables go to standard output, everything else to standard error.
Ctrl-C ends the replay and shows what there is so far; a second one ends it at once.

Exit codes:
  0  the replay has ended, also by Ctrl-C or for want of records
  1  its result could not be written, or a thread not be started
  2  a wrong option, a file that cannot be read, or a missing column";

/// The pace of the replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// As fast as the subscribers take it.
    Max,
    /// So many times as fast as the records happened.
    Factor(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse() {
            Ok(factor) if f64::is_finite(factor) && factor > 0.0 => Ok(Self::Factor(factor)),
            _ => Err("it has to be `max` or a number above 0".to_owned()),
        }
    }
}

/// [`Overflow`], as the command line spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// The sender waits for room: nothing is missed
    Block,
    /// The subscriber misses the new event
    DropNewest,
    /// The subscriber misses the oldest event that waits for it
    DropOldest,
    /// The subscription is ended
    Disconnect,
}

impl From<Policy> for Overflow {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Block => Self::Block,
            Policy::DropNewest => Self::DropNewest,
            Policy::DropOldest => Self::DropOldest,
            Policy::Disconnect => Self::Disconnect,
        }
    }
}

/// A million waiting events per subscriber is already far more than a replay needs, and the limit
/// keeps a slip of the finger from asking for all the memory there is.
fn capacity(text: &str) -> Result<usize, String> {
    const MOST: usize = 1 << 20;
    match text.parse() {
        Ok(capacity) if (1..=MOST).contains(&capacity) => Ok(capacity),
        _ => Err(format!("it has to be a whole number from 1 to {MOST}")),
    }
}
