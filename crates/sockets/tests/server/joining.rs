//! Joining: what is said first, who may, and how many.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};
use fanfeed_sockets::{
    ChannelBroadcaster, DirectBroadcaster, Health, Identity, Limits, Message, Refusal, Request,
    Server,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Listening, PATIENCE, echoing, listen, until};

#[tokio::test]
async fn the_welcome_comes_first_and_names_the_member() {
    let server = listen(echoing()).await;
    let client = server.join("room").await;
    assert_eq!(client.welcome["channelId"], "room");
    assert_eq!(client.welcome["headers"], json!({}));
    assert_eq!(client.welcome["body"], Value::Null);
    assert_eq!(
        uuid::Uuid::parse_str(&client.id).unwrap().get_version_num(),
        4
    );
    assert_eq!(server.server.members("room")[0].id(), client.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_welcome_comes_first_in_a_busy_channel() {
    let server = listen(echoing()).await;
    let _member = server.join("room").await;
    let busy = server.server.clone();
    let sending = tokio::spawn(async move {
        loop {
            busy.broadcast("room", Message::new("tick", "", ""));
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..50 {
        // It checks what comes first.
        drop(server.join("room").await);
    }
    sending.abort();
}

#[tokio::test]
async fn channel_ids_are_decoded_and_limited() {
    let server = listen(echoing()).await;
    let client = server.join("caf%C3%A9%20%2F%3F").await;
    assert_eq!(client.welcome["channelId"], "café /?");
    assert_eq!(server.refused(server.request(&"x".repeat(257))).await, 400);
    assert_eq!(server.refused(server.request("")).await, 404);
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let server = listen(echoing().allowed_origins(["https://friend.example/"])).await;
    let from = |origin: &str| {
        let mut request = server.request("room");
        let origin = HeaderValue::from_str(origin).unwrap();
        request.headers_mut().insert("origin", origin);
        request
    };
    assert_eq!(server.refused(from("https://evil.example")).await, 403);
    assert_eq!(server.refused(from("null")).await, 403);
    let own = format!("http://{}", server.address);
    assert!(server.connect_with(from(&own)).await.is_ok());
    assert!(
        server
            .connect_with(from("https://friend.example"))
            .await
            .is_ok()
    );
    let open = listen(echoing().allowed_origins(["*"])).await;
    let mut request = open.request("room");
    request
        .headers_mut()
        .insert("origin", HeaderValue::from_static("null"));
    assert!(open.connect_with(request).await.is_ok());
    assert_eq!(server.server.stats().refused, 2);
}

#[tokio::test]
async fn authorization_gives_an_identity_or_a_status() {
    let builder = echoing()
        .limits(Limits::default().handshake_time(Duration::from_millis(300)))
        .authorize(|request| async move {
            match request.header("authorization") {
                Some("Bearer ada") => Ok(Identity::user("ada")),
                Some("hang") => std::future::pending().await,
                Some(_) => Err(Refusal::new(StatusCode::FORBIDDEN, "not you")),
                None => Err(StatusCode::UNAUTHORIZED.into()),
            }
        });
    let server = listen(builder).await;
    let with = |value: &'static str| {
        let mut request = server.request("room");
        request
            .headers_mut()
            .insert("authorization", HeaderValue::from_static(value));
        request
    };
    assert_eq!(server.refused(server.request("room")).await, 401);
    assert_eq!(server.refused(with("Bearer eve")).await, 403);
    assert_eq!(server.refused(with("hang")).await, 503);
    let mut ada = server.connect_with(with("Bearer ada")).await.unwrap();
    assert_eq!(ada.next().await["type"], "join.success");
    assert_eq!(server.server.members("room")[0].identity().user_id(), "ada");
    // Refused handshakes give their places back.
    assert_eq!(server.server.stats().connections, 1);
}

#[tokio::test]
async fn connections_are_limited_in_all_and_by_address() {
    let server = listen(echoing().limits(Limits::default().connections_per_address(2))).await;
    let (a, _b) = (server.join("room").await, server.join("room").await);
    assert_eq!(server.refused(server.request("room")).await, 429);
    a.leave().await;
    until("a place is free", || server.server.stats().connections == 1).await;
    drop(server.join("room").await);

    let server = listen(echoing().limits(Limits::default().connections(1))).await;
    assert_eq!(server.server.health(), Health::Ready);
    let _a = server.join("room").await;
    assert_eq!(server.server.health(), Health::Full);
    assert_eq!(server.refused(server.request("room")).await, 503);

    let server = listen(echoing().limits(Limits::default().channels(1))).await;
    let _a = server.join("room").await;
    assert_eq!(server.refused(server.request("other")).await, 503);
    drop(server.join("room").await);
}

#[tokio::test]
async fn forwarded_addresses_are_believed_from_proxies_alone() {
    for (proxies, expected) in [(vec!["127.0.0.0/8"], "198.51.100.7"), (vec![], "127.0.0.1")] {
        let server = listen(echoing().trusted_proxies(proxies)).await;
        let mut request = server.request("room");
        let forwarded = HeaderValue::from_static("9.9.9.9, 198.51.100.7");
        request.headers_mut().insert("x-forwarded-for", forwarded);
        let mut client = server.connect_with(request).await.unwrap();
        client.next().await;
        let address = server.server.members("room")[0].address().unwrap();
        assert_eq!(address.to_string(), expected);
    }
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_told_so() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = listen(echoing()).await;
    for (request, status) in [
        (
            "GET /room HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "426",
        ),
        (
            "POST /room HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "405",
        ),
        (
            "GET /room HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n",
            "400",
        ),
        (
            "GET /room HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            "426",
        ),
    ] {
        let mut stream = tokio::net::TcpStream::connect(server.address)
            .await
            .unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}{answer}"
        );
    }
}

#[tokio::test]
async fn info_and_leaving_are_answered() {
    let server = listen(echoing()).await;
    let mut client = server.join("room").await;
    let _other = server.join("other").await;
    client.send("get.info", Value::Null).await;
    let info = client.next().await;
    assert_eq!(info["type"], "info");
    assert_eq!(
        info["body"],
        json!({"totalConnections": 2, "totalChannels": 2})
    );
    client.send("leave.success", Value::Null).await;
    assert_eq!(client.next().await["type"], "leave.success");
    assert_eq!(client.close_code().await, 1000);
    until("it has left", || !server.server.has_channel("room")).await;

    let quiet = listen(echoing().answer_info(false).report_unknown(false)).await;
    let mut client = quiet.join("room").await;
    client.send("get.info", Value::Null).await;
    client.send("echo", json!(1)).await;
    assert_eq!(client.next().await["type"], "echoed");
    assert_eq!(quiet.server.stats().unknown, 1);
}

#[tokio::test]
async fn what_was_sent_before_leaving_is_answered() {
    let builder = || {
        echoing()
            .direct_handler("slow", |request: Request| async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(Some(request.reply("slept")))
            })
            .direct_handler("hangs", |_: Request| std::future::pending())
    };
    let server = listen(builder()).await;
    let mut client = server.join("room").await;
    client.send("slow", Value::Null).await;
    for n in 0..3 {
        client.send("echo", json!(n)).await;
    }
    client.send("leave.success", Value::Null).await;
    assert_eq!(client.next().await["type"], "slept");
    for n in 0..3 {
        assert_eq!(client.next().await["body"], n);
    }
    assert_eq!(client.next().await["type"], "leave.success");
    assert_eq!(client.close_code().await, 1000);
    assert_eq!(server.server.stats().dropped, 0);

    // A handler that hangs keeps no client.
    let limits = Limits::default().close_time(Duration::from_millis(200));
    let server = listen(builder().limits(limits)).await;
    let mut client = server.join("room").await;
    client.send("hangs", Value::Null).await;
    client.send("leave.success", Value::Null).await;
    assert_eq!(client.next().await["type"], "leave.success");
    assert_eq!(client.close_code().await, 1000);
    drop(client);
    until("its handler is given up", || {
        server.server.stats().connections == 0
    })
    .await;
}

#[tokio::test]
async fn a_close_frame_is_answered_with_its_code() {
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    let server = listen(echoing()).await;
    for code in [1000_u16, 3000, 4999] {
        let mut client = server.join("room").await;
        // What is under way to the client does not come between.
        server
            .server
            .broadcast("room", Message::new("tick", "", ""));
        let frame = CloseFrame {
            code: code.into(),
            reason: "bye".into(),
        };
        client.socket.close(Some(frame)).await.unwrap();
        assert_eq!(client.close_code().await, code);
    }
    until("all have left", || server.server.stats().connections == 0).await;
}

#[tokio::test]
async fn broadcasts_reach_channels_and_clients() {
    let server = listen(echoing()).await;
    let (mut a, mut b) = (server.join("room").await, server.join("room").await);
    let channels: &dyn ChannelBroadcaster = &server.server;
    assert_eq!(channels.broadcast("room", Message::new("all", "", "")), 2);
    assert_eq!(
        channels.broadcast("nowhere", Message::new("all", "", "")),
        0
    );
    let clients: &dyn DirectBroadcaster = &server.server;
    assert!(clients.broadcast_direct(&a.id, Message::new("one", "", "")));
    assert!(!clients.broadcast_direct("nobody", Message::new("one", "", "")));
    let heard = a.next().await;
    assert_eq!(
        (&heard["type"], &heard["channelId"]),
        (&json!("all"), &json!("room"))
    );
    assert_eq!(a.next().await["type"], "one");
    assert_eq!(b.next().await["type"], "all");
}

#[tokio::test]
async fn it_mounts_into_a_router_with_state_and_takes_sockets_that_are_upgraded() {
    use axum::extract::{Path, State, WebSocketUpgrade};
    #[derive(Clone)]
    struct App(Server);
    let server = echoing().build().unwrap();
    let own = |Path(name): Path<String>, State(App(server)): State<App>, ws: WebSocketUpgrade| async move {
        ws.on_upgrade(move |socket| async move {
            server
                .serve_socket(socket, &name, Identity::user("ada"))
                .await;
        })
    };
    let app = axum::Router::new()
        .nest("/ws", server.router())
        .route("/own/{name}", axum::routing::any(own))
        .with_state(App(server.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async move { axum::serve(listener, app).await };
    let listening = Listening {
        server,
        address,
        task: tokio::spawn(serve),
    };
    let mut a = listening.join("ws/room").await;
    let mut b = listening.join("own/room").await;
    assert_eq!(listening.server.members("room").len(), 2);
    b.send("chat", json!("hello")).await;
    for client in [&mut a, &mut b] {
        let heard = client.next().await;
        assert_eq!(
            (&heard["body"], &heard["userId"]),
            (&json!("hello"), &json!("ada"))
        );
    }
    assert!(listening.server.close_channel("room"));
    for client in [&mut a, &mut b] {
        assert_eq!(client.next().await["type"], "channel.closed");
        assert_eq!(client.close_code().await, 1000);
    }
    listening.task.abort();
}

/// A Unix socket stands for TLS, or whatever else an application listens on.
#[cfg(unix)]
#[tokio::test]
async fn its_router_is_served_over_any_transport() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message as WsMessage;
    let server = echoing().build().unwrap();
    let folder = fanfeed_testkit::Folder::new("transport");
    let path = folder.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let app = server.router();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let joined = tokio_tungstenite::client_async("ws://host/room", stream).await;
    let (mut socket, _) = joined.unwrap();
    let large = "x".repeat(50_000);
    let text = json!({"type": "echo", "body": large}).to_string();
    socket.send(WsMessage::text(text)).await.unwrap();
    for (key, body) in [("join.success", &json!(null)), ("echoed", &json!(large))] {
        let next = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap();
        let text = next.unwrap().unwrap().into_text().unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&message["type"], &message["body"]), (&json!(key), body));
    }
    assert_eq!(server.members("room")[0].address(), None);
    let shutting = server.clone();
    let shutdown = tokio::spawn(async move { shutting.shutdown(PATIENCE).await });
    let next = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap();
    let WsMessage::Close(Some(frame)) = next.unwrap().unwrap() else {
        panic!("no close frame");
    };
    assert_eq!(u16::from(frame.code), 1001);
    drop(socket);
    assert_eq!(shutdown.await.unwrap().cut, 0);
    serving.abort();
}
