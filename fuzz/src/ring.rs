//! Programs for a ring with readers of every kind.

mod program;
mod reader;
mod receiving;
mod run;
mod sender;
mod sending;
mod track;
mod world;

pub use program::Program;
pub use run::run;
