//! What ends a membership, and what only ends its connection.

use std::time::Duration;

use fanfeed_sockets::{
    Client, ClientEventKind, ClientPublisher, Ended, JoinError, JoinOptions, LeaveReason,
    Membership, MembershipState, Message, PublishFault,
};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::common::{Events, Peer, Server, quick, within};

async fn joined(client: &Client, server: &mut Server) -> (Membership, Peer) {
    let options = JoinOptions::new()
        .header("x-token", "secret")
        .param("a", "1");
    let room = client
        .join(&server.url, "room", options)
        .await
        .expect("joined");
    (room, server.peer().await)
}

fn disconnected(kind: ClientEventKind) -> Option<Ended> {
    match kind {
        ClientEventKind::Disconnected(ended) => Some(ended),
        _ => None,
    }
}

#[tokio::test]
async fn close_codes_1000_and_none_end_the_membership_and_others_reconnect() {
    for code in [Some(1000), None] {
        let mut server = Server::start().await;
        let client = quick().build().expect("a runtime");
        let (room, peer) = joined(&client, &mut server).await;
        peer.close(code).await;
        let reason = within("the end", room.over()).await;
        assert!(
            matches!(reason, LeaveReason::Ended(Ended::Closed { code: ended, .. }) if ended == code),
            "{reason:?}"
        );
        assert!(!client.has_channel("room"));
        let error = room
            .publish(Message::new("k", "", ""))
            .await
            .expect_err("it is over");
        assert_eq!(error.fault(), PublishFault::NotJoined);
    }
    for code in [1001, 1002, 1008, 1011, 1012, 1013, 4000] {
        let mut server = Server::start().await;
        let client = quick().build().expect("a runtime");
        let mut events = Events::of(&client);
        let (_room, peer) = joined(&client, &mut server).await;
        peer.close(Some(code)).await;
        let ended = events.until("the end", disconnected).await;
        let told = format!("the server closed with code {code}: \"the peer's reason\"");
        assert_eq!(ended.to_string(), told);
        let reason = "the peer's reason".into();
        let code = Some(code);
        assert_eq!(ended, Ended::Closed { code, reason });
        assert!(client.has_channel("room"));
        let mut again = server.peer().await;
        again.welcome("second").await;
        events
            .until("it is joined again", |kind| {
                matches!(kind, ClientEventKind::Joined { client_id } if &*client_id == "second")
                    .then_some(())
            })
            .await;
    }
}

#[tokio::test]
async fn an_end_without_a_close_frame_and_a_reset_reconnect() {
    let mut server = Server::start().await;
    let client = quick().build().expect("a runtime");
    let mut events = Events::of(&client);
    let (_room, peer) = joined(&client, &mut server).await;
    drop(peer);
    assert_eq!(events.until("the end", disconnected).await, Ended::Eof);
    server.peer().await.reset();
    let ended = events.until("the end", disconnected).await;
    assert!(matches!(ended, Ended::Eof | Ended::Failed(_)), "{ended:?}");
    server.peer().await;
}

