//! Messages that arrive slowly, or never in full.

use std::time::{Duration, Instant};

use fanfeed_sockets::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{Client, Listening, PATIENCE, echoing, listen, until};

/// The bytes of a masked frame.
fn frame(payload: &[u8], code: Data, is_last: bool) -> Vec<u8> {
    let mut frame = Frame::message(payload.to_vec(), OpCode::Data(code), is_last);
    frame.header_mut().mask = Some([1, 2, 3, 4]);
    let mut bytes = Vec::new();
    frame.format(&mut bytes).unwrap();
    bytes
}

/// The TCP connection of a client that has joined.
async fn joined(server: &Listening) -> TcpStream {
    let client = server.join("room").await;
    match client.socket.into_inner() {
        MaybeTlsStream::Plain(stream) => stream,
        _ => unreachable!("there is no TLS"),
    }
}

/// Reads until this text has come.
async fn until_read(stream: &mut TcpStream, text: &str) {
    let mut seen = Vec::new();
    let read = async {
        loop {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).await.unwrap();
            assert!(count > 0, "the end instead of {text:?}");
            seen.extend_from_slice(&bytes[..count]);
            if String::from_utf8_lossy(&seen).contains(text) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect(text);
}

#[tokio::test]
async fn a_message_that_arrives_in_small_parts_is_a_sign_of_life() {
    let idle = Duration::from_secs(3);
    // No pings, to which the answers would be signs of life.
    let limits = Limits::default().idle_time(idle).message_time(PATIENCE);
    let server = listen(echoing().limits(limits)).await;
    let text = json!({"type": "echo", "body": "x".repeat(100)}).to_string();
    for in_fragments in [false, true] {
        let mut stream = joined(&server).await;
        let bytes = match in_fragments {
            false => frame(text.as_bytes(), Data::Text, true),
            true => {
                let (head, tail) = text.as_bytes().split_at(50);
                let mut bytes = frame(head, Data::Text, false);
                bytes.extend(frame(tail, Data::Continue, true));
                bytes
            }
        };
        let started = Instant::now();
        let mut parts = bytes.chunks(1).peekable();
        while let Some(part) = parts.next() {
            stream.write_all(part).await.unwrap();
            let is_late = started.elapsed() > idle * 3 / 2;
            if !is_late && parts.peek().is_some() {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
        assert!(
            started.elapsed() > idle,
            "it was longer under way than a client may be silent"
        );
        until_read(&mut stream, "echoed").await;
    }
    assert_eq!(server.server.stats().silent, 0);
}

#[tokio::test]
async fn a_message_that_never_ends_is_given_up() {
    let limits = Limits::default().message_time(Duration::from_millis(300));
    let server = listen(echoing().limits(limits)).await;
    let mut stream = joined(&server).await;
    let head = frame(&[b' '; 60_000], Data::Text, true);
    let dripping = async {
        // It fails when the connection is closed.
        for byte in head.chunks(1) {
            if stream.write_all(byte).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = dripping => {}
        () = until("it has left", || server.server.stats().left == 1) => {}
    }
    assert_eq!(server.server.stats().silent, 1);
    until_read(&mut stream, "a message took too long to arrive").await;
}

#[tokio::test]
async fn a_complete_message_starts_the_time_of_the_next_one_anew() {
    let time = Duration::from_secs(2);
    let limits = Limits::default()
        .message_time(time)
        .ping_interval(Duration::from_millis(100));
    let server = listen(echoing().limits(limits)).await;
    let mut client = server.join("room").await;
    let started = Instant::now();
    while started.elapsed() < time * 2 {
        client.send("echo", json!(1)).await;
        assert_eq!(client.next().await["body"], 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.server.stats().silent, 0);
}

/// Neither the limit of the rate nor that of a message's size counts them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_empty_fragments_is_cut() {
    let server = listen(echoing()).await;
    let mut stream = joined(&server).await;
    stream
        .write_all(&frame(b" ", Data::Text, false))
        .await
        .unwrap();
    let empty = frame(b"", Data::Continue, false).repeat(1000);
    let flooding = async { while stream.write_all(&empty).await.is_ok() {} };
    tokio::select! {
        () = flooding => {}
        () = until("it is cut", || server.server.stats().flooded == 1) => {}
    }
    until("it has left", || server.server.stats().left == 1).await;
    assert_eq!(server.server.stats().flooded, 1);
}

#[tokio::test]
async fn a_message_in_many_fragments_with_pings_between_is_one_message() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message as WsMessage;
    let server = listen(
        echoing().limits(
            Limits::default()
                .message_rate(100_000)
                .message_burst(100_000),
        ),
    )
    .await;
    let mut client: Client = server.join("room").await;
    let text = json!({"type": "echo", "body": "x".repeat(20_000)}).to_string();
    for _ in 0..2 {
        let mut parts = text.as_bytes().chunks(2).peekable();
        let mut code = Data::Text;
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            let frame = Frame::message(part.to_vec(), OpCode::Data(code), is_last);
            client.socket.feed(WsMessage::Frame(frame)).await.unwrap();
            code = Data::Continue;
            client
                .socket
                .feed(WsMessage::Ping(Vec::new().into()))
                .await
                .unwrap();
        }
        client.socket.flush().await.unwrap();
        assert_eq!(client.next().await["body"].as_str().unwrap().len(), 20_000);
    }
    assert_eq!(server.server.stats().flooded, 0);
}
