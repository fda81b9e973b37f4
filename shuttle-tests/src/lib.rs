//! Long programs of many threads over fanfeed, under random schedules.
//!
//! loom goes through all executions of what is small enough for that. Here programs are larger, and only some thousands of
//! their schedules are tried: drawn evenly, and with few changes of threads at places that are drawn
//! ([`PctScheduler`](shuttle::scheduler::PctScheduler)). All orderings are taken for `SeqCst`; weaker ones are loom's matter.
//!
//! Nothing of this is compiled without `--cfg fanfeed_shuttle`. All programs:
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release
//! ```
//!
//! With `-- --nocapture` each says how many schedules it had. These variables change what is run:
//!
//! | variable | is | by itself |
//! |---|---|---|
//! | `FANFEED_SHUTTLE_SCHEDULES` | how many schedules each scheduler tries of each program | 10000 |
//! | `FANFEED_SHUTTLE_SEED` | the number from which they are drawn | always the same |
//! | `FANFEED_SHUTTLE_SCHEDULE` | the one schedule to run, instead of any that are drawn | unset |
//!
//! For a long search, then: `FANFEED_SHUTTLE_SEED=$RANDOM FANFEED_SHUTTLE_SCHEDULES=1000000`.
//!
//! # To replay a failure
//!
//! A program that fails prints its schedule. Name the test, of which each has one program, and give the schedule back:
//!
//! ```text
//! FANFEED_SHUTTLE_SCHEDULE=9101... RUSTFLAGS="--cfg fanfeed_shuttle" \
//!     cargo test -p fanfeed-shuttle-tests --release --test feed -- --exact --nocapture everyone_gets_what_is_promised
//! ```
//!
//! It fails again in the same way (`tests/replay.rs` holds that it does), for as long as neither the program nor the
//! library has changed. (Where the process crashes, as it may with a mutant, no schedule is told; the same seed and number of
//! schedules lead there again.) A program must not depend on anything but its schedule: no clock, no randomness, no
//! addresses.
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
