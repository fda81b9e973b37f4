//! Middleware that turns panics into errors.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Middleware, Next};
use crate::handler::{Handler, HandlerError, Reply, ReplyFuture};
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

    /// As `Display` writes it, for code that is no handler.
    #[cfg(any(feature = "server", feature = "client"))]
    pub(crate) fn text(&self) -> String {
        format!("it panicked: {}", self.text)
    }
}

/// Calls the handler. Its panic, in the call or in the future, becomes an error.
pub(crate) async fn guarded(handler: &dyn Handler, request: Request) -> Reply {
    let mut future = start(handler, request)?;
    poll_fn(|cx| poll(&mut future, cx)).await
}

/// Calls a function of the application. A panic becomes an error.
#[cfg(any(feature = "server", feature = "client"))]
pub(crate) fn guard<T>(call: impl FnOnce() -> T) -> Result<T, PanicError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(PanicError::new)
}

/// Polls a future of the application for at most this time: `None` if that was too short. A panic,
/// of the future or of its drop, becomes an error.
#[cfg(feature = "server")]
pub(crate) async fn within<T>(
    time: std::time::Duration,
    mut future: std::pin::Pin<Box<dyn Future<Output = T> + Send>>,
) -> Result<Option<T>, PanicError> {
    let guarded = poll_fn(|cx| match guard(|| future.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    let polled = tokio::time::timeout(time, guarded).await;
    guard(|| drop(future))?;
    polled.ok().transpose()
}

/// Calls the handler for its future. A panic becomes an error.
pub(crate) fn start(handler: &dyn Handler, request: Request) -> Result<ReplyFuture, HandlerError> {
    catch_unwind(AssertUnwindSafe(|| handler.handle(request)))
        .map_err(|panic| PanicError::new(panic).into())
}

/// Polls the future of a handler. A panic becomes an error. A future that is ready is dropped,
/// which may panic, too.
pub(crate) fn poll(future: &mut ReplyFuture, cx: &mut Context<'_>) -> Poll<Reply> {
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
    let reply = match polled {
        Ok(Poll::Pending) => return Poll::Pending,
        Ok(Poll::Ready(reply)) => reply,
        Err(panic) => Err(PanicError::new(panic).into()),
    };
    let done = std::mem::replace(future, Box::pin(std::future::pending()));
    match catch_unwind(AssertUnwindSafe(|| drop(done))) {
        Ok(()) => Poll::Ready(reply),
        Err(panic) => Poll::Ready(Err(PanicError::new(panic).into())),
    }
}
