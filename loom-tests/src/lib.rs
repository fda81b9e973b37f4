//! Shared by the models: running a model, values that count themselves, a channel that the caller
//! brings along, and the counts of a ring's reader.
//!
//! None of this is compiled without `--cfg fanfeed_loom`. All models:
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release
//! ```
//!
//! With `-- --nocapture` each model prints how many executions it had. A model that holds after
//! fewer than a hundred executions fails, unless it states why there are no more. A model that must
//! fail states why it does, and must fail for no other reason.
//!
//! `child.rs`, `ledger.rs`, `post.rs` and `why.rs` are also part of `shuttle-tests/`, over the
//! primitives of shuttle.
#![cfg(fanfeed_loom)]

mod child;
mod ledger;
mod model;
mod post;
/// What the files that are shared take from the checker.
mod primitives {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::Mutex;
}
mod tally;
mod task;
mod why;

pub use ledger::{Ledger, Token};
pub use model::{FailingModel, Model};
pub use post::{Post, PostBox, post};
pub use tally::Tally;
pub use task::block_on;
pub use why::Why;

/// The names of the fences that a running stream of a ring does not need, as mutants, before those
/// that are given.
///
/// loom takes all full fences of a model for places where each thread learns everything of those
/// that fenced before. That hides what a missing `Release` or `Acquire` does: an order of its own
/// has to be shown where there are none of them.
#[macro_export]
macro_rules! without_fences {
    ($($and:literal)?) => {
        concat!(
            "sender_publishes_without_light_fence reader_pins_without_light_fence reader_moves_without_light_fence \
             gate_opens_without_fence ",
            $($and)?
        )
    };
}
