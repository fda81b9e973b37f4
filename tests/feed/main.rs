//! Feeds, as their users see them.

#[path = "../common/mod.rs"]
mod common;
#[path = "../deadline/mod.rs"]
mod deadline;

mod batch;
mod blocked;
mod carriers;
mod channel;
mod close;
mod delivery;
mod destructors;
mod endings;
mod figures;
mod forgotten;
mod go_ethereum;
mod handles;
mod many_crossbeam;
mod missed;
mod panics;
#[cfg(feature = "async")]
mod receiving_async;
#[cfg(feature = "async")]
mod receiving_many;
mod reentrancy;
#[cfg(feature = "async")]
mod sending_async;
#[cfg(feature = "async")]
mod sink;
mod sole_sender;
mod subscriptions;
#[cfg(feature = "tokio")]
mod tokio_carriers;
#[cfg(feature = "async")]
mod turns;
mod types;
mod undelivered;
mod unsubscribe;
mod values;
mod verbs;
#[cfg(feature = "tokio")]
mod waiting;
