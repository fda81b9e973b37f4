//! Members that read slowly, and what happens to what they miss.

use std::time::Duration;

use fanfeed_sockets::{Limits, Message, SlowMembers};
use serde_json::{Value, json};

use crate::support::{PATIENCE, echoing, listen, until};

fn tick(n: u32, body: &str) -> Message {
    Message::new("tick", "", "").with_body(&(n, body)).unwrap()
}

/// Broadcasts far more than sockets and queues hold to a member that does not read, and returns what it then reads.
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
    // More than fits into sockets, inbox and queue: the server stops reading until the client reads.
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
