//! Programs for the waits between attempts, on a simulated clock.

mod model;
mod run;

pub use run::{Program, run};
