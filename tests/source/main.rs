//! Subscriptions whose sources are not the crate's own.

#[path = "../deadline/mod.rs"]
mod deadline;

mod ends;
mod kinds;
mod lives;
mod panics;
mod together;
