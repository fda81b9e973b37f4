//! The server that is measured.

use std::net::SocketAddr;
use std::time::Duration;

use fanfeed_sockets::{Limits, Message, Request, Server, ServerBuilder, SlowMembers};
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::clients::now;

/// For what happens soon, or never.
const LONG: Duration = Duration::from_secs(30);

/// A server on a free port.
pub(crate) struct Own {
    server: Server,
    address: SocketAddr,
    task: JoinHandle<std::io::Result<()>>,
}

/// All clients have a few addresses of the loopback, and send as fast as they can.
fn limits() -> Limits {
    Limits::default()
        .connections_per_address(10_000)
        .message_rate(1_000_000)
        .message_burst(1_000_000)
}

impl Own {
    pub(crate) async fn start() -> Self {
        Self::with(Server::builder().limits(limits()), None)
    }

    /// A server on which a member that does not read is full soon, and stays.
    pub(crate) async fn with_slow_members() -> Self {
        let limits = limits()
            .slow_members(SlowMembers::DropNewest)
            .write_time(10 * LONG);
        Self::with(Server::builder().limits(limits), Some(16 * 1024))
    }

    /// A server that gives up hostile clients as soon as it can, with the default limit of their
    /// rate.
    pub(crate) async fn under_attack() -> Self {
        let limits = Limits::default()
            .connections_per_address(10_000)
            .handshake_time(Duration::from_secs(1))
            .ping_interval(Duration::from_millis(500))
            .idle_time(Duration::from_secs(3))
            .close_time(Duration::from_secs(1));
        Self::with(Server::builder().limits(limits), None)
    }

    /// `send` is how many bytes the kernel may keep for a connection, if it is not to decide
    /// itself.
    fn with(builder: ServerBuilder, send: Option<u32>) -> Self {
        let server = builder
            .direct_handler("say", |request: Request| async move {
                let mut answer = request.reply("said");
                answer.copy_body(request.message());
                Ok(Some(answer))
            })
            .build()
            .expect("the settings are valid");
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(send) = send {
            // Connections inherit it.
            socket
                .set_send_buffer_size(send)
                .expect("a socket's option");
        }
        socket
            .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .expect("a free port");
        let listener = socket.listen(1024).expect("the port is free");
        let address = listener.local_addr().expect("it is bound");
        let app = axum::Router::new().nest("/ws", server.router());
        let task = tokio::spawn({
            let server = server.clone();
            async move { server.serve_router(listener, app).await }
        });
        Own {
            server,
            address,
            task,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn server(&self) -> Server {
        self.server.clone()
    }

    pub(crate) fn broadcast(&self, channel: &str, message: &Message) {
        self.server.broadcast(channel, message.clone());
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.server.stats().dropped
    }

    pub(crate) fn connections(&self) -> usize {
        self.server.stats().connections
    }

    pub(crate) async fn wait_for_members(&self, channel: &str, count: usize) {
        self.wait(|| self.server.members(channel).len() == count)
            .await;
    }

    pub(crate) async fn wait_for_connections(&self, count: usize) {
        self.wait(|| self.connections() == count).await;
    }

    async fn wait(&self, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = timeout(LONG, wait).await;
        assert!(
            waited.is_ok(),
            "waited in vain; the server has counted {:?}",
            self.server.stats()
        );
    }

    pub(crate) async fn stop(self) {
        self.server.shutdown(LONG).await;
        self.task
            .await
            .expect("no panic")
            .expect("the listener is of use");
    }
}

/// A message to a channel, whose body has so many bytes and says when it was sent.
pub(crate) fn news(bytes: usize) -> Message {
    let message = Message::new("news", "", "room");
    message.with_body(&body(bytes)).expect("it is JSON")
}

/// A message that the handler echoes.
pub(crate) fn question() -> Message {
    let message = Message::new("say", "", "room");
    message.with_body(&body(200)).expect("it is JSON")
}

/// JSON of so many bytes.
pub(crate) fn body(bytes: usize) -> serde_json::Value {
    let sent = now();
    let empty = json!({"sent": sent, "text": ""}).to_string();
    json!({"sent": sent, "text": "x".repeat(bytes - empty.len())})
}
