//! The bus in memory. One program, so that it is linked once.

#![allow(missing_docs)]

mod allocations;
mod asynchronous;
mod close;
mod crowds;
mod destructors;
mod events;
mod failures;
mod inside;
mod listeners;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "broker")]
mod remote;
mod support;
#[cfg(feature = "tokio")]
mod tokio;
#[cfg(feature = "tracing")]
mod tracing;
#[cfg(feature = "tokio")]
mod twins;
mod unregister;
