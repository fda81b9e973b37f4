//! The feature `tracing`: spans around publish and handle, and the trace context that messages
//! carry.
//!
//! The context is the W3C's: the headers `traceparent` and `tracestate`, of a message and not of
//! HTTP. This crate passes it on, from the message that a handler got to those that it publishes or
//! replies, and records it in the spans. It makes none: the identities of a trace belong to the
//! library that exports it. A subscriber that panics loses spans, and changes nothing else.

#[cfg(feature = "tracing")]
mod on {
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::Arc;

    use tracing::field::Empty;
    use tracing::span::EnteredSpan;
    use tracing::{Level, Span, span};

    use super::super::quietly;
    use crate::request::Request;
    use crate::wire::Message;

    const PARENT: &str = "traceparent";
    const STATE: &str = "tracestate";
    pub(crate) const TARGET: &str = "fanfeed_sockets";

    /// The specification of the W3C demands that at least this many bytes of a `tracestate` are
    /// passed on. A longer one is left out.
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
            let parent = parent_of(message)?;
            let state = message.header(STATE);
            Some(Self {
                parent: parent.into(),
                state: state
                    .filter(|state| state.len() <= LONGEST_STATE && is_printable(state))
                    .map(Arc::from),
            })
        }

        fn write(&self, message: &mut Message) {
            if message.header(PARENT).is_some() {
                return;
            }
            message.set_header(PARENT, &*self.parent);
            if let Some(state) = &self.state {
                message.set_header(STATE, &**state);
            }
        }
    }

    /// The part of a `traceparent` that all versions have: a version, a trace and a parent that are
    /// not zero, and flags.
    fn common_part(text: &str) -> Option<&str> {
        const LENGTH: usize = 55;
        let common = text.get(..LENGTH)?;
        let is_hex = |part: &str, length| {
            let mut bytes = part.bytes();
            part.len() == length && bytes.all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_set = |part: &str| part.bytes().any(|byte| byte != b'0');
        let mut parts = common.split('-');
        let mut part = || parts.next().unwrap_or_default();
        let (version, trace, parent, flags) = (part(), part(), part(), part());
        let is_valid = is_hex(version, 2)
            && version != "ff"
            && is_hex(trace, 32)
            && is_set(trace)
            && is_hex(parent, 16)
            && is_set(parent)
            && is_hex(flags, 2)
            // Later versions may add parts, which can have any length and any text, and are not
            // passed on.
            && match text.as_bytes().get(LENGTH) {
                None => true,
                Some(next) => version != "00" && *next == b'-',
            };
        is_valid.then_some(common)
    }

    fn parent_of(message: &Message) -> Option<&str> {
        message.header(PARENT).and_then(common_part)
    }

    /// Whether a `tracestate` has no other characters than the W3C allows: printable ones, spaces
    /// and tabs.
    fn is_printable(text: &str) -> bool {
        text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
    }

    fn record_parent(span: &Span, message: &Message) {
        if !span.is_disabled()
            && let Some(parent) = parent_of(message)
        {
            span.record(PARENT, parent);
        }
    }

    /// A span that the thread is in. It leaves it when this is dropped.
    pub(crate) struct Publishing(Option<EnteredSpan>);

    impl Drop for Publishing {
        fn drop(&mut self) {
            let entered = self.0.take();
            quietly(|| drop(entered));
        }
    }

    /// Begins to publish a message: gives it the context of the one that this thread handles,
    /// unless it has one of its own, and enters a span.
    pub(crate) fn publishing(to: &str, message: &mut Message) -> Publishing {
        // It fails in the destructors of a thread, where nothing is handled.
        let carried = CURRENT.try_with(|current| current.borrow().clone());
        if let Some(carried) = carried.ok().flatten() {
            carried.write(message);
        }
        Publishing(quietly(|| {
            let span = span!(
                target: TARGET,
                Level::DEBUG,
                "publish",
                to,
                key = message.key(),
                id = message.id(),
                traceparent = Empty,
            );
            record_parent(&span, message);
            span.entered()
        }))
    }

    /// The span and the context of a handler, which each poll of it enters.
    pub(crate) struct Handling {
        span: Option<Span>,
        carried: Option<Carried>,
    }

    impl Handling {
        pub(crate) fn of(request: &Request) -> Self {
            let message = request.message();
            let span = quietly(|| {
                let span = span!(
                    target: TARGET,
                    Level::DEBUG,
                    "handle",
                    channel = request.channel(),
                    key = request.key(),
                    client = message.client_id(),
                    id = message.id(),
                    traceparent = Empty,
                    error = Empty,
                );
                record_parent(&span, message);
                span
            });
            Self {
                span,
                carried: Carried::of(message),
            }
        }

        pub(crate) fn inside<R>(&self, f: impl FnOnce() -> R) -> R {
            let _inside = Inside::enter(self.carried.clone());
            let Some(span) = &self.span else { return f() };
            let entered = quietly(|| span.enter());
            // The span is left where a second panic can be caught.
            let result = catch_unwind(AssertUnwindSafe(f));
            quietly(|| drop(entered));
            result.unwrap_or_else(|panic| {
                self.failed();
                resume_unwind(panic)
            })
        }

        /// Gives the context to a reply.
        pub(crate) fn carry(&self, message: &mut Message) {
            if let Some(carried) = &self.carried {
                carried.write(message);
            }
        }

        /// The error's text may have internals in it, and stands in the events.
        pub(crate) fn failed(&self) {
            if let Some(span) = &self.span {
                quietly(|| span.record("error", true));
            }
        }
    }

    impl Drop for Handling {
        fn drop(&mut self) {
            let span = self.span.take();
            quietly(|| drop(span));
        }
    }

    /// Restores the context of the outer message at its end.
    struct Inside(Option<Carried>);

    impl Inside {
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

    #[cfg(test)]
    mod tests {
        use super::{Carried, Message, common_part};

        const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

        #[test]
        fn a_traceparent_has_the_form_of_the_w3c() {
            assert_eq!(common_part(GOOD), Some(GOOD));
            let later = GOOD.replacen("00", "cc", 1);
            assert_eq!(common_part(&later), Some(&*later));
            for bad in [
                "",
                "00",
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é-more",
            ] {
                assert_eq!(common_part(bad), None, "{bad}");
            }
        }

        /// A peer may send as much as a message may have, and any characters.
        #[test]
        fn what_a_later_version_adds_is_not_passed_on() {
            let later = GOOD.replacen("00", "cc", 1);
            let mut message = Message::new("key", "", "");
            message.set_header("traceparent", format!("{later}-{}\n", "x".repeat(60_000)));
            message.set_header("tracestate", "a=\u{1b}[2J");
            let carried = Carried::of(&message).unwrap();
            assert_eq!(&*carried.parent, later);
            assert!(carried.state.is_none());
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use crate::wire::Message;

    /// Nothing.
    pub(crate) struct Publishing;

    pub(crate) fn publishing(_to: &str, _message: &mut Message) -> Publishing {
        Publishing
    }

    #[cfg(feature = "metrics")]
    pub(crate) struct Handling;

    #[cfg(feature = "metrics")]
    impl Handling {
        pub(crate) fn of(_request: &crate::request::Request) -> Self {
            Self
        }

        pub(crate) fn inside<R>(&self, f: impl FnOnce() -> R) -> R {
            f()
        }

        pub(crate) fn carry(&self, _message: &mut Message) {}

        pub(crate) fn failed(&self) {}
    }
}

#[cfg(all(not(feature = "tracing"), feature = "metrics"))]
pub(crate) use off::Handling;
#[cfg(not(feature = "tracing"))]
pub(crate) use off::publishing;
#[cfg(all(feature = "tracing", feature = "server"))]
pub(crate) use on::TARGET;
#[cfg(feature = "tracing")]
pub(crate) use on::{Handling, publishing};
