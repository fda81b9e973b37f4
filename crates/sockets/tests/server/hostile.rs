//! Clients that mean harm, or are broken.

use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use fanfeed_sockets::Limits;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{Client, Listening, PATIENCE, echoing, listen, until};

async fn answers(client: &mut Client) {
    client.send("echo", json!("alive")).await;
    assert_eq!(client.next().await["body"], "alive");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_closed_with_its_code() {
    let server = listen(echoing().limits(Limits::default().message_size(1000))).await;
    let mut exact = server.join("room").await;
    let fill = 1000 - json!({"type": "echo", "body": ""}).to_string().len();
    exact.send("echo", json!("x".repeat(fill))).await;
    assert_eq!(exact.next().await["type"], "echoed");
    exact.send("echo", json!("x".repeat(fill + 1))).await;
    assert_eq!(exact.close_code().await, 1009);
    // A large rest that nobody reads must not cost the client the close frame.
    for _ in 0..20 {
        let mut large = server.join("room").await;
        let text = json!({"type": "echo", "body": "x".repeat(1 << 20)}).to_string();
        let (mut sink, stream) = futures_util::StreamExt::split(large.socket);
        let sending = tokio::spawn(async move {
            // It may fail: the server does not wait for all of it.
            let _ = sink.send(WsMessage::text(text)).await;
            sink
        });
        let mut stream = stream;
        let received = futures_util::StreamExt::next(&mut stream);
        match tokio::time::timeout(PATIENCE, received).await.unwrap() {
            Some(Ok(WsMessage::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1009),
            other => panic!("{other:?}"),
        }
        let sink = sending.await.unwrap();
        large.socket = stream.reunite(sink).unwrap();
    }
}

#[tokio::test]
async fn fragments_count_together() {
    let server = listen(echoing().limits(Limits::default().message_size(1000))).await;
    let mut client = server.join("room").await;
    for n in 0..12 {
        let code = OpCode::Data(if n == 0 { Data::Text } else { Data::Continue });
        let frame = Frame::message(vec![b' '; 100], code, false);
        if client.socket.send(WsMessage::Frame(frame)).await.is_err() {
            break;
        }
    }
    assert_eq!(client.close_code().await, 1009);
}

#[tokio::test]
async fn a_flood_is_closed_with_its_code() {
    let limits = Limits::default().message_rate(10).message_burst(50);
    let server = listen(echoing().limits(limits)).await;
    let mut other = server.join("room").await;
    for pings in [false, true] {
        let mut client = server.join("room").await;
        for _ in 0..200 {
            let message = match pings {
                false => WsMessage::text(r#"{"type":"echo"}"#),
                true => WsMessage::Ping(Default::default()),
            };
            if client.socket.send(message).await.is_err() {
                break;
            }
        }
        assert_eq!(client.close_code().await, 1008);
        answers(&mut other).await;
    }
    assert_eq!(server.server.stats().flooded, 2);
}

#[tokio::test]
async fn frames_that_break_the_protocol_are_closed_with_their_code() {
    let server = listen(echoing()).await;
    let mut other = server.join("room").await;
    for (bytes, code) in [
        // Unmasked, a reserved opcode, a reserved bit, a continuation of nothing, text that is not
        // UTF-8.
        (&[0x81, 2, b'{', b'}'][..], 1002),
        (&[0x83, 0x80, 0, 0, 0, 0][..], 1002),
        (&[0xC1, 0x80, 0, 0, 0, 0][..], 1002),
        (&[0x80, 0x80, 0, 0, 0, 0][..], 1002),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xFF][..], 1007),
    ] {
        let mut stream = handshake(&server).await;
        stream.write_all(bytes).await.unwrap();
        let mut received = Vec::new();
        let read = stream.read_to_end(&mut received);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        let close = received.windows(4).rev().find(|bytes| bytes[0] == 0x88);
        let close = close.unwrap_or_else(|| panic!("{bytes:?}: no close frame in {received:?}"));
        assert_eq!(u16::from_be_bytes([close[2], close[3]]), code, "{bytes:?}");
        answers(&mut other).await;
    }
}

/// A TCP connection after its handshake.
async fn handshake(server: &Listening) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = "GET /room HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream
}

#[tokio::test]
async fn a_slow_handshake_is_given_up() {
    let time = Duration::from_secs(2);
    let limits = Limits::default().handshake_time(time).handshakes(2);
    let server = listen(echoing().limits(limits)).await;
    let started = Instant::now();
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /room HTTP/1.1\r\nHo").await.unwrap();
    // Their places in the handshake are all there are.
    let mut third = TcpStream::connect(server.address).await.unwrap();
    until("the third is turned away", || {
        server.server.stats().refused == 1
    })
    .await;
    for stream in [&mut third, &mut silent, &mut slow] {
        let mut buffer = Vec::new();
        let end = stream.read_to_end(&mut buffer);
        // Hyper's own time is 30 s.
        let _ = tokio::time::timeout(Duration::from_secs(20), end)
            .await
            .expect("it is given up");
    }
    assert!(started.elapsed() >= time, "{:?}", started.elapsed());
    until("the two are counted", || server.server.stats().refused == 3).await;
    let mut client = server.join("room").await;
    answers(&mut client).await;
}

