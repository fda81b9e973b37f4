//! Panics of user code: caught, told and dropped here.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Runs user code. A panic of it becomes its message.
#[inline]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Arc<str>> {
    catch_unwind(AssertUnwindSafe(f)).map_err(told)
}

#[cold]
fn told(payload: Box<dyn Any + Send>) -> Arc<str> {
    let text = payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text");
    let text = text.into();
    discard(payload);
    text
}

/// Drops the payload of a panic. That may panic too, and so may dropping that second payload. So
/// the second one is leaked.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(worse);
    }
}

/// Runs user code whose panics are ignored: a destructor, or the `Display` of an error.
#[inline]
pub(crate) fn quietly<R>(f: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(f)).map_err(discard).ok()
}
