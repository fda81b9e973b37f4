//! The feature `tracing`: spans around publish and handle, and the trace context that messages
//! carry.
//!
//! The context is the W3C's: the headers `traceparent` and `tracestate`. This crate passes it on
//! from the message that a handler got to the messages that it publishes, and records it in the
//! spans. It creates no context: the identities of a trace belong to the library that exports the
//! trace, and a context from here would name a span that was never exported.

#[cfg(all(feature = "tracing", feature = "tokio"))]
pub(crate) use on::Trace;
#[cfg(feature = "tracing")]
pub(crate) use on::{handling, publishing};

#[cfg(all(not(feature = "tracing"), feature = "tokio"))]
pub(crate) use off::Trace;
#[cfg(not(feature = "tracing"))]
pub(crate) use off::{handling, publishing};

#[cfg(feature = "tracing")]
mod on {
    use std::cell::RefCell;
    use std::sync::Arc;

    use tracing::field::Empty;
    use tracing::span::EnteredSpan;
    use tracing::{Level, Span, span};

    use crate::context::Context;
    use crate::dispatch::Started;
    use crate::message::Message;

    const PARENT: &str = "traceparent";
    const STATE: &str = "tracestate";
    const TARGET: &str = "fanfeed_broker";
    /// How many bytes of a `tracestate` must be passed on. A longer one is left out.
    const LONGEST_STATE: usize = 512;

    thread_local! {
        /// The context of the message that this thread handles.
        static CURRENT: RefCell<Option<Carried>> = const { RefCell::new(None) };
    }

    #[derive(Clone)]
    struct Carried {
        parent: Arc<str>,
        state: Option<Arc<str>>,
    }

    impl Carried {
        fn of(message: &Message) -> Option<Self> {
            let headers = message.headers();
            let parent = headers.shared(PARENT).filter(|parent| is_valid(parent))?;
            Some(Self {
                parent: Arc::clone(parent),
                state: headers
                    .shared(STATE)
                    .filter(|state| state.len() <= LONGEST_STATE)
                    .cloned(),
            })
        }
    }

    /// Whether it is a `traceparent` of the W3C: a version, a trace and a parent that are not zero,
    /// and flags.
    fn is_valid(text: &str) -> bool {
        let is_hex = |part: &str, length| {
            part.len() == length
                && part
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_set = |part: &str| part.bytes().any(|byte| byte != b'0');
        let mut parts = text.split('-');
        let mut part = || parts.next().unwrap_or_default();
        let (version, trace, parent, flags) = (part(), part(), part(), part());
        is_hex(version, 2)
            && version != "ff"
            && is_hex(trace, 32)
            && is_set(trace)
            && is_hex(parent, 16)
            && is_set(parent)
            && is_hex(flags, 2)
            // Later versions may add parts. They can have any length, and every message that
            // follows would carry them.
            && parts.next().is_none()
    }

    /// Begins to publish. Gives the message the context of the message that this thread handles,
    /// unless it has a context of its own, and enters a span.
    pub(crate) fn publishing(driver: &'static str, message: Message) -> (Message, EnteredSpan) {
        let carried = match message.headers().shared(PARENT) {
            Some(_) => None,
            None => CURRENT
                .try_with(|current| current.borrow().clone())
                .ok()
                .flatten(),
        };
        let message = match carried {
            None => message,
            Some(carried) => {
                let message = message.header(PARENT, carried.parent);
                match carried.state {
                    Some(state) => message.header(STATE, state),
                    None => message,
                }
            }
        };
        let span = span!(
            target: TARGET,
            Level::DEBUG,
            "publish",
            driver,
            key = message.channel(),
            id = %message.id(),
            traceparent = Empty,
        );
        record_parent(&span, &message);
        (message, span.entered())
    }

    fn record_parent(span: &Span, message: &Message) {
        if !span.is_disabled()
            && let Some(parent) = message
                .headers()
                .get(PARENT)
                .filter(|parent| is_valid(parent))
        {
            span.record(PARENT, parent);
        }
    }

    /// Calls a handler with a message inside a span.
    #[inline]
    pub(crate) fn handling(
        message: &Message,
        context: &Context,
        call: impl FnOnce() -> Started,
    ) -> Started {
        let span = span!(
            target: TARGET,
            Level::DEBUG,
            "handle",
            key = %context.key(),
            group = context.group(),
            id = %message.id(),
            attempt = context.attempt(),
            traceparent = Empty,
            error = Empty,
        );
        record_parent(&span, message);
        let _inside = Inside::enter(Carried::of(message));
        let started = span.in_scope(call);
        if let Started::Done(Err(error)) = &started
            && !span.is_disabled()
        {
            // The error's text is made by user code, and is in the event `HandlerFailed`.
            let kind = match error {
                crate::HandlerError::Retry(_) => "retry",
                crate::HandlerError::Reject => "reject",
                crate::HandlerError::HandBack => "hand back",
                crate::HandlerError::Failed(_) => "failed",
            };
            span.record("error", kind);
        }
        started
    }

    /// Restores the context of the outer message when it is dropped.
    struct Inside(Option<Carried>);

    impl Inside {
        #[inline]
        fn enter(carried: Option<Carried>) -> Self {
            let outer = CURRENT.try_with(|current| current.replace(carried));
            Self(outer.ok().flatten())
        }
    }

    impl Drop for Inside {
        fn drop(&mut self) {
            let _ = CURRENT.try_with(|current| current.replace(self.0.take()));
        }
    }

    /// The span and the context of an async handler, which each of its polls enters.
    #[cfg(feature = "tokio")]
    pub(crate) struct Trace {
        span: Span,
        carried: Option<Carried>,
    }

    #[cfg(feature = "tokio")]
    impl Trace {
        /// Returns the span and the context of the handler that starts on this thread.
        pub(crate) fn current() -> Self {
            let carried = CURRENT.try_with(|current| current.borrow().clone());
            Self {
                span: Span::current(),
                carried: carried.ok().flatten(),
            }
        }

        pub(crate) fn inside<R>(&self, f: impl FnOnce() -> R) -> R {
            let _inside = Inside::enter(self.carried.clone());
            self.span.in_scope(f)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::is_valid;

        #[test]
        fn a_traceparent_has_the_form_of_the_w3c() {
            let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            assert!(is_valid(good));
            assert!(is_valid(&good.replacen("00", "cc", 1)));
            assert!(!is_valid(&(good.replacen("00", "cc", 1) + "-more")));
            for bad in [
                "",
                "00",
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
            ] {
                assert!(!is_valid(bad), "{bad}");
            }
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use crate::context::Context;
    use crate::dispatch::Started;
    use crate::message::Message;

    #[inline]
    pub(crate) fn publishing(_driver: &'static str, message: Message) -> (Message, ()) {
        (message, ())
    }

    #[inline]
    pub(crate) fn handling(
        _message: &Message,
        _context: &Context,
        call: impl FnOnce() -> Started,
    ) -> Started {
        call()
    }

    /// Nothing.
    #[cfg(feature = "tokio")]
    pub(crate) struct Trace;

    #[cfg(feature = "tokio")]
    impl Trace {
        pub(crate) fn current() -> Self {
            Self
        }

        pub(crate) fn inside<R>(&self, f: impl FnOnce() -> R) -> R {
            f()
        }
    }
}