/// A TCP connection from another address of this machine.
async fn connect_from_elsewhere(server: &Listening) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    socket.connect(server.address).await.unwrap()
}

#[tokio::test]
async fn one_address_does_not_take_all_handshakes() {
    let limits = Limits::default()
        .handshake_time(PATIENCE)
        .handshakes(4)
        .connections_per_address(3);
    let server = listen(echoing().limits(limits)).await;
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.push(connect_from_elsewhere(&server).await);
    }
    until("half of them are turned away", || {
        server.server.stats().refused == 3
    })
    .await;
    let mut client = server.join("room").await;
    answers(&mut client).await;
}

#[tokio::test]
async fn a_client_that_asks_and_reads_nothing_keeps_no_handshake() {
    let limits = Limits::default()
        .handshakes(1)
        .write_time(Duration::from_millis(300));
    let server = listen(echoing().limits(limits)).await;
    // A channel without a handshake, and a path that is no channel.
    for path in ["room", "no/channel"] {
        let mut stream = connect_from_elsewhere(&server).await;
        let request = format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(1000);
        // Ends when the server has cut the connection.
        let writing = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
        tokio::time::timeout(PATIENCE / 4, writing)
            .await
            .expect("it is cut");
        let started = Instant::now();
        let mut client = loop {
            if let Ok(client) = server.connect_with(server.request("room")).await {
                break client;
            }
            assert!(started.elapsed() < PATIENCE, "no place is free");
        };
        assert_eq!(client.next().await["type"], "join.success");
        answers(&mut client).await;
        client.leave().await;
    }
}

#[tokio::test]
async fn giant_headers_are_refused() {
    let server = listen(echoing()).await;
    let mut request = server.request("room");
    let giant = HeaderValue::from_str(&"x".repeat(100_000)).unwrap();
    request.headers_mut().insert("x-giant", giant);
    assert_eq!(server.refused(request).await, 431);
    let mut request = server.request("room");
    for n in 0..100 {
        let name = format!("x-{n}").parse::<axum::http::HeaderName>().unwrap();
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static("1"));
    }
    assert_eq!(server.refused(request).await, 431);
    until("both are counted", || server.server.stats().refused == 2).await;
    let mut client = server.join("room").await;
    answers(&mut client).await;
}

#[tokio::test]
async fn a_half_open_connection_is_noticed() {
    let limits = Limits::default()
        .ping_interval(Duration::from_millis(100))
        .idle_time(Duration::from_millis(300))
        .close_time(Duration::from_millis(300));
    let server = listen(echoing().limits(limits)).await;
    // It reads nothing, answers nothing, and does not close.
    let stream = handshake(&server).await;
    until("it has joined", || server.server.members("room").len() == 1).await;
    let started = Instant::now();
    until("it is given up", || server.server.stats().connections == 0).await;
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(server.server.stats().silent, 1);
    drop(stream);
}

#[tokio::test]
async fn random_bytes_harm_nobody() {
    let server = listen(echoing().limits(Limits::default().connections_per_address(1000))).await;
    let mut other = server.join("room").await;
    let mut seed = 1_u64;
    for round in 0..100 {
        let mut stream = if round % 2 == 0 {
            handshake(&server).await
        } else {
            TcpStream::connect(server.address).await.unwrap()
        };
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        })
        .take(200)
        .collect();
        stream.write_all(&bytes).await.unwrap();
        drop(stream);
    }
    answers(&mut other).await;
    until("they are gone", || server.server.stats().connections == 1).await;
}

#[tokio::test]
async fn deep_and_odd_json_is_answered() {
    let server = listen(echoing().limits(Limits::default().malformed(100))).await;
    let mut client = server.join("room").await;
    // A body is passed on unread, however deep it is.
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    client
        .send_text(&format!(r#"{{"type":"echo","body":{deep}}}"#))
        .await;
    let echoed = futures_util::StreamExt::next(&mut client.socket).await;
    assert!(echoed.unwrap().unwrap().to_text().unwrap().contains(&deep));
    for text in [
        "{\"type\":\"\\ud800\"}",
        "{\"headers\":{\"a\":\"b\"}}",
        "nul",
        "{}x{",
    ] {
        client.send_text(text).await;
        let answer = client.next().await;
        assert_eq!(answer["type"], "error", "{text:.40}");
    }
    let text = json!({"type": "echo", "body": Value::Null, "unknown": [1, {"a": null}]});
    client.send_text(&text.to_string()).await;
    assert_eq!(client.next().await["type"], "echoed");
}
