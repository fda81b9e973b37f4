//! The server that the peers talk to.

use std::net::SocketAddr;
use std::time::Duration;

use fanfeed_sockets::{Message, Request, Server};
use fanfeed_testkit::wait_until;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A server on a free port, whose runtime ends with it.
pub(crate) struct Room {
    server: Server,
    address: SocketAddr,
    runtime: Runtime,
}

impl Room {
    /// With handlers of `echo`, which answers the sender, `chat`, which answers all members, and
    /// `fail`.
    pub(crate) fn open() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let server = Server::builder()
            .direct_handler("echo", |request: Request| async move {
                Ok(Some(answer(&request, "echoed")))
            })
            .channel_handler("chat", |request: Request| async move {
                Ok(Some(answer(&request, "chatted")))
            })
            .direct_handler("fail", |_: Request| async { Err("a secret".into()) })
            .build()
            .expect("the settings are valid");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let app = axum::Router::new().nest("/ws", server.router());
        runtime.spawn({
            let server = server.clone();
            async move { server.serve_router(listener, app).await }
        });
        Room {
            server,
            address,
            runtime,
        }
    }

    pub(crate) fn url(&self, channel: &str) -> String {
        format!("ws://{}/ws/{channel}", self.address)
    }

    pub(crate) fn broadcast(&self, channel: &str, kind: &str, body: &Value) {
        let message = Message::new(kind, "", channel);
        let message = message.with_body(body).expect("it is JSON");
        self.server.broadcast(channel, message);
    }

    pub(crate) fn close_channel(&self, channel: &str) -> bool {
        self.server.close_channel(channel)
    }

    #[track_caller]
    pub(crate) fn wait_for_members(&self, channel: &str, count: usize) {
        wait_until("members have joined or left", || {
            self.server.members(channel).len() == count
        });
    }

    /// Disconnects all clients.
    pub(crate) fn shut_down(&self) {
        let report = self
            .runtime
            .block_on(self.server.shutdown(Duration::from_secs(60)));
        assert_eq!(report.cut, 0, "{report:?}");
    }
}

fn answer(request: &Request, kind: &str) -> Message {
    let mut answer = request.reply(kind);
    answer.copy_body(request.message());
    answer
}
