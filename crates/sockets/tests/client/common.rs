//! A server that hands each connection to the test, and waiting with a deadline.

use std::future::Future;
use std::time::Duration;

use fanfeed::Receiver;
use fanfeed_sockets::{
    Client, ClientBuilder, ClientEvent, ClientEventKind, Incoming, JoinOptions, Membership,
    Message, decode,
};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, StatusCode};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// Far above what anything takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a future, and fails loudly if it takes too long.
#[track_caller]
pub(crate) fn within<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(done) => done,
            Err(_) => panic!("waited {PATIENCE:?} in vain at {caller}: {what}"),
        }
    }
}

/// A builder whose client reconnects quickly.
pub(crate) fn quick() -> ClientBuilder {
    Client::builder().reconnect(Duration::from_millis(20))
}

/// Accepts connections and hands them over.
pub(crate) struct Server {
    pub(crate) url: String,
    peers: mpsc::UnboundedReceiver<Peer>,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::answering(StatusCode::SWITCHING_PROTOCOLS).await
    }

    /// Answers each upgrade with this status.
    pub(crate) async fn answering(status: StatusCode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::on(listener, status)
    }

    pub(crate) fn on(listener: TcpListener, status: StatusCode) -> Self {
        let url = format!("ws://{}/ws", listener.local_addr().expect("it is bound"));
        let (sender, peers) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    if let Ok(peer) = Peer::accept(stream, status).await {
                        let _ = sender.send(peer);
                    }
                });
            }
        });
        Self {
            url,
            peers,
            accepting,
        }
    }

    /// Lets the client join a channel. Returns its membership, and its connection as the server
    /// sees it.
    pub(crate) async fn joined(&mut self, client: &Client, channel: &str) -> (Membership, Peer) {
        let joining = client.join(&self.url, channel, JoinOptions::new());
        let membership = joining.await.expect("it is joined");
        (membership, self.peer().await)
    }

    pub(crate) async fn peer(&mut self) -> Peer {
        within("a client connects", self.peers.recv())
            .await
            .expect("the server lives")
    }

    /// A client that connected already and was not handed over yet.
    pub(crate) fn another_peer(&mut self) -> Option<Peer> {
        self.peers.try_recv().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One connection, as the server sees it.
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) socket: WebSocketStream<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) async fn accept(stream: S, status: StatusCode) -> Result<Self, Error> {
        let mut seen = None;
        #[allow(clippy::result_large_err)]
        let callback = |request: &Request, response: Response| {
            let path = request.uri().to_string();
            seen = Some((path, request.headers().clone()));
            if status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(response);
            }
            let mut refusal = ErrorResponse::new(None);
            *refusal.status_mut() = status;
            Err(refusal)
        };
        let socket = accept_hdr_async(stream, callback).await?;
        let (path, headers) = seen.expect("the callback was called");
        Ok(Self {
            path,
            headers,
            socket,
        })
    }

    /// Sends text as it is.
    pub(crate) async fn send(&mut self, text: impl Into<String>) {
        let frame = Frame::Text(text.into().into());
        self.socket.send(frame).await.expect("the client is there");
    }

    pub(crate) async fn send_message(&mut self, message: &Message) {
        self.send(message.encode()).await;
    }

    /// Sends `join.success` with this client id.
    pub(crate) async fn welcome(&mut self, client_id: &str) {
        let channel = self.path.rsplit('/').next().unwrap_or_default().to_owned();
        self.send_message(&Message::new("join.success", client_id, channel))
            .await;
    }

    /// The next frame that is neither ping nor pong, or `None` at the end of the connection.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        within("a frame, or the end", async {
            loop {
                match self.socket.next().await? {
                    Ok(Frame::Ping(_) | Frame::Pong(_)) => {}
                    Ok(frame) => return Some(frame),
                    Err(_) => return None,
                }
            }
        })
        .await
    }

    /// The text of the next message.
    pub(crate) async fn text(&mut self) -> String {
        match self.frame().await {
            Some(Frame::Text(text)) => text.to_string(),
            other => panic!("{other:?} instead of a message"),
        }
    }

    pub(crate) async fn message(&mut self) -> Message {
        match decode(self.text().await.as_bytes()) {
            Ok(Incoming::Message(message)) => message,
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// The code of the client's close frame, which has to come next, and is answered.
    pub(crate) async fn closed_with(&mut self) -> Option<u16> {
        let code = match self.frame().await {
            Some(Frame::Close(frame)) => frame.map(|frame| u16::from(frame.code)),
            other => panic!("{other:?} instead of a close frame"),
        };
        assert_eq!(self.frame().await, None);
        code
    }

    /// Closes with a code, or without one, and waits for the client's answer.
    pub(crate) async fn close(mut self, code: Option<u16>) {
        let frame = code.map(|code| CloseFrame {
            code: code.into(),
            reason: "the peer's reason".into(),
        });
        self.socket.close(frame).await.expect("the client is there");
        while self.frame().await.is_some() {}
    }
}

impl Peer {
    /// Resets the TCP connection.
    pub(crate) fn reset(self) {
        let stream = self.socket.into_inner();
        stream.set_zero_linger().expect("it can be set");
        drop(stream);
    }
}

/// The events of a client, in order.
pub(crate) struct Events(pub(crate) Receiver<ClientEvent>);

impl Events {
    pub(crate) fn of(client: &Client) -> Self {
        Self(client.events())
    }

    /// Skips events until one is what is looked for.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(ClientEventKind) -> Option<T>,
    ) -> T {
        within(what, async {
            loop {
                let event = self.0.recv_async().await.expect("the client tells");
                if let Some(found) = look(event.kind) {
                    return found;
                }
            }
        })
        .await
    }
}
