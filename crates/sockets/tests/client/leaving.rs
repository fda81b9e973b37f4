//! Leaving, closing and dropping.

use std::sync::Arc;
use std::time::Duration;

use fanfeed_sockets::{
    ClientEventKind, ClientPublisher, JoinError, JoinOptions, LeaveReason, Message, PublishFault,
    Request,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::common::{Events, PATIENCE, Server, quick, within};

#[tokio::test]
async fn leaving_sends_what_was_published_and_then_a_close_frame() {
    let mut server = Server::start().await;
    let client = quick().build().expect("a runtime");
    let (room, mut peer) = server.joined(&client, "room").await;
    for number in 0..100 {
        let message = Message::new("n", "", "").with_body(&number).expect("JSON");
        room.try_publish(message).expect("there is room");
    }
    let seen = async {
        for number in 0..100 {
            assert_eq!(
                peer.message().await.bind::<u32>().expect("a number"),
                number
            );
        }
        assert_eq!(peer.closed_with().await, Some(1000));
    };
    tokio::join!(client.leave("room"), seen);
    assert!(!client.has_channel("room"));
    assert!(matches!(room.over().await, LeaveReason::Left));
    // Again, and for a channel that was never joined: nothing happens.
    room.leave().await;
    client.leave("room").await;
    let error = client
        .publish(Message::new("k", "", "room"))
        .await
        .expect_err("left");
    assert_eq!(error.fault(), PublishFault::NotJoined);
}

#[tokio::test]
async fn leaving_a_server_that_does_not_answer_ends_at_the_close_timeout() {
    let mut server = Server::start().await;
    let client = quick()
        .close_timeout(Duration::from_millis(20))
        .build()
        .expect("a runtime");
    let (room, _silent) = server.joined(&client, "room").await;
    within("the end", room.leave()).await;
}

#[tokio::test]
async fn leaving_during_a_reconnect_leaves_nothing_behind() {
    for wait in [Duration::from_secs(600), Duration::from_millis(1)] {
        let mut server = Server::start().await;
        let client = quick().reconnect(wait).build().expect("a runtime");
        let mut events = Events::of(&client);
        let room = client
            .join(&server.url, "room", JoinOptions::new())
            .await
            .expect("joined");
        drop(server.peer().await);
        events
            .until("it waits", |kind| {
                matches!(kind, ClientEventKind::Retrying { .. }).then_some(())
            })
            .await;
        within("the end", room.leave()).await;
        assert!(!client.has_channel("room"));
        events
            .until("it has left", |kind| {
                matches!(kind, ClientEventKind::Left(LeaveReason::Left)).then_some(())
            })
            .await;
        client.close().await;
        // A connection that was made meanwhile has been closed.
        while let Some(mut peer) = server.another_peer() {
            while peer.frame().await.is_some() {}
        }
    }
}

#[tokio::test]
async fn a_listener_may_leave_its_own_channel() {
    let mut server = Server::start().await;
    let (sender, mut left) = mpsc::unbounded_channel();
    let (share, shared) = std::sync::mpsc::channel();
    let shared = parking_lot::Mutex::new(shared);
    let client = quick()
        .listen("bye", move |_: Request| {
            let room: fanfeed_sockets::Membership = shared.lock().recv().expect("it is shared");
            let sender = sender.clone();
            async move {
                room.leave().await;
                let _ = sender.send(());
                Ok(None)
            }
        })
        .build()
        .expect("a runtime");
    let room = client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    share.send(room).expect("the listener waits");
    let mut peer = server.peer().await;
    peer.send_message(&Message::new("bye", "", "room")).await;
    assert_eq!(peer.closed_with().await, Some(1000));
    within("the listener goes on", left.recv()).await;
}

#[tokio::test]
async fn what_came_before_the_server_closed_is_handled() {
    let mut server = Server::start().await;
    let (sender, mut got) = mpsc::unbounded_channel();
    let client = quick()
        .listen("n", move |request: Request| {
            let sender = sender.clone();
            async move {
                tokio::task::yield_now().await;
                let _ = sender.send(request.bind::<u32>()?);
                Ok(None)
            }
        })
        .build()
        .expect("a runtime");
    client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let mut peer = server.peer().await;
    for number in 0..100 {
        peer.send_message(
            &Message::new("n", "", "room")
                .with_body(&number)
                .expect("JSON"),
        )
        .await;
    }
    peer.close(Some(1000)).await;
    for number in 0..100 {
        assert_eq!(within("a message", got.recv()).await, Some(number));
    }
}

#[tokio::test]
async fn closing_ends_all_memberships_and_closing_again_is_harmless() {
    let mut server = Server::start().await;
    let client = quick().build().expect("a runtime");
    let mut peers = Vec::new();
    for channel in ["a", "b", "c"] {
        client
            .join(&server.url, channel, JoinOptions::new())
            .await
            .expect("joined");
        peers.push(server.peer().await);
    }
    let seen = async {
        for peer in &mut peers {
            assert_eq!(peer.closed_with().await, Some(1001));
        }
    };
    within("the end", async {
        tokio::join!(client.close(), client.close(), seen)
    })
    .await;
    client.close().await;
    assert!(!client.has_channel("a"));
    let error = client.join(&server.url, "a", JoinOptions::new()).await;
    assert!(matches!(error, Err(JoinError::Closed)), "{error:?}");
}

#[tokio::test]
async fn dropping_the_last_clone_ends_everything() {
    let mut server = Server::start().await;
    let (sender, mut alive) = mpsc::unbounded_channel::<()>();
    let client = quick()
        .listen("stay", move |_: Request| {
            let sender = sender.clone();
            async move {
                std::future::pending::<()>().await;
                drop(sender);
                Ok(None)
            }
        })
        .build()
        .expect("a runtime");
    let mut events = Events::of(&client);
    let room = client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let publisher = client.publisher();
    let mut peer = server.peer().await;
    peer.send_message(&Message::new("stay", "", "room")).await;
    let clone = client.clone();
    drop(client);
    assert!(clone.has_channel("room"));
    drop(clone);
    assert_eq!(peer.closed_with().await, Some(1001));
    assert!(matches!(
        within("the end", room.over()).await,
        LeaveReason::ClientClosed
    ));
    let error = publisher
        .publish(Message::new("k", "", "room"))
        .await
        .expect_err("closed");
    assert_eq!(error.fault(), PublishFault::NotJoined);
    drop((room, publisher));
    // The listener, which would never end, is gone with the client's state.
    assert_eq!(within("the listener's end", alive.recv()).await, None);
    events
        .until("the end", |kind| {
            matches!(kind, ClientEventKind::Left(_)).then_some(())
        })
        .await;
    let over = within("the events end", events.0.recv_async()).await;
    assert!(over.is_err(), "{over:?}");
}

#[tokio::test]
async fn a_join_that_is_dropped_joins_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let host = format!("ws://{}", listener.local_addr().expect("it is bound"));
    let client = quick().build().expect("a runtime");
    {
        let join = client.join(&host, "room", JoinOptions::new());
        tokio::pin!(join);
        tokio::select! {
            joined = &mut join => panic!("{joined:?} without an upgrade"),
            accepted = listener.accept() => drop(accepted.expect("a connection")),
        }
    }
    assert!(!client.has_channel("room"));
    let again = client
        .join("ws://127.0.0.1:1", "room", JoinOptions::new())
        .await;
    assert!(matches!(again, Err(JoinError::Io(_))), "{again:?}");
}

