//! Long programs of many threads over fanfeed, under random schedules.
//!
//! loom goes through all executions of what is small enough for that. The programs here are larger,
//! and only some thousands of their schedules are tried: drawn uniformly, and with few switches of
//! threads at random places ([`PctScheduler`](shuttle::scheduler::PctScheduler)). All orderings are
//! treated as `SeqCst`; loom checks weaker ones.
//!
//! None of this is compiled without `--cfg fanfeed_shuttle`. All programs:
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release
//! ```
//!
//! With `-- --nocapture` each program prints how many schedules it had. These variables change what
//! is run:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `FANFEED_SHUTTLE_SCHEDULES` | how many schedules each scheduler tries of each program | 10000 |
//! | `FANFEED_SHUTTLE_SEED` | the number from which they are drawn | always the same |
//! | `FANFEED_SHUTTLE_SCHEDULE` | the one schedule to run, instead of random ones | unset |
//!
//! For a long search: `FANFEED_SHUTTLE_SEED=$RANDOM FANFEED_SHUTTLE_SCHEDULES=1000000`.
//!
//! # To replay a failure
//!
//! A program that fails prints its schedule. Name the test (each test has one program), and pass
//! the schedule:
//!
//! ```text
//! FANFEED_SHUTTLE_SCHEDULE=9101... RUSTFLAGS="--cfg fanfeed_shuttle" \
//!     cargo test -p fanfeed-shuttle-tests --release --test feed -- --exact --nocapture every_subscriber_gets_what_is_promised
//! ```
//!
//! It fails again in the same way (`tests/replay.rs` checks that it does), as long as neither the
//! program nor the library has changed. (If the process crashes, as it may with a mutant, no
//! schedule is printed; the same seed and number of schedules reproduce the crash.) A program must
//! depend on nothing but its schedule: no clock, no randomness, no addresses.
#![cfg(fanfeed_shuttle)]

#[path = "../../loom-tests/src/child.rs"]
mod child;
#[path = "../../loom-tests/src/ledger.rs"]
mod ledger;
/// Whether a history is what a sequential program could have done.
pub mod linearizability;
mod order;
#[path = "../../loom-tests/src/post.rs"]
mod post;
/// What the files that are shared with `loom-tests/` take from the checker.
mod primitives {
    pub(crate) use fanfeed::sync::UnsafeCell;
    pub(crate) use shuttle::sync::Mutex;
}
mod schedules;
mod sequence;
#[path = "../../loom-tests/src/why.rs"]
mod why;

pub use ledger::{Ledger, Token};
pub use order::{Order, Stream};
pub use post::{Post, PostBox, post};
pub use schedules::{FailingSchedules, Schedules};
pub use sequence::{Sequence, value};
pub use why::Why;
