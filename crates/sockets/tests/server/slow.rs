//! Members that read slowly, and what happens to what they miss.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed_sockets::{Limits, Message, Request, SlowMembers};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Message as WsMessage;

use crate::support::{Client, PATIENCE, echoing, listen, until};

fn tick(n: u32, body: &str) -> Message {
    Message::new("tick", "", "").with_body(&(n, body)).unwrap()
}

/// Broadcasts far more than sockets and queues hold to a member that does not read, and returns
/// what it then reads.
async fn read_late(policy: SlowMembers) -> (Vec<u64>, u64) {
    // Times that a machine which stops the test for a while does not exceed.
    let limits = Limits::default()
        .queue_frames(16)
        .slow_members(policy)
        .write_time(PATIENCE)
        .idle_time(PATIENCE);
    let server = listen(echoing().limits(limits)).await;
    let mut slow = server.join("room").await;
    let body = "x".repeat(16 * 1024);
    let count = 2000;
    for n in 0..count {
        assert_eq!(server.server.broadcast("room", tick(n, &body)), 1);
        tokio::task::yield_now().await;
    }
    let mut seen = Vec::new();
    loop {
        let dropped = server.server.stats().dropped;
        if seen.len() as u64 + dropped == u64::from(count) {
            return (seen, dropped);
        }
        seen.push(slow.next().await["body"][0].as_u64().unwrap());
    }
}

#[tokio::test]
async fn dropping_the_newest_keeps_what_came_first_and_counts_the_rest() {
    let (seen, dropped) = read_late(SlowMembers::DropNewest).await;
    assert!(dropped > 0);
    assert!(seen.is_sorted());
    assert_eq!(seen[0], 0);
    assert_ne!(seen.last(), Some(&1999));
}

#[tokio::test]
async fn a_direct_message_that_is_dropped_was_not_queued() {
    let limits = Limits::default()
        .queue_frames(2)
        .slow_members(SlowMembers::DropNewest);
    // On one thread, the session does not run before the test waits.
    let server = listen(echoing().limits(limits)).await;
    let mut client = server.join("room").await;
    let send = |n| server.server.broadcast_direct(&client.id, tick(n, ""));
    assert_eq!([send(0), send(1), send(2)], [true, true, false]);
    assert_eq!(server.server.stats().dropped, 1);
    for n in 0..2 {
        assert_eq!(client.next().await["body"][0], n);
    }
}

#[tokio::test]
async fn dropping_the_oldest_keeps_what_came_last_and_counts_the_rest() {
    let (seen, dropped) = read_late(SlowMembers::DropOldest).await;
    assert!(dropped > 0);
    assert!(seen.is_sorted());
    assert_eq!(seen.last(), Some(&1999));
}

