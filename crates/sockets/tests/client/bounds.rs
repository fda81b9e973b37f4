//! Queues that are bounded in bytes, and messages that arrive slowly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fanfeed_sockets::{
    Client, ClientEventKind, ClientPublisher, Ended, Message, PublishFault, Request,
};
use tokio::io::AsyncWriteExt;

use crate::common::{Events, Server, quick, within};

fn large(n: u32, bytes: usize) -> Message {
    let body = (n, "x".repeat(bytes));
    Message::new("large", "", "room")
        .with_body(&body)
        .expect("it is JSON")
}

#[tokio::test]
async fn the_queue_to_the_server_is_bounded_in_bytes() {
    let mut server = Server::start().await;
    let client = quick()
        .outbox_bytes(100_000)
        .outbox(1000)
        .build()
        .expect("it builds");
    let (room, mut peer) = server.joined(&client, "room").await;
    // Nothing is written between these calls: there is no other thread.
    room.try_publish(large(0, 60_000)).expect("there is room");
    let full = room
        .try_publish(large(1, 60_000))
        .expect_err("there is none");
    assert!(matches!(full.fault(), PublishFault::Full), "{full}");
    room.try_publish(large(2, 20_000)).expect("there is room");
    // What waits for room is sent in its turn, and one that is larger than all of it is sent alone.
    let waiting = async {
        room.publish(large(3, 60_000)).await.expect("it is written");
        room.publish(large(4, 300_000))
            .await
            .expect("it is written");
    };
    let reading = async {
        for n in [0, 2, 3, 4] {
            assert_eq!(
                peer.message()
                    .await
                    .bind::<(u32, String)>()
                    .expect("a pair")
                    .0,
                n
            );
        }
    };
    within("all arrive", async { tokio::join!(waiting, reading) }).await;
    assert_eq!(client.stats().published, 4);
    assert_eq!(client.stats().lost, 0);
}

#[tokio::test]
async fn what_was_queued_and_not_written_is_counted() {
    let mut server = Server::start().await;
    let client = quick().build().expect("it builds");
    let (room, peer) = server.joined(&client, "room").await;
    let mut events = Events::of(&client);
    for n in 0..5 {
        room.try_publish(large(n, 10)).expect("there is room");
    }
    // Before the client's task has run.
    peer.reset();
    events
        .until("the connection ended", |kind| match kind {
            ClientEventKind::Disconnected(_) => Some(()),
            _ => None,
        })
        .await;
    let stats = client.stats();
    assert_eq!(stats.published + stats.lost, 5, "{stats:?}");
}

