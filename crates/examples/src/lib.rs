//! Programs that run on any driver, which an argument names. This is all that they need for it.
#![forbid(unsafe_code)]

use std::sync::Arc;

use fanfeed_broker::{Broker, ConnectError, Drivers};

/// Connects to the broker of a URL: `memory:`, `redis://..`, `nats://..` or `kafka://..`; with the
/// feature `tls` also `kafkas://..`.
///
/// # Errors
/// If the URL is wrong, or its server is not there.
pub fn connect(url: &str) -> Result<Arc<dyn Broker>, ConnectError> {
    Drivers::new()
        .with(fanfeed_redis::driver())
        .with(fanfeed_nats::driver())
        .with(fanfeed_kafka::driver())
        .connect(url)
}
