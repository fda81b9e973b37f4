//! Making a connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::address;
use super::error::JoinError;
use super::join::JoinOptions;
use super::member::Seen;
use super::settings::Settings;
use super::tls::Tls;

/// A TCP connection, with or without TLS.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A connection after the upgrade.
pub(super) type Socket = WebSocketStream<Noted>;

/// When a transport last made progress.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<Last>>);

#[derive(Clone, Copy)]
struct Last {
    read: Instant,
    written: Instant,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Last {
            read: now,
            written: now,
        })))
    }

    pub(super) fn last_read(&self) -> Instant {
        self.0.lock().read
    }

    pub(super) fn last_write(&self) -> Instant {
        self.0.lock().written
    }
}

/// A transport that notes when something comes, and when it takes something.
pub(super) struct Noted {
    inner: Box<dyn Transport>,
    progress: Progress,
}

impl Noted {
    pub(super) fn new(inner: Box<dyn Transport>) -> Self {
        let progress = Progress::new();
        Self { inner, progress }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.progress.0.lock().read = Instant::now();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        self.progress.0.lock().written = Instant::now();
        Poll::Ready(taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The headers that the upgrade itself has.
const RESERVED: [&str; 7] = [
    "connection",
    "content-length",
    "host",
    "transfer-encoding",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
];

/// Connects to one channel, as often as needed: with the same URL, headers and limits each time.
pub(super) struct Dialer {
    /// Without the key of the handshake, which is another one each time.
    request: Request,
    tls: Tls,
    timeout: Duration,
    config: WebSocketConfig,
}

impl Dialer {
    pub(super) fn new(
        host: &str,
        channel: &str,
        options: &JoinOptions,
        settings: &Settings,
        tls: &Tls,
    ) -> Result<Self, JoinError> {
        let url = address::url(host, channel, &options.params)?;
        if url.scheme_str() == Some("wss") && !Tls::AVAILABLE {
            return Err(JoinError::NoTls);
        }
        let mut request = url.into_client_request()?;
        for (name, values) in options.headers.iter() {
            let bad = |what| JoinError::BadHeader {
                name: name.to_owned(),
                what,
            };
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| bad("its name has a character that HTTP does not take"))?;
            let lower = header.as_str();
            if RESERVED.contains(&lower) || lower.starts_with("sec-websocket-") {
                return Err(bad("it belongs to the upgrade itself"));
            }
            for value in values {
                let mut value = HeaderValue::from_str(value)
                    .map_err(|_| bad("its value has a character that HTTP does not take"))?;
                value.set_sensitive(true);
                request.headers_mut().append(header.clone(), value);
            }
        }
        Ok(Self {
            request,
            tls: tls.clone(),
            timeout: settings.connect_timeout,
            config: settings.websocket(),
        })
    }

    /// Connects, and waits for the upgrade. `seen` is what a client that comes back saw last.
    pub(super) async fn dial(self: Arc<Self>, seen: Option<Seen>) -> Result<Socket, JoinError> {
        match tokio::time::timeout(self.timeout, self.upgrade(seen)).await {
            Ok(done) => done,
            Err(_) => Err(JoinError::Timeout(self.timeout)),
        }
    }

    async fn upgrade(&self, seen: Option<Seen>) -> Result<Socket, JoinError> {
        let url = self.request.uri();
        let host = url.host().unwrap_or_default();
        // The address of IPv6 stands in brackets in a URL alone.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_secure = url.scheme_str() == Some("wss");
        let port = url.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(JoinError::Io)?;
        stream.set_nodelay(true).map_err(JoinError::Io)?;
        let stream: Box<dyn Transport> = if is_secure {
            self.tls.connect(host, stream).await?
        } else {
            Box::new(stream)
        };
        // A new key for the handshake.
        let mut request = url.clone().into_client_request()?;
        for (name, value) in self.request.headers() {
            let is_own = RESERVED.contains(&name.as_str());
            if !is_own {
                request.headers_mut().append(name.clone(), value.clone());
            }
        }
        // In place of those with which the program joined.
        for (name, value) in seen.into_iter().flat_map(Seen::headers) {
            request.headers_mut().insert(name, value);
        }
        let (socket, _) =
            client_async_with_config(request, Noted::new(stream), Some(self.config)).await?;
        Ok(socket)
    }
}
