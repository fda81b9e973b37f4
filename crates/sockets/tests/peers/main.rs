//! Peers that are not Rust, and Autobahn's cases.

mod autobahn;
mod client;
mod peer;
mod room;
mod server;

use peer::{LIBRARIES, Library};
use serde_json::json;

/// What the other tests rely on: the two programs understand each other and the commands.
#[test]
fn the_peers_understand_each_other() {
    for (client, server) in [
        (LIBRARIES[0], LIBRARIES[1]),
        (Library::Ws, Library::Websockets),
    ] {
        let (mut server, address) = server.server();
        let url = format!("ws://{address}/ws/room");
        server.act(json!({"do": "refuse", "status": 503}));
        let mut refused = client.client(&url, &[]);
        assert_eq!(refused.expect("refused")["status"], 503);
        let mut client = client.client(&url, &[("X-Kind", "peer")]);
        let joined = server.expect("joined");
        assert_eq!(joined["path"], "/ws/room");
        assert_eq!(joined["headers"]["x-kind"], "peer");
        client.expect("open");
        client.text("{\"a\":\"ü\"}");
        client.act(json!({"do": "fragments", "data": ["[", "", "1]"]}));
        assert_eq!(server.message(), json!({"a": "ü"}));
        assert_eq!(server.message(), json!([1]));
        server.act(json!({"do": "binary", "data": "b"}));
        assert_eq!(client.expect("binary")["data"], "b");
        server.act(json!({"do": "ping", "data": "p"}));
        assert_eq!(client.expect("ping")["data"], "p");
        assert_eq!(server.expect("pong")["data"], "p");
        server.act(json!({"do": "pong", "data": "q"}));
        assert_eq!(client.expect("pong")["data"], "q");
        client.close(4001, "enough");
        let closed = server.expect("closed");
        assert_eq!(
            (&closed["code"], &closed["reason"]),
            (&json!(4001), &json!("enough"))
        );
    }
}