#[tokio::test]
async fn a_slow_member_is_told_so_if_it_still_reads() {
    let limits = Limits::default().queue_bytes(64 * 1024);
    let server = listen(echoing().limits(limits)).await;
    let mut slow = server.join("room").await;
    let body = "x".repeat(16 * 1024);
    for n in 0..2000 {
        if server.server.broadcast("room", tick(n, &body)) == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(slow.close_code().await, 1013);
    until("it has left", || !server.server.has_channel("room")).await;
    assert_eq!(server.server.stats().slow, 1);
    assert!(server.server.stats().dropped > 0);
}

#[tokio::test]
async fn a_single_message_may_be_larger_than_the_queue() {
    let limits = Limits::default().queue_bytes(1024);
    let server = listen(echoing().limits(limits)).await;
    let mut client = server.join("room").await;
    server
        .server
        .broadcast("room", tick(0, &"x".repeat(100_000)));
    assert_eq!(client.next().await["type"], "tick");
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_read_is_held_back_and_not_cut() {
    let limits = Limits::default()
        .message_rate(1_000_000)
        .message_burst(1_000_000)
        .write_time(PATIENCE)
        .idle_time(PATIENCE);
    let server = listen(echoing().limits(limits)).await;
    let client = server.join("room").await;
    let (mut sink, mut stream) = futures_util::StreamExt::split(client.socket);
    let count = 3000;
    let body = "x".repeat(8 * 1024);
    // More than fits into sockets, inbox and queue: the server stops reading until the client
    // reads.
    let sending = tokio::spawn(async move {
        for n in 0..count {
            let text = json!({"type": "echo", "body": [n, body]}).to_string();
            let text = tokio_tungstenite::tungstenite::Message::text(text);
            futures_util::SinkExt::send(&mut sink, text).await.unwrap();
        }
        sink
    });
    until("the server is held back", || {
        server.server.stats().received > 100
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!sending.is_finished());
    for n in 0..count {
        loop {
            let next = futures_util::StreamExt::next(&mut stream)
                .await
                .unwrap()
                .unwrap();
            if let tokio_tungstenite::tungstenite::Message::Text(text) = next {
                let value: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(value["body"][0], n);
                break;
            }
        }
    }
    drop(sending.await.unwrap());
    assert_eq!(server.server.stats().dropped, 0);
}

/// A server whose handlers answer with far more than they are sent.
fn generous() -> fanfeed_sockets::ServerBuilder {
    let large = |request: Request| async move {
        let body = "x".repeat(100 * 1024);
        Ok(Some(request.reply("large").with_body(&body)?))
    };
    echoing()
        .direct_handler("large", large)
        .channel_handler("large for all", large)
}

/// Sends this many messages with one flush.
async fn send_at_once(client: &mut Client, key: &str, count: usize) {
    for _ in 0..count {
        let text = WsMessage::text(json!({ "type": key }).to_string());
        client.socket.feed(text).await.unwrap();
    }
    client.socket.flush().await.unwrap();
}

#[tokio::test]
async fn large_answers_to_a_whole_inbox_do_not_cut_a_client_that_reads() {
    let server = listen(generous()).await;
    let mut client = server.join("room").await;
    send_at_once(&mut client, "large", 64).await;
    for _ in 0..64 {
        assert_eq!(client.next().await["type"], "large");
    }
    assert_eq!(server.server.stats().slow, 0);
}

#[tokio::test]
async fn large_answers_to_a_channel_do_not_cut_members_that_read() {
    // A little more than a member's queue holds: sockets take the rest at once, also on a machine
    // under load.
    const COUNT: usize = 12;
    let server = listen(generous()).await;
    let mut sender = server.join("room").await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let mut reader = server.join("room").await;
        readers.spawn(async move {
            for _ in 0..COUNT {
                assert_eq!(reader.next().await["type"], "large");
            }
            reader
        });
    }
    send_at_once(&mut sender, "large for all", COUNT).await;
    for _ in 0..COUNT {
        assert_eq!(sender.next().await["type"], "large");
    }
    assert_eq!(readers.join_all().await.len(), 3);
    assert_eq!(server.server.stats().slow, 0);
}

#[tokio::test]
async fn answers_of_the_server_itself_do_not_cut_a_client_that_reads() {
    let limits = Limits::default().queue_frames(8);
    let server = listen(echoing().limits(limits)).await;
    let mut client = server.join("room").await;
    send_at_once(&mut client, "unknown", 200).await;
    for _ in 0..200 {
        assert_eq!(client.next().await["type"], "error");
    }
}

/// A handler is busy, and more messages wait than the inbox holds.
#[tokio::test]
async fn pings_and_answers_pass_a_full_inbox() {
    // No ping of the server comes before the pong: the interval is at most two fifths of the other.
    let limits = Limits::default()
        .inbox(1)
        .idle_time(PATIENCE * 3)
        .ping_interval(PATIENCE);
    let builder = echoing()
        .limits(limits)
        .direct_handler("ask", |request: Request| async move {
            let server = request.connection().expect("a client's").server();
            let server = server.expect("it lives");
            let question = Message::new("question", "", "");
            let answer = server.broadcast_await(request.channel(), question, PATIENCE);
            let mut told = request.reply("told");
            told.copy_body(&answer.await?);
            Ok(Some(told))
        });
    let server = listen(builder).await;
    let mut client = server.join("room").await;
    client.send("ask", Value::Null).await;
    let question = client.next().await;
    for n in 0..60 {
        client.send("echo", json!(n)).await;
    }
    client
        .socket
        .send(WsMessage::Ping("p".into()))
        .await
        .unwrap();
    let pong = tokio::time::timeout(PATIENCE, client.socket.next()).await;
    let pong = pong.expect("a pong, while the handler waits");
    assert_eq!(pong.unwrap().unwrap(), WsMessage::Pong("p".into()));
    let answer = json!({
        "type": "answer", "correlationId": question["correlationId"], "body": "42",
    });
    client.send_text(&answer.to_string()).await;
    assert_eq!(client.next().await["body"], "42");
    for n in 0..60 {
        assert_eq!(client.next().await["body"], n);
    }
}

#[tokio::test]
async fn an_inbox_is_bounded_in_bytes() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let builder = echoing().direct_handler("wait", move |request: Request| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await?.forget();
            Ok(Some(request.reply("done")))
        }
    });
    let server = listen(builder).await;
    let client = server.join("room").await;
    let (mut sink, mut stream) = client.socket.split();
    let count = 64;
    let sending = tokio::spawn(async move {
        for _ in 0..count {
            let text = json!({"type": "wait", "body": "x".repeat(60 * 1024)}).to_string();
            sink.send(WsMessage::text(text)).await.unwrap();
        }
        sink
    });
    // One is handled, five are more than 256 KiB, and two more than the 64 KiB past that.
    until("the inbox is full", || server.server.stats().received >= 8).await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(300) {
        assert_eq!(server.server.stats().received, 8);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gate.add_permits(count);
    let mut done = 0;
    while done < count {
        let next = tokio::time::timeout(PATIENCE, stream.next()).await;
        if let WsMessage::Text(_) = next.unwrap().unwrap().unwrap() {
            done += 1;
        }
    }
    drop(sending.await.unwrap());
}
