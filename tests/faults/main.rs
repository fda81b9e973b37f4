//! Panics in user code, in every operation. No other thread waits for ever or misses a value, no
//! value is lost or dropped twice, and the objects in use keep working.
//!
//! | what panics | at the verbs of a feed | elsewhere |
//! |---|---|---|
//! | `T::clone` | `values`, `tests/feed/panics.rs` | receives from a ring: `values`, `tests/ring/reading.rs`; retries: `values` |
//! | `T::drop` | `values` | rings: `tests/ring/panics.rs`; receivers, retries: `values`; the mux: `callbacks` |
//! | a closure, a carrier | `callbacks`, `tests/feed/panics.rs` | retries, `send_async`, the mux, joins, scopes: `callbacks` |
//! | a handler | | `tests/feed/channel.rs`, `tests/ring/reading.rs`, `tests/ring/in_place.rs`, `callbacks` |
//! | an iterator | | `tests/feed/batch.rs`, `tests/ring/panics.rs` |
//! | a producer, `resubscribe`'s `f` | | `tests/subscriptions/spawn.rs`, `tests/subscriptions/join.rs`, `tests/subscriptions/resubscribe.rs` |
//! | a waker | `wakers` | `wakers` |

#[path = "../common/mod.rs"]
mod common;

mod callbacks;
mod crowd;
mod values;
mod wakers;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The message of the panic that this raises.
#[track_caller]
fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => common::message(&*payload).to_owned(),
    }
}
