//! The WebSocket under a session: this crate's own upgrade, or axum's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::ws;
use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message as WsMessage, Utf8Bytes};

use super::close::Close;
use super::mailbox::Frame;
use super::noted::Noted;

/// What a peer sent.
#[derive(Debug)]
pub(super) enum Input {
    /// A text or binary message.
    Data(Bytes),
    /// A ping or a pong. Pings are answered below.
    Control,
    /// A close frame. It is answered below.
    Close,
}

/// What is sent to a peer.
#[derive(Debug)]
pub(super) enum Output {
    Text(Frame),
    Ping,
    /// An unsolicited pong.
    Pong,
    Close(Close),
}

/// The connection is gone: why.
#[derive(Debug, Clone)]
pub(super) struct Gone(pub(super) Arc<str>);

impl Gone {
    fn by(error: &impl std::fmt::Display) -> Self {
        Self(error.to_string().into())
    }

    /// The peer ended the stream without a close frame.
    pub(super) fn at_end() -> Self {
        Self("the stream ended without a close frame".into())
    }
}

/// Why nothing more can be read.
#[derive(Debug, Clone)]
pub(super) enum ReadError {
    /// The peer must be told why.
    Close(Close),
    Lost(Gone),
}

/// A connection that messages go over.
pub(super) trait Socket: Send + Unpin {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Input, ReadError>>>;
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;
    fn start_send(&mut self, output: Output) -> Result<(), Gone>;
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// How many bytes have arrived, complete messages or not. `None` if that cannot be known.
    fn bytes_read(&self) -> Option<u64>;

    /// Ends what is written, and reads and discards what the peer sends, until its end. Closing a
    /// TCP connection with unread data resets it, and the peer may then never see the close frame.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

fn read_error(error: &tungstenite::Error) -> ReadError {
    use tungstenite::Error;
    use tungstenite::error::ProtocolError;
    match error {
        Error::Capacity(_) => ReadError::Close(Close::TOO_BIG),
        Error::Utf8(_) => ReadError::Close(Close::NOT_TEXT),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            ReadError::Lost(Gone::at_end())
        }
        Error::Protocol(_) => ReadError::Close(Close::PROTOCOL),
        _ => ReadError::Lost(Gone::by(error)),
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for WebSocketStream<Noted<S>> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Input, ReadError>>> {
        let item = match ready!(Pin::new(self).poll_next(cx)) {
            None => return Poll::Ready(None),
            Some(Ok(message)) => Ok(match message {
                WsMessage::Text(text) => Input::Data(text.into()),
                WsMessage::Binary(data) => Input::Data(data),
                WsMessage::Close(_) => Input::Close,
                WsMessage::Ping(_) | WsMessage::Pong(_) | WsMessage::Frame(_) => Input::Control,
            }),
            Some(Err(error)) => Err(read_error(&error)),
        };
        Poll::Ready(Some(item))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Sink::poll_ready(Pin::new(self), cx).map_err(|error| Gone::by(&error))
    }

    fn start_send(&mut self, output: Output) -> Result<(), Gone> {
        let message = match output {
            Output::Text(text) => WsMessage::Text(text),
            Output::Ping => WsMessage::Ping(Bytes::new()),
            Output::Pong => WsMessage::Pong(Bytes::new()),
            Output::Close(close) => WsMessage::Close(Some(close.frame())),
        };
        Sink::start_send(Pin::new(self), message).map_err(|error| Gone::by(&error))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Sink::poll_flush(Pin::new(self), cx).map_err(|error| Gone::by(&error))
    }

    fn bytes_read(&self) -> Option<u64> {
        Some(self.get_ref().bytes_read())
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The end of what is written makes the peer close its side. It may have been there before.
        let _ = ready!(Pin::new(self.get_mut()).poll_shutdown(cx));
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = Pin::new(self.get_mut()).poll_read(cx, &mut buffer);
            if ready!(read).is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

/// A WebSocket on a TCP connection of its own, which can tell cheaply that nothing has arrived.
pub(super) struct TcpSocket {
    inner: WebSocketStream<Noted<TcpStream>>,
    /// Whether everything that has arrived was read. A read that finds nothing clears a buffer
    /// first, which a broadcast to a thousand members would otherwise do a thousand times.
    is_drained: bool,
}

impl TcpSocket {
    pub(super) fn new(inner: WebSocketStream<Noted<TcpStream>>) -> Self {
        Self {
            inner,
            is_drained: false,
        }
    }
}

impl Socket for TcpSocket {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Input, ReadError>>> {
        if self.is_drained {
            // An error shows again when the stream is read.
            let _ = ready!(self.inner.get_ref().get_ref().poll_read_ready(cx));
        }
        let read = Socket::poll_read(&mut self.inner, cx);
        self.is_drained = read.is_pending();
        read
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Socket::poll_ready(&mut self.inner, cx)
    }

    fn start_send(&mut self, output: Output) -> Result<(), Gone> {
        Socket::start_send(&mut self.inner, output)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Socket::poll_flush(&mut self.inner, cx)
    }

    fn bytes_read(&self) -> Option<u64> {
        self.inner.bytes_read()
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Socket::poll_discard(&mut self.inner, cx)
    }
}

impl Socket for ws::WebSocket {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Input, ReadError>>> {
        let item = match ready!(Pin::new(self).poll_next(cx)) {
            None => return Poll::Ready(None),
            Some(Ok(message)) => Ok(match message {
                ws::Message::Text(text) => Input::Data(text.into()),
                ws::Message::Binary(data) => Input::Data(data),
                ws::Message::Close(_) => Input::Close,
                ws::Message::Ping(_) | ws::Message::Pong(_) => Input::Control,
            }),
            Some(Err(error)) => {
                let error = error.into_inner();
                let lost = || ReadError::Lost(Gone::by(&error));
                Err(error.downcast_ref().map_or_else(lost, read_error))
            }
        };
        Poll::Ready(Some(item))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Sink::poll_ready(Pin::new(self), cx).map_err(|error| Gone::by(&error))
    }

    fn start_send(&mut self, output: Output) -> Result<(), Gone> {
        let message = match output {
            Output::Text(text) => ws::Message::Text(axum_text(text)?),
            Output::Ping => ws::Message::Ping(Bytes::new()),
            Output::Pong => ws::Message::Pong(Bytes::new()),
            Output::Close(close) => ws::Message::Close(Some(ws::CloseFrame {
                code: close.code,
                reason: close.reason.into(),
            })),
        };
        Sink::start_send(Pin::new(self), message).map_err(|error| Gone::by(&error))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Sink::poll_flush(Pin::new(self), cx).map_err(|error| Gone::by(&error))
    }

    /// Axum does not give access to what is below.
    fn bytes_read(&self) -> Option<u64> {
        None
    }

    fn poll_discard(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// The same bytes, which axum checks once more.
fn axum_text(text: Utf8Bytes) -> Result<ws::Utf8Bytes, Gone> {
    ws::Utf8Bytes::try_from(Bytes::from(text)).map_err(|error| Gone::by(&error))
}
