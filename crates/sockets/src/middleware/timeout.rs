//! Middleware that limits how long a handler runs.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Middleware, Next, Skip};
use crate::handler::ReplyFuture;
use crate::request::Request;

/// Drops the future of a handler that takes longer than a limit, which is 30 seconds by default,
/// cancels the [token](Request::cancel_token) of its request, and fails with [`TimeoutError`].
///
/// A handler that blocks its thread is not stopped: it goes on beside the next message, unless it
/// looks at the token.
#[derive(Clone)]
pub struct Timeout {
    limit: Duration,
    skip: Option<Skip>,
}

impl Timeout {
    /// Limits handlers to this time.
    pub fn new(limit: Duration) -> Self {
        Self { limit, skip: None }
    }

    /// Leaves the requests alone for which `skip` returns true.
    #[must_use]
    pub fn skip(mut self, skip: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        self.skip = Some(Arc::new(skip));
        self
    }
}

impl Default for Timeout {
    fn default() -> Self {
        Self::new(Duration::from_secs(30))
    }
}

impl Middleware for Timeout {
    fn wrap(&self, next: Next) -> Next {
        let Self { limit, skip } = self.clone();
        Arc::new(move |mut request: Request| -> ReplyFuture {
            if skip.as_ref().is_some_and(|skip| skip(&request)) {
                return next.handle(request);
            }
            let key: Arc<str> = request.key().into();
            let overrun = request.split_token();
            let handled = next.handle(request);
            Box::pin(async move {
                match tokio::time::timeout(limit, handled).await {
                    Ok(reply) => reply,
                    Err(_) => {
                        overrun.cancel();
                        Err(TimeoutError { key, limit }.into())
                    }
                }
            })
        })
    }
}

impl fmt::Debug for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("limit", &self.limit)
            .field("has_skip", &self.skip.is_some())
            .finish()
    }
}

/// A handler took longer than [`Timeout`] allows, and was dropped.
#[derive(Debug, Clone)]
pub struct TimeoutError {
    key: Arc<str>,
    limit: Duration,
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, limit } = self;
        write!(
            f,
            "the handler of \"{key}\" took longer than {limit:?}, and was dropped"
        )
    }
}

impl Error for TimeoutError {}