#[tokio::test]
async fn a_silent_server_is_noticed_and_joined_again() {
    let mut server = Server::start().await;
    let silence = Duration::from_millis(100);
    let client = quick()
        .ping_interval(Duration::from_millis(20))
        .silence_timeout(silence)
        .build()
        .expect("a runtime");
    let mut events = Events::of(&client);
    // It reads nothing, so it answers no ping.
    let (_room, _silent) = joined(&client, &mut server).await;
    assert_eq!(
        events.until("the end", disconnected).await,
        Ended::Silent(silence)
    );
    server.peer().await;
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_membership_with_code_1009_also_after_a_reconnect() {
    for lose in [false, true] {
        let mut server = Server::start().await;
        let client = quick().max_message_bytes(1000).build().expect("a runtime");
        let (room, mut peer) = joined(&client, &mut server).await;
        if lose {
            drop(peer);
            peer = server.peer().await;
        }
        // Much more than the client reads before it refuses.
        peer.send("x".repeat(1 << 20)).await;
        match peer.frame().await {
            Some(tokio_tungstenite::tungstenite::Message::Close(Some(frame))) => {
                assert_eq!(u16::from(frame.code), 1009);
            }
            other => panic!("{other:?} instead of a close frame"),
        }
        drop(peer);
        let reason = within("the end", room.over()).await;
        assert!(
            matches!(reason, LeaveReason::Ended(Ended::TooLarge(1000))),
            "{reason:?}"
        );
        assert!(server.another_peer().is_none());
    }
}

#[tokio::test]
async fn a_message_of_the_limit_passes() {
    let mut server = Server::start().await;
    let (sender, mut got) = tokio::sync::mpsc::unbounded_channel();
    let size = Message::new("m", "", "room")
        .with_body(&"x".repeat(100))
        .expect("JSON");
    let mut message = size.clone();
    let client = quick()
        .max_message_bytes(size.encode().len())
        .listen("m", move |_: fanfeed_sockets::Request| {
            let _ = sender.send(());
            async { Ok(None) }
        })
        .build()
        .expect("a runtime");
    let (room, mut peer) = joined(&client, &mut server).await;
    peer.send_message(&message).await;
    within("the message", got.recv()).await;
    message.set_body(&"x".repeat(101)).expect("JSON");
    peer.send_message(&message).await;
    let reason = within("the end", room.over()).await;
    assert!(
        matches!(reason, LeaveReason::Ended(Ended::TooLarge(_))),
        "{reason:?}"
    );
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_left_with_code_1002_and_joined_again() {
    use tokio::io::AsyncWriteExt;
    let mut server = Server::start().await;
    let client = quick().build().expect("a runtime");
    let mut events = Events::of(&client);
    let (_room, mut peer) = joined(&client, &mut server).await;
    // A frame with a reserved bit.
    peer.socket
        .get_mut()
        .write_all(&[0xC1, 0])
        .await
        .expect("sent");
    assert_eq!(peer.closed_with().await, Some(1002));
    let ended = events.until("the end", disconnected).await;
    assert!(matches!(ended, Ended::Protocol(_)), "{ended:?}");
    server.peer().await;
}

#[tokio::test]
async fn the_url_and_the_headers_are_kept_and_the_client_id_is_not() {
    let mut server = Server::start().await;
    let client = quick().build().expect("a runtime");
    let (room, mut peer) = joined(&client, &mut server).await;
    peer.welcome("first").await;
    assert_eq!(&*room.joined().await.expect("joined"), "first");
    let key = peer.headers["sec-websocket-key"].clone();
    drop(peer);
    let mut again = server.peer().await;
    assert_eq!(again.path, "/ws/room?a=1");
    assert_eq!(again.headers["x-token"], "secret");
    assert_ne!(again.headers["sec-websocket-key"], key);
    within("the connection", async {
        while !matches!(room.state(), MembershipState::Connected) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(room.client_id(), None);
    again.welcome("second").await;
    assert_eq!(&*room.joined().await.expect("joined"), "second");
}

#[tokio::test]
async fn nothing_is_published_while_the_client_reconnects() {
    let mut server = Server::start().await;
    let client = Client::builder().build().expect("a runtime");
    let mut events = Events::of(&client);
    let (room, peer) = joined(&client, &mut server).await;
    drop(peer);
    events
        .until("the wait", |kind| {
            matches!(kind, ClientEventKind::Retrying { .. }).then_some(())
        })
        .await;
    assert!(matches!(room.state(), MembershipState::Reconnecting));
    for publisher in [&client as &dyn ClientPublisher, &room] {
        let message = Message::new("k", "", "room");
        let error = publisher.publish(message).await.expect_err("not connected");
        assert_eq!(error.fault(), PublishFault::Reconnecting);
    }
}

#[tokio::test]
async fn without_reconnect_a_lost_connection_ends_the_membership() {
    for builder in [quick().no_reconnect(), quick().reconnect_attempts(0)] {
        let mut server = Server::start().await;
        let client = builder.build().expect("a runtime");
        let (room, peer) = joined(&client, &mut server).await;
        drop(peer);
        let reason = within("the end", room.over()).await;
        assert!(
            matches!(reason, LeaveReason::Ended(Ended::Eof)),
            "{reason:?}"
        );
        assert!(server.another_peer().is_none());
    }
}

#[tokio::test]
async fn the_client_gives_up_after_exactly_so_many_attempts_with_growing_waits() {
    let mut server = Server::start().await;
    let max = Duration::from_millis(200);
    let client = Client::builder()
        .reconnect(max)
        .reconnect_attempts(3)
        .build()
        .expect("a runtime");
    let mut events = Events::of(&client);
    let (room, peer) = joined(&client, &mut server).await;
    drop((peer, server));
    let (mut waits, mut failures) = (Vec::new(), Vec::new());
    events
        .until("the end", |kind| match kind {
            ClientEventKind::Retrying { attempt, wait } => {
                assert_eq!(attempt as usize, waits.len() + 1);
                waits.push(wait);
                None
            }
            ClientEventKind::RetryFailed { attempt, error } => {
                assert!(matches!(*error, JoinError::Io(_)), "{error}");
                failures.push(attempt);
                None
            }
            ClientEventKind::Left(reason) => Some(reason),
            _ => None,
        })
        .await;
    assert_eq!(failures, [1, 2, 3]);
    for (wait, tenths) in waits.iter().zip([1, 2, 4]) {
        let longest = max * tenths / 10;
        assert!(longest / 2 <= *wait && *wait <= longest, "{waits:?}");
    }
    let reason = within("the end", room.over()).await;
    assert!(
        matches!(reason, LeaveReason::GaveUp { attempts: 3, .. }),
        "{reason:?}"
    );
}

#[tokio::test]
async fn a_refusal_while_reconnecting_is_an_attempt_that_failed() {
    let mut server = Server::start().await;
    let client = quick().reconnect_attempts(2).build().expect("a runtime");
    let (room, peer) = joined(&client, &mut server).await;
    let address = server
        .url
        .trim_start_matches("ws://")
        .trim_end_matches("/ws")
        .to_owned();
    drop(server);
    let listener = within("the port is free", async {
        loop {
            match tokio::net::TcpListener::bind(&address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let _refusing = Server::on(listener, StatusCode::UNAUTHORIZED);
    drop(peer);
    match within("the end", room.over()).await {
        LeaveReason::GaveUp { attempts: 2, error } => assert_eq!(error.status(), Some(401)),
        other => panic!("{other:?} instead of giving up"),
    }
}

#[tokio::test]
async fn a_heard_server_starts_the_count_of_attempts_again() {
    let mut server = Server::start().await;
    let client = quick().reconnect_attempts(1).build().expect("a runtime");
    let mut events = Events::of(&client);
    let (_room, mut peer) = joined(&client, &mut server).await;
    for _ in 0..5 {
        peer.welcome("member").await;
        events
            .until("it is heard", |kind| {
                matches!(kind, ClientEventKind::Joined { .. }).then_some(())
            })
            .await;
        drop(peer);
        peer = server.peer().await;
    }
}

/// It upgrades, and then closes, or is gone.
#[tokio::test]
async fn a_server_that_takes_no_client_in_is_given_up() {
    for code in [Some(1008), Some(1013), None] {
        let mut server = Server::start().await;
        let client = quick().reconnect_attempts(3).build().expect("a runtime");
        let (room, mut peer) = joined(&client, &mut server).await;
        peer.welcome("member").await;
        within("join.success", room.joined()).await.expect("joined");
        for _ in 0..4 {
            match code {
                Some(code) => peer.close(Some(code)).await,
                None => drop(peer),
            }
            let next = within("another connection, or the end", async {
                tokio::select! {
                    peer = server.peer() => Ok(peer),
                    reason = room.over() => Err(reason),
                }
            });
            match next.await {
                Ok(next) => peer = next,
                Err(reason) => {
                    assert!(
                        matches!(&reason, LeaveReason::Ended(Ended::Closed { code: ended, .. }) if *ended == code)
                            || matches!(reason, LeaveReason::Ended(Ended::Eof)),
                        "{reason:?}"
                    );
                    peer = joined(&client, &mut server).await.1;
                    break;
                }
            }
        }
        assert_eq!(client.memberships("room").len(), 1);
        // It was given up after three attempts, so this is another membership.
        assert!(matches!(room.state(), MembershipState::Over(_)));
        drop(peer);
    }
}

/// Attempts that take longer than the longest wait make the waits grow all the same.
#[tokio::test]
async fn slow_attempts_make_the_waits_grow() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut server = Server::on(listener, StatusCode::SWITCHING_PROTOCOLS);
    let max = Duration::from_millis(100);
    let client = Client::builder()
        .reconnect(max)
        .connect_timeout(max * 3)
        .reconnect_attempts(4)
        .build()
        .expect("a runtime");
    let mut events = Events::of(&client);
    let (_room, peer) = joined(&client, &mut server).await;
    drop(server);
    // It accepts, by the kernel, and answers nothing.
    let _deaf = within("the port is free", async {
        loop {
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    drop(peer);
    let mut waits = Vec::new();
    events
        .until("the end", |kind| match kind {
            ClientEventKind::Retrying { wait, .. } => {
                waits.push(wait);
                None
            }
            ClientEventKind::RetryFailed { error, .. } => {
                assert!(matches!(*error, JoinError::Timeout(_)), "{error}");
                None
            }
            ClientEventKind::Left(_) => Some(()),
            _ => None,
        })
        .await;
    assert_eq!(waits.len(), 4);
    // From the second half of the fourth step on.
    assert!(waits[3] >= max * 4 / 10, "{waits:?}");
}
