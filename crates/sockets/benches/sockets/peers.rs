//! What the sockets are compared with: axum by itself, and socketioxide.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// Serves a router on a free port.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A list of axum's sockets, and a loop that writes one text to each.
#[derive(Clone, Default)]
pub(crate) struct Loop(Arc<Mutex<Vec<WebSocket>>>);

impl Loop {
    pub(crate) fn router(&self) -> Router {
        let upgrade = |State(list): State<Loop>, upgrade: WebSocketUpgrade| async move {
            upgrade.on_upgrade(|mut socket| async move {
                if socket.send(Message::Text("joined".into())).await.is_ok() {
                    list.0.lock().await.push(socket);
                }
            })
        };
        Router::new()
            .route("/ws/room", get(upgrade))
            .with_state(self.clone())
    }

    pub(crate) async fn broadcast(&self, text: &Utf8Bytes) {
        for socket in &mut *self.0.lock().await {
            socket
                .send(Message::Text(text.clone()))
                .await
                .expect("the clients stay");
        }
    }
}

/// The message of the protocol, as a program would declare it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    correlation_id: String,
    app_id: String,
    #[serde(rename = "clientID")]
    client_id: String,
    user_id: String,
    expiration: Option<String>,
    #[serde(borrow)]
    body: &'a RawValue,
    message_id: String,
    channel_id: String,
    timestamp: String,
    #[serde(rename = "type")]
    kind: String,
    headers: Option<std::collections::HashMap<String, Vec<String>>>,
}

/// Sends each message back, parsed and written again.
pub(crate) fn echo() -> Router {
    async fn run(mut socket: WebSocket) {
        if socket.send(Message::Text("joined".into())).await.is_err() {
            return;
        }
        while let Some(Ok(message)) = socket.recv().await {
            let Message::Text(text) = message else {
                continue;
            };
            let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(&text) else {
                return;
            };
            let text = serde_json::to_string(&envelope).expect("it is plain data");
            if socket.send(Message::Text(text.into())).await.is_err() {
                return;
            }
        }
    }
    let upgrade = |upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(run) };
    Router::new().route("/ws/room", get(upgrade))
}

/// A room of socketioxide.
pub(crate) fn socketio() -> (Router, SocketIo) {
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", async |socket: SocketRef| socket.join("room"));
    (Router::new().layer(layer), io)
}
