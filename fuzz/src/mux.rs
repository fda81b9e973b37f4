//! Programs for a mux of several types of events.

#![allow(deprecated)]

mod events;
mod program;
mod run;
mod world;

pub use program::Program;
pub use run::run;
