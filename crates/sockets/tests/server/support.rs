//! A server on a free port, and raw clients.

use std::net::SocketAddr;
use std::time::Duration;

use fanfeed_sockets::{Message, Request, Server, ServerBuilder};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request as Handshake;
use tokio_tungstenite::tungstenite::{Error, Message as WsMessage};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Far above what anything takes on a loaded machine, even one that stops the test for a while.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A server that listens. It ends when dropped.
pub(crate) struct Listening {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    pub(crate) task: tokio::task::JoinHandle<std::io::Result<()>>,
}

pub(crate) async fn listen(builder: ServerBuilder) -> Listening {
    let server = builder.build().expect("the settings are valid");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = server.clone();
    let task = tokio::spawn(async move { serving.serve(listener).await });
    Listening {
        server,
        address,
        task,
    }
}

/// A server whose direct handler `echo` sends a body back, and whose channel handler `chat` sends
/// it to all.
pub(crate) fn echoing() -> ServerBuilder {
    Server::builder()
        .direct_handler("echo", |request: Request| async move {
            let mut reply = request.reply("echoed");
            reply.copy_body(request.message());
            Ok(Some(reply))
        })
        .channel_handler("chat", |request: Request| async move {
            let mut reply = request.reply("chatted");
            reply.copy_body(request.message());
            Ok(Some(reply))
        })
}

impl Listening {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}/{path}", self.address)
    }

    /// Joins a channel, and reads its `join.success`.
    pub(crate) async fn join(&self, channel: &str) -> Client {
        let mut client = self.connect(channel).await;
        let welcome = client.next().await;
        assert_eq!(welcome["type"], "join.success", "{welcome}");
        client.id = welcome["clientID"].as_str().unwrap().to_owned();
        client.welcome = welcome;
        client
    }

    pub(crate) async fn connect(&self, path: &str) -> Client {
        self.connect_with(self.request(path)).await.unwrap()
    }

    pub(crate) fn request(&self, path: &str) -> Handshake {
        self.url(path).into_client_request().unwrap()
    }

    pub(crate) async fn connect_with(&self, request: Handshake) -> Result<Client, Error> {
        let (socket, _) = connect_async(request).await?;
        Ok(Client {
            socket,
            id: String::new(),
            welcome: Value::Null,
        })
    }

    /// The HTTP status with which a handshake is refused.
    pub(crate) async fn refused(&self, request: Handshake) -> u16 {
        match self.connect_with(request).await {
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("neither accepted nor refused: {error}"),
            Ok(_) => panic!("accepted"),
        }
    }
}

/// A raw client.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) id: String,
    pub(crate) welcome: Value,
}

impl Client {
    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(WsMessage::text(text)).await.unwrap();
    }

    /// Sends a message with this type and body, and nothing else.
    pub(crate) async fn send(&mut self, key: &str, body: Value) {
        let json = serde_json::json!({ "type": key, "body": body });
        self.send_text(&json.to_string()).await;
    }

    pub(crate) async fn send_message(&mut self, message: &Message) {
        self.send_text(&message.encode()).await;
    }

    /// The next message, pings and pongs left out.
    pub(crate) async fn next(&mut self) -> Value {
        match self.next_or_close().await {
            Ok(value) => value,
            Err(close) => panic!("closed instead of a message: {close:?}"),
        }
    }

    /// The next message, or the close code and its reason; `None` where the connection was cut.
    pub(crate) async fn next_or_close(&mut self) -> Result<Value, Option<(u16, String)>> {
        loop {
            let received = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match received.expect("a message or a close frame in time") {
                Some(Ok(WsMessage::Text(text))) => {
                    assert!(text.ends_with("}\n"), "{text:?}");
                    return Ok(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(WsMessage::Close(Some(frame)))) => {
                    let reason = frame.reason.to_string();
                    return Err(Some((frame.code.into(), reason)));
                }
                Some(Ok(WsMessage::Close(None))) => return Err(Some((1005, String::new()))),
                Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_))) => {}
                Some(Ok(other)) => panic!("not text: {other:?}"),
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Reads until the connection is closed, and returns the code.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            match self.next_or_close().await {
                Ok(_) => {}
                Err(Some((code, _))) => return code,
                Err(None) => panic!("cut without a close frame"),
            }
        }
    }

    pub(crate) async fn leave(mut self) {
        self.socket.close(None).await.unwrap();
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

/// Waits until the condition holds.
#[track_caller]
pub(crate) fn until(what: &'static str, condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let started = std::time::Instant::now();
        while !condition() {
            assert!(
                started.elapsed() < PATIENCE,
                "waited in vain at {place}: {what}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
