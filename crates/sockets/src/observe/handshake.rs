//! The feature `tracing`: a span around each handshake, from the request to the join.
//!
//! It shows neither headers nor the query of the request, which have secrets. A subscriber that
//! panics loses the span, and changes nothing else.

#[cfg(feature = "tracing")]
mod on {
    use std::future::{Future, poll_fn};
    use std::net::IpAddr;
    use std::pin::pin;

    use tracing::field::{Empty, display};
    use tracing::{Level, Span, span};

    use super::super::trace::TARGET;
    use super::super::{quietly, shown};

    /// The span of a handshake.
    pub(crate) struct Handshake {
        span: Option<Span>,
        is_decided: bool,
    }

    impl Handshake {
        pub(crate) fn begin(channel: &str, address: Option<IpAddr>) -> Self {
            let span = quietly(|| {
                let span = span!(
                    target: TARGET,
                    Level::DEBUG,
                    "handshake",
                    channel = &*shown(channel),
                    address = Empty,
                    outcome = Empty,
                    code = Empty,
                    client = Empty,
                );
                if let Some(address) = address {
                    span.record("address", display(address));
                }
                span
            });
            Self {
                span,
                is_decided: false,
            }
        }

        /// Polls a part of the handshake in its span.
        pub(crate) async fn inside<R>(&self, part: impl Future<Output = R>) -> R {
            let mut part = pin!(part);
            poll_fn(|cx| {
                let entered = self.span.as_ref().and_then(|span| quietly(|| span.enter()));
                let polled = part.as_mut().poll(cx);
                quietly(|| drop(entered));
                polled
            })
            .await
        }

        pub(crate) fn joined(mut self, client: &str) {
            self.decide("joined", |span| {
                span.record("client", client);
            });
        }

        /// The HTTP status, or the close code of a connection that is a WebSocket already.
        pub(crate) fn refused(mut self, code: u16) {
            self.decide("refused", |span| {
                span.record("code", code);
            });
        }

        /// The connection ended first.
        pub(crate) fn lost(mut self) {
            self.decide("lost", |_| {});
        }

        fn decide(&mut self, outcome: &str, more: impl FnOnce(&Span)) {
            self.is_decided = true;
            if let Some(span) = &self.span {
                quietly(|| {
                    span.record("outcome", outcome);
                    more(span);
                });
            }
        }
    }

    impl Drop for Handshake {
        /// The future of a handshake is dropped when its connection ends.
        fn drop(&mut self) {
            if !self.is_decided {
                self.decide("lost", |_| {});
            }
            let span = self.span.take();
            quietly(|| drop(span));
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use std::net::IpAddr;

    /// Nothing.
    pub(crate) struct Handshake;

    impl Handshake {
        pub(crate) fn begin(_channel: &str, _address: Option<IpAddr>) -> Self {
            Self
        }

        pub(crate) async fn inside<R>(&self, part: impl Future<Output = R>) -> R {
            part.await
        }

        pub(crate) fn joined(self, _client: &str) {}

        pub(crate) fn refused(self, _code: u16) {}

        pub(crate) fn lost(self) {}
    }
}

#[cfg(not(feature = "tracing"))]
pub(crate) use off::Handshake;
#[cfg(feature = "tracing")]
pub(crate) use on::Handshake;
