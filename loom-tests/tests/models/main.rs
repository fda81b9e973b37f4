//! All models, in one program: it is built once, and its tests share the cores until the end.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models
//! ```
#![cfg(fanfeed_loom)]

mod blocked_send;
mod closures;
mod directory;
mod gaps;
mod overflow;
mod own_channel;
mod receiving_tasks;
mod ring_eviction;
mod ring_following;
mod ring_join_and_leave;
mod ring_publish;
mod ring_retention;
mod ring_senders;
mod ring_tasks;
mod scope;
mod send_and_subscribe;
mod send_and_unsubscribe;
mod sole_sender;
mod source;
mod spawn;
mod tasks;
mod type_mux;
