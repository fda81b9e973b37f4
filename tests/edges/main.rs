//! Values of unusual types, and handles that are forgotten.

#[path = "../common/mod.rs"]
mod common;

mod forgotten;
mod types;
