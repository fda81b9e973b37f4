//! The client, with servers in other languages.

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use fanfeed_sockets::{
    BlockingClient, BlockingMembership, Client, ClientBuilder, Ended, JoinOptions,
};
use fanfeed_sockets::{LeaveReason, Message};
use fanfeed_testkit::{PATIENCE, wait_until};
use serde_json::{Value, json};

use crate::peer::{LIBRARIES, Library, Peer};

/// A message as the server would write it.
fn message(kind: &str, id: &str, body: &Value) -> String {
    json!({"type": kind, "clientID": id, "channelId": "room", "body": body, "headers": {}})
        .to_string()
        + "\n"
}

fn options() -> JoinOptions {
    JoinOptions::new()
        .header("X-Token", "secret")
        .param("since", "a b")
}

/// A client whose bodies of `news` arrive at the receiver.
fn client(builder: ClientBuilder) -> (BlockingClient, Receiver<Value>) {
    let (sender, news) = mpsc::channel();
    let builder = builder.listen_blocking("news", move |request| {
        let _ = sender.send(request.bind()?);
        Ok(None)
    });
    (builder.build_blocking().expect("a client"), news)
}

/// Joins, and has the server say so.
fn join(server: &mut Peer, address: SocketAddr, client: &BlockingClient) -> BlockingMembership {
    let host = format!("ws://{address}/ws");
    let room = client.join(&host, "room", options()).expect("joined");
    welcome(server, "first");
    assert_eq!(&*room.joined().expect("joined"), "first");
    room
}

/// Takes the client's connection, which has all that was asked for, and gives it an id.
fn welcome(server: &mut Peer, id: &str) {
    let joined = server.expect("joined");
    let path = joined["path"].as_str().expect("a path");
    assert!(
        matches!(path, "/ws/room?since=a+b" | "/ws/room?since=a%20b"),
        "{path}"
    );
    assert_eq!(joined["headers"]["x-token"], "secret");
    server.text(&message("join.success", id, &Value::Null));
}

fn served(test: impl Fn(Peer, SocketAddr)) {
    for library in LIBRARIES {
        let (server, address) = Library::server(library);
        test(server, address);
    }
}

#[test]
fn the_client_speaks_to_the_servers() {
    served(|mut server, address| {
        let (client, news) = client(Client::builder());
        let room = join(&mut server, address, &client);
        let hello = Message::new("say", "", "room")
            .with_body(&"hello")
            .expect("JSON");
        room.publish(hello).expect("written");
        let said = server.message();
        assert_eq!(
            (&said["type"], &said["body"]),
            (&json!("say"), &json!("hello"))
        );
        assert_eq!(
            (&said["channelId"], &said["clientID"]),
            (&json!("room"), &json!("first"))
        );
        assert_eq!(said.as_object().expect("an object").len(), 11);
        // As text, as binary and in fragments.
        let text = message("news", "", &json!([1.50, "ü"]));
        let (head, tail) = text.split_at(20);
        server.text(&text);
        server.act(json!({"do": "text", "data": "no message"}));
        server.act(json!({"do": "binary", "data": text}));
        server.act(json!({"do": "fragments", "data": [head, "", tail, ""]}));
        for _ in 0..3 {
            assert_eq!(news.recv_timeout(PATIENCE), Ok(json!([1.50, "ü"])));
        }
        server.act(json!({"do": "ping", "data": "are you there"}));
        assert_eq!(server.expect("pong")["data"], "are you there");
        room.leave().expect("left");
        assert_eq!(server.expect("closed")["code"], 1000);
        assert!(!client.has_channel("room"));
    });
}

#[test]
fn a_request_gets_its_answer() {
    served(|mut server, address| {
        let (client, _news) = client(Client::builder());
        let room = join(&mut server, address, &client);
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| room.request(Message::new("who", "", ""), PATIENCE));
            let question = server.message();
            let mut answer = json!({"type": "them", "body": [7], "channelId": "room"});
            answer["correlationId"] = question["correlationId"].clone();
            server.text(&answer.to_string());
            let answer = asked.join().expect("no panic").expect("an answer");
            assert_eq!(answer.raw_body(), "[7]");
        });
    });
}

#[test]
fn the_client_comes_back_with_its_headers_unless_it_is_told_to_leave() {
    served(|mut server, address| {
        let (client, news) = client(Client::builder().reconnect(Duration::from_millis(100)));
        let room = join(&mut server, address, &client);
        server.close(1001, "going away");
        assert_eq!(server.expect("closed")["code"], 1001);
        welcome(&mut server, "second");
        wait_until("the client has its second id", || {
            room.client_id().as_deref() == Some("second")
        });
        server.act(json!({"do": "drop"}));
        server.expect("closed");
        welcome(&mut server, "third");
        server.text(&message("news", "", &json!(3)));
        assert_eq!(news.recv_timeout(PATIENCE), Ok(json!(3)));
        server.close(1000, "");
        let reason = room.over().expect("it runs");
        let closed = matches!(
            reason,
            LeaveReason::Ended(Ended::Closed {
                code: Some(1000),
                ..
            })
        );
        assert!(closed, "{reason:?}");
        assert!(!client.has_channel("room"));
    });
}

#[test]
fn a_refused_join_says_with_which_status() {
    served(|mut server, address| {
        let (client, _news) = client(Client::builder());
        server.act(json!({"do": "refuse", "status": 403}));
        let refused = client.join(&format!("ws://{address}/ws"), "room", options());
        let error = refused
            .expect_err("it was refused")
            .into_failure()
            .expect("a failure");
        assert_eq!(error.status(), Some(403), "{error}");
    });
}