/// A listener, middleware and a callback hold what holds the client's state. Closing and dropping
/// let go of all of them.
#[tokio::test]
async fn what_listeners_hold_does_not_keep_a_client() {
    for close in [false, true] {
        let mut server = Server::start().await;
        let (held, callback) = (Arc::new(()), Arc::new(Mutex::new(None)));
        let shared = Arc::clone(&callback);
        let client = quick()
            .on_server_error(move |_| {
                let _ = &shared;
            })
            .build()
            .expect("a runtime");
        let mut events = Events::of(&client);
        let (room, mut peer) = server.joined(&client, "room").await;
        *callback.lock() = Some(client.publisher());
        let keeps = (client.publisher(), room, Arc::clone(&held));
        client.listen("go", move |_: Request| {
            let _ = &keeps;
            async { Ok(None) }
        });
        if close {
            let (_, code) = tokio::join!(client.close(), peer.closed_with());
            assert_eq!(code, Some(1001));
            let late = Arc::clone(&held);
            client.listen("late", move |_: Request| {
                let _ = &late;
                async { Ok(None) }
            });
        }
        drop(client);
        if !close {
            assert_eq!(peer.closed_with().await, Some(1001));
        }
        assert_eq!(Arc::strong_count(&held), 1);
        within("the callback is dropped", async {
            while Arc::strong_count(&callback) > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        drop(callback);
        within("the events end", async {
            while events.0.recv_async().await.is_ok() {}
        })
        .await;
    }
}

/// The membership is over, and its listeners have a backlog.
#[tokio::test]
async fn no_listener_outlives_its_client() {
    for close in [false, true] {
        let mut server = Server::start().await;
        let (sender, mut started) = mpsc::unbounded_channel();
        let client = quick()
            .listen("stay", move |_: Request| {
                let sender = sender.clone();
                async move {
                    let _ = sender.send(());
                    std::future::pending::<()>().await;
                    Ok(None)
                }
            })
            .build()
            .expect("a runtime");
        let (room, mut peer) = server.joined(&client, "room").await;
        for _ in 0..10 {
            peer.send_message(&Message::new("stay", "", "room")).await;
        }
        peer.close(Some(1000)).await;
        within("the end", room.over()).await;
        within("the first", started.recv()).await;
        if close {
            client.close().await;
        } else {
            drop((client, room));
        }
        assert_eq!(within("the listeners' end", started.recv()).await, None);
    }
}

/// Leaving finds the writer in the middle of what was published, with a server that takes nothing.
#[tokio::test]
async fn leaving_with_back_pressure_loses_nothing_from_the_middle() {
    let mut server = Server::start().await;
    let client = quick()
        .outbox(200)
        .outbox_bytes(1 << 28)
        .write_timeout(PATIENCE * 10)
        .silence_timeout(PATIENCE * 10)
        .close_timeout(PATIENCE)
        .build()
        .expect("a runtime");
    let (room, mut peer) = server.joined(&client, "room").await;
    // More than the buffers of TCP have room for.
    let filling = "x".repeat(400_000);
    let published = 60_u32;
    for number in 0..published {
        let message = Message::new("n", "", "")
            .with_body(&(number, &filling))
            .expect("JSON");
        room.try_publish(message).expect("there is room");
    }
    let waiting = Message::new("n", "", "")
        .with_body(&(published, ""))
        .expect("JSON");
    let publishing = room.publish(waiting);
    let leaving = async {
        // The writer has run into the full buffers: it takes no more.
        tokio::time::sleep(Duration::from_millis(100)).await;
        room.leave().await;
    };
    let reading = async {
        while !matches!(room.state(), fanfeed_sockets::MembershipState::Reconnecting) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for number in 0..=published {
            let (got, _): (u32, String) = peer.message().await.bind().expect("a number");
            assert_eq!(got, number);
        }
        assert_eq!(peer.closed_with().await, Some(1000));
    };
    let (published, (), ()) = within("the end", async {
        tokio::join!(publishing, leaving, reading)
    })
    .await;
    published.expect("it was written");
}

/// The server says good-bye and is gone, and the client's writes fail before it has read that.
#[tokio::test]
async fn a_failing_write_does_not_win_over_what_the_server_said() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message as Frame;

    for round in 0..100 {
        let mut server = Server::start().await;
        let (sender, mut got) = mpsc::unbounded_channel();
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let open = Arc::clone(&gate);
        let client = quick()
            .inbox(1)
            .listen("n", move |request: Request| {
                let (gate, sender) = (Arc::clone(&gate), sender.clone());
                async move {
                    gate.acquire().await?.forget();
                    let _ = sender.send(request.bind::<u32>()?);
                    Ok(None)
                }
            })
            .build()
            .expect("a runtime");
        let mut events = Events::of(&client);
        let (room, mut peer) = server.joined(&client, "room").await;
        let messages = if round % 2 == 0 { 0 } else { 5 };
        // What the server does not read makes a reset of its end.
        room.publish(Message::new("unread", "", ""))
            .await
            .expect("written");
        for number in 0..messages {
            let message = Message::new("n", "", "room").with_body(&number);
            let text = message.expect("JSON").encode();
            peer.socket
                .feed(Frame::Text(text.into()))
                .await
                .expect("fed");
        }
        let expired = Message::new("channel.expired", "", "room").encode();
        peer.socket
            .feed(Frame::Text(expired.into()))
            .await
            .expect("fed");
        peer.socket.close(None).await.expect("sent");
        drop(peer);
        let publishing = async { while room.publish(Message::new("k", "", "")).await.is_ok() {} };
        within("a failed write", publishing).await;
        open.add_permits(10);
        for number in 0..messages {
            assert_eq!(within("a message", got.recv()).await, Some(number));
        }
        let reason = within("the end", room.over()).await;
        assert!(matches!(reason, LeaveReason::ChannelExpired), "{reason:?}");
        while let Ok(event) = events.0.try_recv() {
            let retries = matches!(event.kind, ClientEventKind::Retrying { .. });
            assert!(!retries, "{event}");
        }
    }
}
