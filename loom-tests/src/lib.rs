//! What the models share: how a model is run, values that count themselves, a channel to bring along,
//! and what a ring's reader gets, counted.
//!
//! Nothing of this is compiled without `--cfg fanfeed_loom`. All models:
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release
//! ```
//!
//! With `-- --nocapture` each says how many executions it had. One that holds after fewer than a hundred fails, unless it says
//! why so few are all there are; one that must fail says why it does, and
//! fails for no other reason.
//!
//! `child.rs`, `ledger.rs`, `post.rs` and `why.rs` are part of `shuttle-tests/` as well, over the primitives of shuttle.
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
mod why;

pub use ledger::{Ledger, Token};
pub use model::{FailingModel, Model};
pub use post::{Post, PostBox, post};
pub use tally::Tally;
pub use why::Why;

/// The names of the fences that a running stream of a ring does not need, as mutants, before those that are given.
///
/// loom takes all full fences of a model for places where each thread learns everything of those that fenced before. That
/// hides what a missing `Release` or `Acquire` does: an order of its own has to be shown where there are none of them.
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
