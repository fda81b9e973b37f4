//! Subscriptions whose sources are not the crate's own.

mod ends;
mod kinds;
mod lives;
mod panics;
mod together;
