//! What the models share: how a model is run, values that count themselves, and a channel to bring along.
//!
//! Nothing of this is compiled without `--cfg fanfeed_loom`. All models:
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release
//! ```
//!
//! With `-- --nocapture` each says how many executions it had.
#![cfg(fanfeed_loom)]

mod ledger;
mod model;
mod post;

pub use ledger::{Ledger, Token};
pub use model::Model;
pub use post::{Post, PostBox, post};
