//! Calls a driver's code and catches its panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::transport::LinkError;
use crate::dispatch::panic_text;
use crate::error::ConnectError;

/// Opens a side. A panic of the driver becomes an error.
pub(super) fn open<T>(open: impl FnOnce() -> Result<T, ConnectError>) -> Result<T, ConnectError> {
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
        let text = format!("the driver panicked: {}", panic_text(&*panic));
        Err(ConnectError::Failed(text.into()))
    })
}

/// Calls a side. A panic of the driver counts as a loss of the connection.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, LinkError>) -> Result<T, LinkError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = format!("the driver panicked: {}", panic_text(&*panic));
        Err(LinkError::new(text))
    })
}
