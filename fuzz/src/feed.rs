//! Programs for a feed with subscribers of every kind.

mod carrier;
mod far_end;
mod program;
mod receiving;
mod run;
mod sending;
mod sketch;
mod subscribing;
mod world;

pub use program::Program;
pub use run::run;
