//! The features `tracing` and `metrics`. Without them, everything here is empty.

mod meters;
mod trace;

pub(crate) use meters::{Meter, Meters, Watch};
#[cfg(feature = "tokio")]
pub(crate) use trace::Trace;
pub(crate) use trace::{handling, publishing};
