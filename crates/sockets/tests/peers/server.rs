//! The server, with clients in other languages.

use serde_json::{Value, json};

use crate::peer::{LIBRARIES, Library, Peer};
use crate::room::Room;

/// A message as another library's user would write it.
fn message(kind: &str, body: &Value) -> String {
    json!({"type": kind, "body": body, "channelId": "elsewhere", "clientId": "somebody"})
        .to_string()
}

/// A client that has joined, and its id.
fn join(library: Library, room: &Room, channel: &str) -> (Peer, String) {
    let mut client = library.client(&room.url(channel), &[]);
    // Both libraries offer compression, and get none.
    assert_eq!(client.expect("open")["extensions"], "");
    let first = client.message();
    assert_eq!(first["type"], "join.success");
    assert_eq!(first["channelId"], channel);
    let id = first["clientID"].as_str().expect("an id").to_owned();
    assert_eq!(id.len(), 36, "{id}");
    (client, id)
}

#[test]
fn clients_speak_to_the_server_and_to_each_other() {
    let room = Room::open();
    let (mut python, python_id) = join(Library::Websockets, &room, "room");
    let (mut node, node_id) = join(Library::Ws, &room, "room");
    assert_ne!(python_id, node_id);
    // To the sender alone.
    python.text(&message("echo", &json!({"a": [1.50, "ü"]})));
    let answer = python.message();
    assert_eq!(answer["type"], "echoed");
    assert_eq!(answer["body"], json!({"a": [1.50, "ü"]}));
    assert_eq!(answer["clientID"], python_id);
    // To all members, the sender among them, from the connection's own channel and id.
    node.text(&message("chat", &json!("hello")));
    for client in [&mut python, &mut node] {
        let chat = client.message();
        assert_eq!(chat["type"], "chatted");
        assert_eq!(chat["body"], "hello");
        assert_eq!(chat["channelId"], "room");
        assert_eq!(chat["clientID"], node_id);
    }
    room.broadcast("room", "news", &json!([1, 2]));
    for client in [&mut python, &mut node] {
        let news = client.message();
        assert_eq!(
            (&news["type"], &news["body"]),
            (&json!("news"), &json!([1, 2]))
        );
    }
}

#[test]
fn messages_come_as_text_or_binary_and_in_fragments() {
    let room = Room::open();
    for library in LIBRARIES {
        let (mut client, _) = join(library, &room, "room");
        let text = message("echo", &json!(1)) + "\n";
        let (head, tail) = text.split_at(10);
        client.act(json!({"do": "binary", "data": text}));
        client.act(json!({"do": "fragments", "data": [head, "", tail, ""]}));
        for _ in 0..2 {
            assert_eq!(client.message()["body"], 1);
        }
        // An answer that is larger than any buffer comes as one message.
        let large = "x".repeat(40_000);
        client.text(&message("echo", &json!(large)));
        assert_eq!(client.message()["body"], large);
        client.act(json!({"do": "ping", "data": "are you there"}));
        assert_eq!(client.expect("pong")["data"], "are you there");
        room.broadcast("room", "news", &json!(null));
        assert_eq!(client.message()["type"], "news");
        client.close(1000, "");
        assert_eq!(client.expect("closed")["code"], 1000);
        room.wait_for_members("room", 0);
    }
}

#[test]
fn what_is_wrong_gets_an_error_message_and_in_the_end_a_close_code() {
    let room = Room::open();
    for library in LIBRARIES {
        let (mut client, _) = join(library, &room, "room");
        client.text("null");
        assert_eq!(client.message()["type"], "error");
        client.text(&message("fail", &json!("why")));
        let error = client.message();
        assert_eq!(
            (&error["type"], &error["originType"]),
            (&json!("error"), &json!("fail"))
        );
        assert_eq!(error["originBody"], "why");
        assert!(!error.to_string().contains("secret"), "{error}");
        for _ in 0..100 {
            client.text("{");
        }
        let closed = client.expect("closed");
        assert_eq!(closed["code"], 1007, "{closed}");
        room.wait_for_members("room", 0);
    }
}

#[test]
fn the_server_closes_with_a_code() {
    let room = Room::open();
    let mut clients = LIBRARIES.map(|library| join(library, &room, "room").0);
    assert!(room.close_channel("room"));
    for client in &mut clients {
        assert_eq!(client.message()["type"], "channel.closed");
        assert_eq!(client.expect("closed")["code"], 1000);
    }
    let mut clients = LIBRARIES.map(|library| join(library, &room, "room").0);
    room.shut_down();
    for client in &mut clients {
        assert_eq!(client.expect("closed")["code"], 1001);
    }
}

#[test]
fn a_page_of_another_site_is_refused() {
    let room = Room::open();
    for library in LIBRARIES {
        let headers = [("Origin", "http://evil.example")];
        let mut client = library.client(&room.url("room"), &headers);
        assert_eq!(client.expect("refused")["status"], 403);
    }
}

#[test]
fn a_client_that_vanishes_has_left() {
    let room = Room::open();
    for library in LIBRARIES {
        let (mut client, _) = join(library, &room, "room");
        room.wait_for_members("room", 1);
        client.act(json!({"do": "drop"}));
        room.wait_for_members("room", 0);
    }
}
