//! A handler around which time is taken and a span is open.

use crate::middleware::Next;

use super::Histogram;

/// Wraps a handler in what the features of this build observe of it, outside of all middleware.
#[cfg(not(any(feature = "tracing", feature = "metrics")))]
pub(crate) fn observed(handler: Next, _times: &Histogram) -> Next {
    handler
}

#[cfg(any(feature = "tracing", feature = "metrics"))]
pub(crate) fn observed(handler: Next, times: &Histogram) -> Next {
    let times = times.clone();
    std::sync::Arc::new(on::Observed { handler, times })
}

#[cfg(any(feature = "tracing", feature = "metrics"))]
mod on {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use super::super::meters::{Histogram, Watch};
    use super::super::trace::Handling;
    use crate::handler::{Handler, Reply, ReplyFuture};
    use crate::middleware::Next;
    use crate::request::Request;

    pub(super) struct Observed {
        pub(super) handler: Next,
        pub(super) times: Histogram,
    }

    impl Handler for Observed {
        fn handle(&self, request: Request) -> ReplyFuture {
            let watch = self.times.start();
            let handling = Handling::of(&request);
            let future = handling.inside(|| self.handler.handle(request));
            Box::pin(Call {
                future,
                handling,
                _watch: watch,
            })
        }
    }

    /// A call of a handler.
    struct Call {
        future: ReplyFuture,
        handling: Handling,
        _watch: Watch,
    }

    impl Future for Call {
        type Output = Reply;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
            let Self {
                future, handling, ..
            } = self.get_mut();
            let mut reply = ready!(handling.inside(|| future.as_mut().poll(cx)));
            match &mut reply {
                Ok(Some(message)) => handling.carry(message),
                Ok(None) => {}
                Err(_) => handling.failed(),
            }
            Poll::Ready(reply)
        }
    }
}
