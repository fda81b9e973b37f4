//! Middleware that turns panics into errors.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;

use super::{Middleware, Next};
use crate::handler::{Handler, Reply};
use crate::request::Request;

/// Turns a panic into a [`PanicError`], so that the middleware outside of it sees an error.
///
/// Servers and clients catch panics of handlers in any case, outside of all middleware.
#[derive(Debug, Clone, Copy, Default)]
pub struct CatchPanics;

impl Middleware for CatchPanics {
    fn wrap(&self, next: Next) -> Next {
        Arc::new(move |request: Request| {
            let next = Arc::clone(&next);
            async move { guarded(&*next, request).await }
        })
    }
}

/// A handler panicked. The text is the panic's, of whatever type its value was.
#[derive(Debug)]
pub struct PanicError {
    text: String,
}

impl fmt::Display for PanicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the handler panicked: {}", self.text)
    }
}

impl Error for PanicError {}

impl PanicError {
    fn new(panic: Box<dyn Any + Send>) -> Self {
        let text = match panic.downcast_ref::<&str>() {
            Some(text) => (*text).to_owned(),
            None => match panic.downcast_ref::<String>() {
                Some(text) => text.clone(),
                None => "its value is no text".to_owned(),
            },
        };
        // A panic's value may itself panic when it is dropped.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(second);
        }
        Self { text }
    }
}

/// Calls the handler. Its panic, in the call or in the future, becomes an error.
pub(crate) async fn guarded(handler: &dyn Handler, request: Request) -> Reply {
    let future = match catch_unwind(AssertUnwindSafe(|| handler.handle(request))) {
        Ok(future) => future,
        Err(panic) => return Err(PanicError::new(panic).into()),
    };
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(reply) => reply,
        Err(panic) => Err(PanicError::new(panic).into()),
    }
}
