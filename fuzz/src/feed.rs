//! Programs for a feed with subscribers of every kind.

mod awaiting;
mod blame;
mod calling;
mod carrier;
mod far_end;
mod frame;
mod held;
mod program;
mod receiving;
mod run;
mod sending;
mod sketch;
mod subscribing;
mod world;

pub use program::Program;
pub use run::run;
