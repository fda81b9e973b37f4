//! The sockets beside bare axum and socketioxide, in one run, and what they stand.
//!
//! `cargo bench -p fanfeed-sockets` prints, for each candidate, the median of the rounds and their
//! quartiles, with the rounds of the candidates interleaved, and the ratio of the channel's median
//! to the candidate's. The clients are a process of their own, and the processor time is that of
//! the server's process alone.
//!
//! | name | what it measures |
//! |---|---|
//! | `fanout` | the processor time of a broadcast |
//! | `echo` | messages a second that go to a handler and back |
//! | `slow` | the 99th percentile of a broadcast, with and without a member that does not read |
//! | `minute` | 200 broadcasts a second for a minute |
//! | `load` | 5,000 connections that come and go, and hostile clients beside others |
//!
//! Names choose (`cargo bench -p fanfeed-sockets -- fanout echo`); without one, all of them run.
//! `-- --test` runs everything briefly, and checks what the figures must be on any machine.

mod clients;
mod echo;
mod fanout;
mod figures;
mod fleet;
mod hostile;
mod load;
mod minute;
mod own;
mod peers;
mod slow;
mod wire;

use std::pin::Pin;
use std::process::Command;

/// How much is run.
#[derive(Debug, Clone, Copy)]
struct Scale {
    rounds: usize,
    members: usize,
    /// Of 200 bytes, in each round.
    broadcasts: usize,
    /// Of each client, in each round.
    echoes: usize,
    /// Broadcasts in each round, of those that are paced.
    paced: usize,
    seconds: u64,
    /// How long each part of the load lasts, in milliseconds.
    load: u64,
    /// Hostile clients of each kind.
    attackers: usize,
}

const FULL: Scale = Scale {
    rounds: 11,
    members: 1000,
    broadcasts: 40,
    echoes: 200,
    paced: 100,
    seconds: 60,
    load: 5000,
    attackers: 50,
};

const BRIEF: Scale = Scale {
    rounds: 1,
    members: 50,
    broadcasts: 3,
    echoes: 5,
    paced: 10,
    seconds: 1,
    load: 500,
    attackers: 10,
};

type Run = for<'a> fn(&'a Scale) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

const ALL: [(&str, Run); 5] = [
    ("fanout", |scale| Box::pin(fanout::run(scale))),
    ("echo", |scale| Box::pin(echo::run(scale))),
    ("slow", |scale| Box::pin(slow::run(scale))),
    ("minute", |scale| Box::pin(minute::run(scale))),
    ("load", |scale| Box::pin(load::run(scale))),
];

/// How many files each of the two processes may need to have open at once.
const FILES: u64 = 12_000;

/// Runs this program again, as one that may have as many files open as it needs.
fn raised(arguments: &[String]) {
    assert!(
        !arguments.iter().any(|argument| argument == "--raised"),
        "{FILES} open files are needed, and the system allows {}: raise the hard limit (`ulimit -Hn`)",
        figures::files()
    );
    let own = std::env::current_exe().expect("this program has a file");
    let status = Command::new("sh")
        .args([
            "-c",
            &format!("ulimit -Sn {FILES}; exec \"$0\" \"$@\" --raised"),
        ])
        .arg(own)
        .args(arguments)
        .status();
    let code = status.ok().and_then(|status| status.code());
    std::process::exit(code.unwrap_or(1));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if has("--clients") {
        return clients::run();
    }
    if figures::files() < FILES {
        return raised(&arguments);
    }
    let scale = if has("--test") { BRIEF } else { FULL };
    let is_chosen = ALL.iter().any(|(name, _)| has(name));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for (name, run) in ALL {
        if !is_chosen || has(name) {
            runtime.block_on(run(&scale));
        }
    }
}
