//! Programs for the waits between attempts, over a clock of the program's own.

mod model;
mod run;

pub use run::{Program, run};
