//! Signs of life, and silence that does not show that a client is dead. The number of a test is
//! that of the fault of the Go peers that it is about.

use std::time::{Duration, Instant};

use fanfeed_sockets::{Limits, Message, Request};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::{Listening, PATIENCE, echoing, listen};

#[tokio::test]
async fn b10_any_traffic_is_a_sign_of_life_and_silence_is_not() {
    let limits = Limits::default()
        .idle_time(Duration::from_millis(600))
        .ping_interval(Duration::from_secs(60));
    let server = listen(echoing().limits(limits)).await;
    let mut talker = server.join("room").await;
    // Nobody reads for this client, so it answers no ping.
    let mut silent = server.join("room").await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1500) {
        talker.send("echo", json!(1)).await;
        assert_eq!(talker.next().await["body"], 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(silent.close_code().await, 1001);
    talker.send("echo", json!(2)).await;
    assert_eq!(talker.next().await["body"], 2);
    assert_eq!(server.server.stats().silent, 1);
}

/// A handler blocks the only thread of the runtime, and no ping goes out meanwhile.
#[test]
fn b10_a_server_that_stood_still_takes_nobody_for_dead() {
    // Far more than the client's thread may be held up itself.
    let idle = Duration::from_secs(2);
    let limits = Limits::default().idle_time(idle).close_time(PATIENCE);
    let builder = echoing()
        .limits(limits)
        .direct_handler("block", move |request: Request| {
            std::thread::sleep(idle * 5 / 4);
            async move { Ok(Some(request.reply("blocked"))) }
        });
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async move {
            let server = listen(builder).await;
            tell.send((server.server.clone(), server.address)).unwrap();
            let _ = ended.await;
        });
    });
    let (server, address) = told.recv_timeout(PATIENCE).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let task = tokio::spawn(std::future::ready(Ok(())));
        let server = Listening {
            server,
            address,
            task,
        };
        let mut reader = server.join("room").await;
        let mut blocker = server.join("room").await;
        // It answers pings, because it reads.
        let reading = tokio::spawn(async move { reader.next_or_close().await });
        for _ in 0..3 {
            blocker.send("block", Value::Null).await;
            assert_eq!(blocker.next().await["type"], "blocked");
        }
        server
            .server
            .broadcast("room", Message::new("tick", "", ""));
        let next = tokio::time::timeout(PATIENCE, reading).await.unwrap();
        assert_eq!(next.unwrap().unwrap()["type"], "tick");
        assert_eq!(server.server.stats().silent, 0);
    });
    drop(end);
    serving.join().unwrap();
}

#[tokio::test]
async fn b10_a_short_idle_time_makes_pings_more_frequent() {
    let limits = Limits::default().idle_time(Duration::from_millis(1000));
    let server = listen(echoing().limits(limits)).await;
    let mut reader = server.join("room").await;
    // It sends nothing, and answers pings because it reads.
    let listening = tokio::time::timeout(Duration::from_secs(3), reader.next_or_close()).await;
    assert!(listening.is_err(), "{listening:?}");
    reader.send("echo", json!(1)).await;
    assert_eq!(reader.next().await["body"], 1);
    assert_eq!(server.server.stats().silent, 0);
}

#[tokio::test]
async fn b10_pings_and_unsolicited_pongs_are_sent() {
    use tokio_tungstenite::tungstenite::Message as WsMessage;
    let limits = Limits::default()
        .ping_interval(Duration::from_millis(50))
        .idle_time(Duration::from_millis(500));
    let server = listen(echoing().limits(limits)).await;
    let mut client = server.join("room").await;
    let (mut pings, mut pongs) = (0, 0);
    // Long enough for silence to be noticed, if the client's pongs were none.
    while pings < 30 || pongs < 30 {
        let next = tokio::time::timeout(PATIENCE, client.socket.next()).await;
        match next.unwrap().unwrap().unwrap() {
            WsMessage::Ping(_) => pings += 1,
            WsMessage::Pong(_) => pongs += 1,
            other => panic!("{other:?}"),
        }
    }
    client.send("echo", json!(1)).await;
    assert_eq!(client.next().await["body"], 1);
}
