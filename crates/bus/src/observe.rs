//! What the features `tracing` and `metrics` add. Without them everything here is empty.

mod meters;
mod trace;

pub(crate) use meters::{Meters, Watch};
pub(crate) use trace::{Trace, dispatching, handling};
