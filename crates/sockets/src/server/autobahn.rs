//! The cases of the Autobahn test suite, against sessions that send everything back.
//!
//! A case expects its messages back. So a socket stands between the WebSocket and the session that
//! turns what arrives, whatever it is, into a message to a handler, and the handler's reply into
//! the text that arrived. Everything else is as in any server: the WebSocket and its limits, the
//! session with its inbox, its queue and its phases.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fanfeed_testkit::Folder;
use fanfeed_testkit::autobahn::{CASES, Judge, against_server};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async_with_config;

use super::Server;
use super::noted::Noted;
use super::reach::Entrance;
use super::socket::{Gone, Input, Output, ReadError, Socket, TcpSocket};
use super::upgrade::{run, websocket_config};
use crate::connection::{Connection, Identity};
use crate::observe::Handshake;
use crate::request::Request;
use crate::wire::{Incoming, decode};

struct Echoing(TcpSocket);

impl Socket for Echoing {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Input, ReadError>>> {
        Poll::Ready(match ready!(self.0.poll_read(cx)) {
            Some(Ok(Input::Data(data))) => {
                let text = String::from_utf8_lossy(&data);
                let message = json!({"type": "echo", "body": text}).to_string();
                Some(Ok(Input::Data(message.into())))
            }
            other => other,
        })
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.0.poll_ready(cx)
    }

    fn start_send(&mut self, output: Output) -> Result<(), Gone> {
        let Output::Text(frame) = &output else {
            return self.0.start_send(output);
        };
        match decode(frame.as_bytes()) {
            Ok(Incoming::Message(message)) if message.key() == "echo" => {
                let text: String = message.bind().expect("a text");
                self.0.start_send(Output::Text(text.into()))
            }
            // Cases expect nothing but their messages.
            Ok(Incoming::Message(message)) if message.key() == "join.success" => Ok(()),
            other => panic!("{other:?}"),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.0.poll_flush(cx)
    }

    fn bytes_read(&self) -> Option<u64> {
        self.0.bytes_read()
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_discard(cx)
    }
}

async fn serve(server: Server, listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.expect("it accepts");
        let server = server.clone();
        tokio::spawn(async move {
            let core = Arc::clone(&server.core);
            let config = websocket_config(&core.settings.limits);
            let upgraded = accept_async_with_config(Noted::new(stream), Some(config)).await;
            let socket = Echoing(TcpSocket::new(upgraded.expect("an upgrade")));
            let Ok(slot) = core.reserve(None) else {
                panic!("there is room");
            };
            let identity = Identity::anonymous();
            let connection = Connection::on_server("room".into(), None, identity, server.unowned());
            let handshake = Handshake::begin("room", None);
            run(
                core,
                slot,
                socket,
                connection,
                Entrance::default(),
                handshake,
            )
            .await;
        });
    }
}

#[test]
fn a_server_that_sends_everything_back_passes_all_cases() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = Server::builder()
        .direct_handler("echo", |request: Request| async move {
            let mut reply = request.reply("echo");
            reply.copy_body(request.message());
            Ok(Some(reply))
        })
        .build()
        .expect("the settings are valid");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("it is bound"));
    runtime.spawn(serve(server, listener));
    let folder = Folder::new("autobahn");
    // All but the eight of binary messages.
    let judged = against_server(&url, folder.path(), Judge::Echo);
    assert_eq!(judged, CASES - 8);
}