#[tokio::test]
async fn the_queue_of_the_listeners_is_bounded_in_bytes() {
    const COUNT: u64 = 60;
    let handled = Arc::new(AtomicU64::new(0));
    let most = Arc::new(AtomicU64::new(0));
    let client = Arc::new(std::sync::OnceLock::<Client>::new());
    let listener = {
        let (handled, most, client) =
            (Arc::clone(&handled), Arc::clone(&most), Arc::clone(&client));
        move |_: Request| {
            let (handled, most, client) =
                (Arc::clone(&handled), Arc::clone(&most), Arc::clone(&client));
            async move {
                // The reader has the time to take what it may.
                for _ in 0..5 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let received = client.get().expect("it is set").stats().received;
                // ORDERING: one task uses both.
                most.fetch_max(
                    received - handled.load(Ordering::Relaxed),
                    Ordering::Relaxed,
                );
                handled.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
        }
    };
    let builder = quick().inbox_bytes(150_000).listen("large", listener);
    let built = client.get_or_init(|| builder.build().expect("it builds"));
    let mut server = Server::start().await;
    let (room, mut peer) = server.joined(built, "room").await;
    let writing = async {
        for n in 0..COUNT {
            peer.send_message(&large(n as u32, 60_000)).await;
        }
    };
    let handling = async {
        while handled.load(Ordering::Relaxed) < COUNT {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within("all are handled", async { tokio::join!(writing, handling) }).await;
    // Two that wait, one that is handled, and one for which there is no room.
    let most = most.load(Ordering::Relaxed);
    assert!(most <= 4, "{most} messages of 60 kB were held");
    room.leave().await;
}

/// The bytes of an unmasked text frame.
fn frame(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x81, 126];
    bytes.extend(
        u16::try_from(text.len())
            .expect("it is short")
            .to_be_bytes(),
    );
    bytes.extend(text.as_bytes());
    bytes
}

#[tokio::test]
async fn a_message_that_arrives_in_small_parts_is_a_sign_of_life() {
    let silence = Duration::from_secs(3);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let client = quick()
        .ping_interval(Duration::from_secs(2))
        .silence_timeout(silence)
        .listen("large", move |_: Request| {
            let sent = tell.send(());
            async move { sent.map(|()| None).map_err(Into::into) }
        })
        .build()
        .expect("it builds");
    let mut server = Server::start().await;
    let (room, peer) = server.joined(&client, "room").await;
    // It does not read, so no ping is answered.
    let mut stream = peer.socket.into_inner();
    let started = Instant::now();
    let bytes = frame(&large(1, 200).encode());
    for (at, byte) in bytes.iter().enumerate() {
        stream
            .write_all(&[*byte])
            .await
            .expect("the client is there");
        if started.elapsed() < silence * 3 / 2 && at + 1 < bytes.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(started.elapsed() > silence);
    within("it is handled", told.recv())
        .await
        .expect("the listener lives");
    assert_eq!(client.stats().disconnections, 0);
    drop(stream);
    room.leave().await;
}

#[tokio::test]
async fn a_message_that_never_ends_is_given_up() {
    let limit = Duration::from_millis(300);
    let client = quick()
        .no_reconnect()
        .ping_interval(Duration::from_millis(100))
        .silence_timeout(Duration::from_millis(200))
        .message_timeout(limit)
        .build()
        .expect("it builds");
    let mut server = Server::start().await;
    let (room, peer) = server.joined(&client, "room").await;
    let mut stream = peer.socket.into_inner();
    let dripping = async {
        stream
            .write_all(&[0x81, 126, 0xFF, 0xFF])
            .await
            .expect("the client is there");
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let over = within("it is given up", async {
        tokio::select! {
            () = dripping => room.over().await,
            over = room.over() => over,
        }
    });
    let over = over.await;
    let fanfeed_sockets::LeaveReason::Ended(ended) = over else {
        panic!("{over}");
    };
    assert_eq!(ended, Ended::Unfinished(limit));
}

#[tokio::test]
async fn a_logger_gets_the_events_and_no_token_is_shown() {
    let lines = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&lines);
    let client = quick()
        .logger(move |event| log.lock().unwrap().push(format!("{event} {event:?}")))
        .build()
        .expect("it builds");
    let mut server = Server::start().await;
    let host = format!("{}?token=hush", server.url);
    let options = fanfeed_sockets::JoinOptions::new()
        .param("token", "hush")
        .header("Authorization", "Bearer hush");
    let room = client
        .join(&host, "room", options)
        .await
        .expect("it is joined");
    let mut peer = server.peer().await;
    peer.welcome("7").await;
    within("it joins", room.joined())
        .await
        .expect("it is welcome");
    assert!(peer.path.contains("token=hush"));
    assert!(!format!("{room:?} {client:?}").contains("hush"));
    let closing = async { within("it closes", client.close()).await };
    let answering = async { while peer.frame().await.is_some() {} };
    tokio::join!(closing, answering);
    // `close` has waited for the logger.
    let lines = lines.lock().unwrap();
    assert!(
        lines[0].starts_with("channel \"room\": connected"),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|line| line.contains("joined as \"7\"")));
    assert!(
        lines
            .last()
            .expect("a line")
            .contains("left: the client was closed")
    );
    assert!(
        !lines.iter().any(|line| line.contains("hush")),
        "{lines:#?}"
    );
}
