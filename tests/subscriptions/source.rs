//! Subscriptions whose sources do not belong to the crate.

mod ends;
mod kinds;
mod lives;
mod panics;
mod together;
