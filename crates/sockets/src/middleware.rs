//! Code that runs around handlers.
//!
//! Servers and clients take the same middleware. The first one registered is the outermost. A chain
//! is built when a handler is registered with the server or client that is being built, not for
//! each message. Middleware does not see answers that a `broadcast_await` takes, nor messages
//! without a handler.

mod catch_panics;
mod logger;
mod metrics;
mod timeout;

use std::future::Future;
use std::sync::Arc;

use crate::handler::{Handler, Reply};
use crate::request::Request;

#[cfg(any(feature = "server", feature = "client"))]
pub(crate) use catch_panics::guard;
pub use catch_panics::{CatchPanics, PanicError};
#[cfg(feature = "server")]
pub(crate) use catch_panics::{poll, start, within};
pub use logger::{Entry, Logger, Outcome};
pub use metrics::{KeyCount, Metrics};
pub use timeout::{Timeout, TimeoutError};

#[cfg(feature = "client")]
pub(crate) use catch_panics::guarded;

/// The handler that a middleware wraps: another middleware, or the handler itself.
pub type Next = Arc<dyn Handler>;

/// Wraps handlers. Functions `Fn(Next) -> Next` are middleware; see also [`from_fn`].
pub trait Middleware: Send + Sync + 'static {
    /// Returns a handler that does its work around `next`.
    fn wrap(&self, next: Next) -> Next;
}

impl<F> Middleware for F
where
    F: Fn(Next) -> Next + Send + Sync + 'static,
{
    fn wrap(&self, next: Next) -> Next {
        self(next)
    }
}

/// Makes middleware of an async function that gets each request and what to call with it.
///
/// ```
/// use fanfeed_sockets::middleware;
///
/// let _only_ada = middleware::from_fn(|request, next| async move {
///     if request.message().user_id() != "ada" {
///         return Err("only ada may do that".into());
///     }
///     next.handle(request).await
/// });
/// ```
pub fn from_fn<F, R>(f: F) -> impl Middleware
where
    F: Fn(Request, Next) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    let f = Arc::new(f);
    move |next: Next| -> Next {
        let f = Arc::clone(&f);
        Arc::new(move |request: Request| f(request, Arc::clone(&next)))
    }
}

/// Nests `handler` in the middleware, of which the first is the outermost.
pub fn chain(middleware: &[Arc<dyn Middleware>], handler: Next) -> Next {
    middleware
        .iter()
        .rev()
        .fold(handler, |next, middleware| middleware.wrap(next))
}

/// Says which requests a middleware leaves alone.
type Skip = Arc<dyn Fn(&Request) -> bool + Send + Sync>;
