//! The client, against servers that the tests script frame by frame.

mod blocking;
mod bounds;
mod common;
mod faults;
mod leaving;
mod listening;
mod publishing;
mod reconnecting;
#[cfg(feature = "server")]
mod resuming;
#[cfg(feature = "tls")]
mod tls;
