//! The feature `tracing`: a span around each dispatch and around each call of a listener.

#[cfg(feature = "tracing")]
mod on {
    use tracing::{Level, Span, span, span::EnteredSpan};

    use crate::event::AnyEvent;

    pub(crate) fn dispatching(event: &str) -> EnteredSpan {
        span!(Level::DEBUG, "dispatch", event).entered()
    }

    pub(crate) fn handling<R>(event: &dyn AnyEvent, listener: &str, call: impl FnOnce() -> R) -> R {
        let event = event.name();
        span!(Level::DEBUG, "listener", event, listener).in_scope(call)
    }

    /// The span of the thread that dispatches, for the thread or task that calls the listener.
    #[derive(Clone)]
    pub(crate) struct Trace(Span);

    impl Trace {
        pub(crate) fn current() -> Self {
            Self(Span::current())
        }

        pub(crate) fn inside<R>(&self, f: impl FnOnce() -> R) -> R {
            self.0.in_scope(f)
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod on {
    use crate::event::AnyEvent;
    /// Nothing.
    pub(crate) struct Dispatching;

    #[inline]
    pub(crate) fn dispatching(_event: &str) -> Dispatching {
        Dispatching
    }

    #[inline]
    pub(crate) fn handling<R>(
        _event: &dyn AnyEvent,
        _listener: &str,
        call: impl FnOnce() -> R,
    ) -> R {
        call()
    }

    /// Nothing.
    #[derive(Clone)]
    pub(crate) struct Trace;

    impl Trace {
        pub(crate) fn current() -> Self {
            Self
        }

        pub(crate) fn inside<R>(&self, f: impl FnOnce() -> R) -> R {
            f()
        }
    }
}

pub(crate) use on::{Trace, dispatching, handling};
