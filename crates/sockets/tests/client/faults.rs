//! The faults B16 to B23 of the Go library's client, which this one must not have.

use std::sync::Arc;
use std::time::Duration;

use fanfeed_sockets::{
    Client, ClientEventKind, ClientPublisher, Ended, JoinOptions, LeaveReason, MembershipState,
    Message, PublishFault, Request,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::common::{Events, PATIENCE, Server, quick, within};

/// The Go client leaves when its limit of silence is over, whatever comes meanwhile.
#[tokio::test]
async fn b16_a_client_lives_longer_than_its_limit_of_silence() {
    use futures_util::StreamExt;
    use tokio_tungstenite::tungstenite::Message as Frame;

    let silence = Duration::from_secs(1);
    let client = quick()
        .ping_interval(Duration::from_millis(20))
        .silence_timeout(silence)
        .build()
        .expect("a runtime");
    let mut server = Server::start().await;
    // One server answers pings and sends nothing else; the other sends messages and reads nothing.
    let (answered, mut answering) = server.joined(&client, "answers").await;
    let (talked, mut talking) = server.joined(&client, "talks").await;
    let mut events = Events::of(&client);
    let began = tokio::time::Instant::now();
    while began.elapsed() < silence * 5 / 2 {
        let frame = within("a ping", answering.socket.next()).await;
        assert!(matches!(frame, Some(Ok(Frame::Ping(_)))), "{frame:?}");
        talking
            .send_message(&Message::new("tick", "", "talks"))
            .await;
    }
    assert!(matches!(answered.state(), MembershipState::Connected));
    assert!(matches!(talked.state(), MembershipState::Connected));
    while let Ok(event) = events.0.try_recv() {
        let is_over = matches!(
            event.kind,
            ClientEventKind::Disconnected(_) | ClientEventKind::Left(_)
        );
        assert!(!is_over, "{event}");
    }
}

#[tokio::test]
async fn b17_publishing_on_a_channel_that_is_not_joined_fails_at_once() {
    let client = quick().build().expect("a runtime");
    for channel in ["room", ""] {
        let message = Message::new("k", "", channel);
        let error = client.try_publish(message.clone()).expect_err("not joined");
        assert_eq!(error.fault(), PublishFault::NotJoined);
        let error = client
            .publish(message.clone())
            .await
            .expect_err("not joined");
        assert!(error.to_string().contains("join it first"), "{error}");
        client
            .request(message, PATIENCE)
            .await
            .expect_err("not joined");
    }
}

#[tokio::test]
async fn b18_null_and_garbage_are_ignored_and_told() {
    let mut server = Server::start().await;
    let (sender, mut got) = mpsc::unbounded_channel();
    let client = quick()
        .listen("m", move |_: Request| {
            let _ = sender.send(());
            async { Ok(None) }
        })
        .build()
        .expect("a runtime");
    let mut events = Events::of(&client);
    client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let mut peer = server.peer().await;
    let good = Message::new("m", "", "room").encode();
    let trailing = format!("{} rest", good.trim_end());
    let bad = [
        "null",
        "",
        "[]",
        "{",
        "{\"type\":1}",
        "{\"timestamp\":\"\"}",
        &trailing,
    ];
    for text in bad {
        peer.send(text).await;
    }
    peer.send(good).await;
    within("the good one", got.recv()).await;
    for _ in bad {
        events
            .until("the bad one", |kind| {
                matches!(kind, ClientEventKind::Malformed(_)).then_some(())
            })
            .await;
    }
    assert!(got.try_recv().is_err());
}

/// The option is heeded, the attempts are counted, headers and limits are kept, waits grow, resets
/// and silence reconnect: see `reconnecting`. Leaving meanwhile is in `leaving`. What is left is a
/// flapping server.
#[tokio::test]
async fn b19_many_reconnects_leave_one_connection() {
    let mut server = Server::start().await;
    let client = quick()
        .reconnect(Duration::from_millis(1))
        .build()
        .expect("a runtime");
    let room = client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    for _ in 0..50 {
        server.peer().await.reset();
    }
    let mut last = server.peer().await;
    last.welcome("last").await;
    assert_eq!(
        &*within("join.success", room.joined()).await.expect("joined"),
        "last"
    );
    assert!(server.another_peer().is_none());
    let (_, code) = tokio::join!(room.leave(), last.closed_with());
    assert_eq!(code, Some(1000));
    assert!(server.another_peer().is_none());
}

#[tokio::test]
async fn b20_listeners_for_the_client_s_own_messages_come_in_addition() {
    for (key, left) in [("channel.expired", "expired"), ("channel.closed", "closed")] {
        let mut server = Server::start().await;
        let (sender, mut heard) = mpsc::unbounded_channel();
        let mut builder = quick();
        for known in [
            "join.success",
            "leave.success",
            "channel.expired",
            "channel.closed",
        ] {
            let sender = sender.clone();
            builder = builder.listen(known, move |request: Request| {
                let _ = sender.send((known, request.key().to_owned()));
                async { Ok(None) }
            });
        }
        let client = builder.build().expect("a runtime");
        let (room, mut peer) = server.joined(&client, "room").await;
        peer.welcome("member").await;
        assert_eq!(
            &*within("join.success", room.joined()).await.expect("joined"),
            "member"
        );
        peer.send_message(&Message::new(key, "member", "room"))
            .await;
        assert_eq!(peer.closed_with().await, Some(1000));
        for expected in ["join.success", key] {
            let (listener, message) = within("the listener", heard.recv()).await.expect("heard");
            assert_eq!((listener, message.as_str()), (expected, expected));
        }
        let reason = within("the end", room.over()).await;
        let named = match reason {
            LeaveReason::ChannelExpired => "expired",
            LeaveReason::ChannelClosed => "closed",
            other => panic!("{other:?}"),
        };
        assert_eq!(named, left);
        assert!(!client.has_channel("room"));
        assert!(server.another_peer().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b21_joining_leaving_publishing_and_closing_at_once_is_sound() {
    let mut server = Server::start().await;
    let url = server.url.clone();
    let serving = tokio::spawn(async move {
        loop {
            let mut peer = server.peer().await;
            tokio::spawn(async move {
                peer.welcome("member").await;
                while peer.frame().await.is_some() {}
            });
        }
    });
    let client = quick().build().expect("a runtime");
    let mut tasks = Vec::new();
    for task in 0..8 {
        let (client, url) = (client.clone(), url.clone());
        tasks.push(tokio::spawn(async move {
            for round in 0..20 {
                let channel = format!("c{}", (task + round) % 4);
                match round % 4 {
                    0 | 1 => drop(client.join(&url, &channel, JoinOptions::new()).await),
                    2 => drop(client.publish(Message::new("k", "", &*channel)).await),
                    _ => client.leave(&channel).await,
                }
            }
        }));
    }
    for task in tasks {
        within("a task", task).await.expect("it does not panic");
    }
    within("the end", async {
        tokio::join!(client.close(), client.leave("c0"), client.close())
    })
    .await;
    for channel in ["c0", "c1", "c2", "c3"] {
        assert!(!client.has_channel(channel));
    }
    serving.abort();
}

#[tokio::test]
async fn b22_the_same_channel_on_two_hosts_is_two_memberships() {
    let (mut one, mut two) = (Server::start().await, Server::start().await);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let client = quick()
        .listen("m", move |request: Request| {
            note.lock().push(request.message().raw_body().to_owned());
            async { Ok(None) }
        })
        .build()
        .expect("a runtime");
    let first = client
        .join(&one.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let second = client
        .join(&two.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let (mut at_one, mut at_two) = (one.peer().await, two.peer().await);
    let error = client
        .publish(Message::new("k", "", "room"))
        .await
        .expect_err("which of them?");
    assert_eq!(error.fault(), PublishFault::SeveralHosts);
    assert_eq!(client.memberships("room").len(), 2);
    first
        .publish(Message::new("first", "", ""))
        .await
        .expect("written");
    second
        .publish(Message::new("second", "", ""))
        .await
        .expect("written");
    assert_eq!(at_one.message().await.key(), "first");
    assert_eq!(at_two.message().await.key(), "second");
    let (_, code) = tokio::join!(first.leave(), at_one.closed_with());
    assert_eq!(code, Some(1000));
    assert!(client.has_channel("room"));
    client
        .publish(Message::new("third", "", "room"))
        .await
        .expect("one is left");
    assert_eq!(at_two.message().await.key(), "third");
}

/// A message that, sent again and again, fills the buffers of TCP.
fn large() -> Message {
    let body = "x".repeat(900_000);
    Message::new("k", "", "").with_body(&body).expect("JSON")
}

#[tokio::test]
async fn b22_a_stalled_server_does_not_delay_other_channels() {
    let (mut stalled, mut sound) = (Server::start().await, Server::start().await);
    // Whatever waits for the stalled server waits longer than this test.
    let client = quick()
        .outbox(1)
        .write_timeout(PATIENCE * 10)
        .silence_timeout(PATIENCE * 10)
        .close_timeout(Duration::from_millis(10))
        .build()
        .expect("a runtime");
    let join = |url: String, channel: &'static str| {
        let client = client.clone();
        async move {
            let joined = client.join(&url, channel, JoinOptions::new()).await;
            joined.expect("joined")
        }
    };
    let bad = join(stalled.url.clone(), "bad").await;
    let good = join(sound.url.clone(), "good").await;
    let _deaf = stalled.peer().await;
    let mut peer = sound.peer().await;
    let filling = tokio::spawn({
        let bad = bad.clone();
        async move { while bad.publish(large()).await.is_ok() {} }
    });
    // The queue to the stalled server is full and stays so; meanwhile questions are answered on the
    // other channel.
    let mut answers_in_a_row = 0;
    while answers_in_a_row < 50 {
        let full = bad.try_publish(Message::new("k", "", ""));
        if !full.is_err_and(|error| error.fault() == PublishFault::Full) {
            answers_in_a_row = 0;
            tokio::task::yield_now().await;
            continue;
        }
        let asked = good.request(Message::new("ask", "", ""), PATIENCE);
        let answered = async {
            let question = peer.message().await;
            peer.send_message(&question.new_from("answer")).await;
        };
        tokio::join!(asked, answered).0.expect("an answer");
        answers_in_a_row += 1;
    }
    assert!(!filling.is_finished());
    within("the end", bad.leave()).await;
    within("the publisher's end", filling)
        .await
        .expect("it does not panic");
}

#[tokio::test]
async fn b22_a_stalled_server_is_noticed_and_its_publishers_are_told() {
    let mut server = Server::start().await;
    let limit = Duration::from_millis(100);
    let client = quick().write_timeout(limit).build().expect("a runtime");
    let mut events = Events::of(&client);
    let (room, _deaf) = server.joined(&client, "room").await;
    let fault = within("the connection is lost", async {
        loop {
            if let Err(error) = room.publish(large()).await {
                return error.fault();
            }
        }
    });
    let fault = fault.await;
    assert!(
        matches!(fault, PublishFault::Lost | PublishFault::Reconnecting),
        "{fault:?}"
    );
    let told = events
        .until("it is told", |kind| match kind {
            ClientEventKind::Disconnected(Ended::Stalled(told)) => Some(told),
            _ => None,
        })
        .await;
    assert_eq!(told, limit);
    server.peer().await;
}

#[tokio::test]
async fn b23_a_message_of_100_kilobytes_passes_by_default() {
    let mut server = Server::start().await;
    let (sender, mut got) = mpsc::unbounded_channel();
    let client = Client::builder()
        .listen("m", move |request: Request| {
            let _ = sender.send(request.message().raw_body().len());
            async { Ok(None) }
        })
        .build()
        .expect("a runtime");
    let (room, mut peer) = server.joined(&client, "room").await;
    let large = Message::new("m", "", "room")
        .with_body(&"x".repeat(100_000))
        .expect("JSON");
    let (published, ()) = tokio::join!(room.publish(large.clone()), async {
        let got = peer.message().await;
        peer.send_message(&got).await;
    });
    published.expect("written");
    assert_eq!(within("it comes back", got.recv()).await, Some(100_002));
}

/// `Duration::MAX` is how a program says "never".
#[tokio::test]
async fn the_longest_times_mean_never() {
    let mut server = Server::start().await;
    let client = Client::builder()
        .ping_interval(Duration::MAX - Duration::from_secs(1))
        .silence_timeout(Duration::MAX)
        .connect_timeout(Duration::MAX)
        .write_timeout(Duration::MAX)
        .close_timeout(Duration::MAX)
        .reconnect(Duration::MAX)
        .build()
        .expect("a runtime");
    let mut events = Events::of(&client);
    let (room, mut peer) = server.joined(&client, "room").await;
    peer.welcome("member").await;
    within("join.success", room.joined()).await.expect("joined");
    let asked = room.request(Message::new("ask", "", ""), Duration::MAX);
    let answered = async {
        let question = peer.message().await;
        peer.send_message(&question.new_from("answer")).await;
    };
    within("an answer", async { tokio::join!(asked, answered) })
        .await
        .0
        .expect("an answer");
    peer.reset();
    events
        .until("the wait", |kind| {
            matches!(kind, ClientEventKind::Retrying { .. }).then_some(())
        })
        .await;
    within("the end", room.leave()).await;
    assert!(matches!(room.over().await, LeaveReason::Left));
}

/// It takes a message for longer than the limit, and something all the time.
#[tokio::test]
async fn a_server_that_takes_slowly_is_not_cut() {
    use tokio::io::AsyncReadExt;

    let limit = Duration::from_secs(1);
    let mut server = Server::start().await;
    let client = quick()
        .write_timeout(limit)
        .max_publish_bytes(64 << 20)
        .build()
        .expect("a runtime");
    let mut events = Events::of(&client);
    let room = client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let mut slow = server.peer().await.socket.into_inner();
    let mut message = Message::new("k", "", "");
    message
        .set_raw_body(&format!("\"{}\"", "x".repeat(40 << 20)))
        .expect("JSON");
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut buffer = vec![0; 128 << 10];
    let mut began = None;
    let reading = async {
        loop {
            if slow.read(&mut buffer).await.expect("connected") == 0 {
                panic!("the client has cut the connection");
            }
            began.get_or_insert_with(tokio::time::Instant::now);
            pace.tick().await;
        }
    };
    let published = within("it is written", async {
        tokio::select! {
            published = room.publish(message) => published,
            () = reading => unreachable!("it reads for ever"),
        }
    })
    .await;
    published.expect("it is written");
    let took = began.map(|began| began.elapsed());
    assert!(
        took > Some(limit * 3 / 2),
        "it took {took:?}, which shows nothing"
    );
    while let Ok(event) = events.0.try_recv() {
        let is_over = matches!(event.kind, ClientEventKind::Disconnected(_));
        assert!(!is_over, "{event}");
    }
}
