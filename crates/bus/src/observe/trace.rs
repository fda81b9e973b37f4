//! The feature `tracing`: a span around each dispatch and around each call of a listener. A
//! subscriber that panics loses spans, and changes nothing else.

#[cfg(feature = "tracing")]
mod on {
    use tracing::{Level, Span, span, span::EnteredSpan};

    use crate::event::AnyEvent;
    use crate::quietly::quietly;

    /// A span that the thread is in. It leaves it when this is dropped.
    pub(crate) struct Dispatching(Option<EnteredSpan>);

    impl Drop for Dispatching {
        fn drop(&mut self) {
            let entered = self.0.take();
            quietly(|| drop(entered));
        }
    }

    pub(crate) fn dispatching(event: &str) -> Dispatching {
        Dispatching(quietly(|| span!(Level::DEBUG, "dispatch", event).entered()))
    }

    pub(crate) fn handling<R>(event: &dyn AnyEvent, listener: &str, call: impl FnOnce() -> R) -> R {
        Trace::listening(event.name(), listener).inside(call)
    }

    /// A span for the thread or task that calls the listener.
    pub(crate) struct Trace(Option<Span>);

    impl Trace {
        /// The span of the thread that dispatches.
        pub(crate) fn current() -> Self {
            Self(quietly(Span::current))
        }

        /// A span of a call, inside that of the calling thread.
        pub(crate) fn listening(event: &str, listener: &str) -> Self {
            Self(quietly(|| span!(Level::DEBUG, "listener", event, listener)))
        }

        pub(crate) fn inside<R>(&self, f: impl FnOnce() -> R) -> R {
            let Some(span) = &self.0 else { return f() };
            let entered = quietly(|| span.enter());
            let result = f();
            quietly(|| drop(entered));
            result
        }
    }

    impl Drop for Trace {
        fn drop(&mut self) {
            let span = self.0.take();
            quietly(|| drop(span));
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
    pub(crate) struct Trace;

    impl Trace {
        pub(crate) fn current() -> Self {
            Self
        }

        #[cfg(feature = "tokio")]
        pub(crate) fn listening(_event: &str, _listener: &str) -> Self {
            Self
        }

        pub(crate) fn inside<R>(&self, f: impl FnOnce() -> R) -> R {
            f()
        }
    }
}

pub(crate) use on::{Trace, dispatching, handling};
