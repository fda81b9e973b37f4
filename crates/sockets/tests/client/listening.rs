//! Listeners, middleware and error handlers.

use std::sync::Arc;
use std::time::Duration;

use fanfeed_sockets::middleware::from_fn;
use fanfeed_sockets::{
    ClientEventKind, ClientPublisher, Incoming, JoinOptions, Message, PublishFault, Request,
    Timestamp, decode,
};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};

use super::common::{Events, PATIENCE, Server, quick, within};

#[tokio::test]
async fn a_listener_s_reply_is_published() {
    let mut server = Server::start().await;
    let client = quick()
        .listen("ask", |request: Request| async move {
            Ok(Some(request.reply("answer").with_body(request.channel())?))
        })
        .build()
        .expect("a runtime");
    let (room, mut peer) = server.joined(&client, "room").await;
    peer.welcome("member-1").await;
    room.joined().await.expect("joined");
    let mut question = Message::new("ask", "other", "room");
    question.set_correlation_id("c");
    question.set_user_id("u");
    peer.send_message(&question).await;
    let answer = peer.message().await;
    assert_eq!((answer.key(), answer.raw_body()), ("answer", "\"room\""));
    assert_eq!((answer.correlation_id(), answer.user_id()), ("c", "u"));
    assert_eq!(
        (answer.client_id(), answer.channel_id()),
        ("member-1", "room")
    );
}

#[tokio::test]
async fn binary_messages_and_fragments_are_messages() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message as Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame as Raw;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

    let mut server = Server::start().await;
    let (sender, mut got) = mpsc::unbounded_channel();
    let client = quick()
        .listen("m", move |request: Request| {
            let _ = sender.send(request.message().raw_body().to_owned());
            async { Ok(None) }
        })
        .build()
        .expect("a runtime");
    client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let mut peer = server.peer().await;
    let text = Message::new("m", "", "room")
        .with_body("é")
        .expect("JSON")
        .encode();
    peer.socket
        .send(Frame::Binary(text.clone().into()))
        .await
        .expect("sent");
    // As the Go library splits a message: in the middle of a character, and with an empty frame at
    // its end.
    let bytes = text.into_bytes();
    let middle = bytes.iter().position(|&byte| byte == 0xC3).expect("é") + 1;
    let parts = [
        (Data::Text, &bytes[..middle]),
        (Data::Continue, &bytes[middle..]),
        (Data::Continue, &[]),
    ];
    for (index, (data, part)) in parts.into_iter().enumerate() {
        let raw = Raw::message(part.to_vec(), OpCode::Data(data), index == 2);
        peer.socket.send(Frame::Frame(raw)).await.expect("sent");
    }
    for _ in 0..2 {
        assert_eq!(
            within("a message", got.recv()).await.as_deref(),
            Some("\"é\"")
        );
    }
}

#[tokio::test]
async fn the_first_middleware_is_the_outermost_and_sees_the_client_s_own_messages() {
    let mut server = Server::start().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let seen = Arc::clone(&seen);
        from_fn(
            move |request: Request, next: fanfeed_sockets::middleware::Next| {
                seen.lock().push(format!("{name} {}", request.key()));
                async move { next.handle(request).await }
            },
        )
    };
    let (sender, mut done) = mpsc::unbounded_channel();
    let client = quick()
        .middleware(note("outer"))
        .middleware(note("inner"))
        .listen("m", move |_: Request| {
            let _ = sender.send(());
            async { Ok(None) }
        })
        .build()
        .expect("a runtime");
    client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let mut peer = server.peer().await;
    peer.welcome("member").await;
    peer.send_message(&Message::new("unknown", "", "room"))
        .await;
    peer.send_message(&Message::new("m", "", "room")).await;
    within("the listener", done.recv()).await;
    let expected = [
        "outer join.success",
        "inner join.success",
        "outer m",
        "inner m",
    ];
    assert_eq!(*seen.lock(), expected);
}

#[tokio::test]
async fn errors_and_panics_of_listeners_are_reported_and_end_nothing() {
    let mut server = Server::start().await;
    let (sender, mut errors) = mpsc::unbounded_channel();
    let client = quick()
        .listen("fail", |_: Request| async { Err("broken".into()) })
        .listen("panic", |request: Request| async move {
            assert!(request.key().is_empty(), "on purpose");
            Ok(None)
        })
        .listen_blocking("panic.blocking", |_| std::panic::panic_any(7))
        .listen("elsewhere", |request: Request| async move {
            let mut reply = request.reply("reply");
            reply.set_channel_id("not joined");
            Ok(Some(reply))
        })
        .on_error(move |error, message| {
            let _ = sender.send((message.key().to_owned(), error.to_string()));
            panic!("callbacks may panic, too");
        })
        .build()
        .expect("a runtime");
    let mut events = Events::of(&client);
    client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let mut peer = server.peer().await;
    for key in ["fail", "panic", "panic.blocking", "elsewhere"] {
        peer.send_message(&Message::new(key, "", "room")).await;
        let (failed, error) = within("the report", errors.recv()).await.expect("a report");
        assert_eq!(failed, key);
        let expected = match key {
            "fail" => "broken",
            "elsewhere" => "has not been joined",
            _ => "panicked",
        };
        assert!(error.contains(expected), "{error}");
        let told = events
            .until("the event", |kind| match kind {
                ClientEventKind::ListenerFailed { key, .. } => Some(key),
                _ => None,
            })
            .await;
        assert_eq!(&*told, key);
    }
}

#[tokio::test]
async fn error_messages_of_the_server_go_to_their_handler() {
    let mut server = Server::start().await;
    let (sender, mut errors) = mpsc::unbounded_channel();
    let client = quick()
        .on_server_error(move |error| {
            let _ = sender.send(error.clone());
        })
        .build()
        .expect("a runtime");
    client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let mut peer = server.peer().await;
    let failed = Message::new("chat", "", "room")
        .with_body("hi")
        .expect("JSON");
    let error = failed.to_error("no").expect("JSON");
    peer.send(error.encode()).await;
    assert_eq!(within("the error", errors.recv()).await, Some(error));
}

#[tokio::test]
async fn expired_and_unknown_messages_are_not_handled_and_are_told() {
    let mut server = Server::start().await;
    let client = quick()
        .listen("old", |_: Request| async { panic!("it has expired") })
        .build()
        .expect("a runtime");
    let mut events = Events::of(&client);
    client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let mut peer = server.peer().await;
    let mut old = Message::new("old", "", "room");
    old.set_expiration(Some(Timestamp::now()));
    peer.send_message(&old).await;
    let mut fresh = Message::new("unknown", "", "room");
    let later = std::time::SystemTime::now() + PATIENCE;
    fresh.set_expiration(Some(Timestamp::from(later)));
    peer.send_message(&fresh).await;
    events
        .until("the old one", |kind| {
            matches!(kind, ClientEventKind::Expired { key } if &*key == "old").then_some(())
        })
        .await;
    events
        .until("the unknown one", |kind| {
            matches!(kind, ClientEventKind::Unhandled { key } if &*key == "unknown").then_some(())
        })
        .await;
}

/// Observers are bounded by a number of events, and not in bytes.
#[tokio::test]
async fn an_event_has_only_the_beginning_of_what_the_server_wrote() {
    let mut server = Server::start().await;
    let client = quick()
        .listen("fail", |request: Request| async move {
            Err(request.bind::<String>()?.into())
        })
        .build()
        .expect("a runtime");
    let mut events = Events::of(&client);
    client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let mut peer = server.peer().await;
    // The 256th byte is within a character, and so is the 1,024th.
    let long = format!("x{}", "é".repeat(50_000));
    let beginning = &long[..255];
    peer.welcome(&long).await;
    let told = events.until("the id", |kind| match kind {
        ClientEventKind::Joined { client_id } => Some(client_id),
        _ => None,
    });
    assert_eq!(&*told.await, beginning);
    let mut old = Message::new(&*long, "", "room");
    old.set_expiration(Some(Timestamp::now()));
    peer.send_message(&old).await;
    let told = events.until("the old one", |kind| match kind {
        ClientEventKind::Expired { key } => Some(key),
        _ => None,
    });
    assert_eq!(&*told.await, beginning);
    peer.send_message(&Message::new(&*long, "", "room")).await;
    let told = events.until("the unknown one", |kind| match kind {
        ClientEventKind::Unhandled { key } => Some(key),
        _ => None,
    });
    assert_eq!(&*told.await, beginning);
    let mut failed = Message::new(&*long, &*long, "room")
        .with_body(&long)
        .expect("JSON");
    failed.set_correlation_id(&*long);
    failed.set_header("Long", &*long);
    peer.send(failed.to_error(&long).expect("JSON").encode())
        .await;
    let told = events.until("the error message", |kind| match kind {
        ClientEventKind::ServerError(error) => Some(error),
        _ => None,
    });
    let told = told.await;
    for text in [told.origin_key(), told.client_id(), told.correlation_id()] {
        assert_eq!(text, beginning);
    }
    assert_eq!((told.raw_body(), told.raw_origin_body()), ("null", "null"));
    assert!(told.headers().is_none());
    let fails = Message::new("fail", "", "room").with_body(&long);
    peer.send_message(&fails.expect("JSON")).await;
    let told = events.until("the listener's error", |kind| match kind {
        ClientEventKind::ListenerFailed { error, .. } => Some(error),
        _ => None,
    });
    assert_eq!(&*told.await, &long[..1023]);
}

#[tokio::test]
async fn a_listener_can_be_replaced_and_ask_its_own_server() {
    let mut server = Server::start().await;
    let client = quick().build().expect("a runtime");
    let publisher = client.publisher();
    client.listen("go", |_: Request| async { panic!("it was replaced") });
    client.listen("go", move |request: Request| {
        let publisher = publisher.clone();
        async move {
            let question = Message::new("question", "", request.channel());
            let answer = publisher.request(question, PATIENCE).await?;
            Ok(Some(
                request.reply("done").with_body(&answer.bind::<u32>()?)?,
            ))
        }
    });
    client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let mut peer = server.peer().await;
    peer.send_message(&Message::new("go", "", "room")).await;
    let question = peer.message().await;
    peer.send_message(&question.new_from("a").with_body(&7).expect("JSON"))
        .await;
    let done = peer.message().await;
    assert_eq!((done.key(), done.raw_body()), ("done", "7"));
}

/// The server pings while a listener works, and while the queue before it is full.
#[tokio::test]
async fn no_listener_holds_up_pings_answers_or_other_channels() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message as Frame;

    let silence = Duration::from_secs(2);
    let mut server = Server::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let open = Arc::clone(&gate);
    let (sender, mut started) = mpsc::unbounded_channel();
    let client = quick()
        .inbox(2)
        .ping_interval(Duration::from_millis(10))
        .silence_timeout(silence)
        .listen("slow", move |_: Request| {
            let gate = Arc::clone(&gate);
            let _ = sender.send(());
            async move {
                gate.acquire().await.expect("it is open").forget();
                Ok(None)
            }
        })
        .build()
        .expect("a runtime");
    let mut events = Events::of(&client);
    let (slow, mut peer) = server.joined(&client, "slow").await;
    let (quick, mut other) = server.joined(&client, "quick").await;
    let answering = tokio::spawn(async move {
        while let Some(Frame::Text(text)) = other.frame().await {
            let Ok(Incoming::Message(question)) = decode(text.as_bytes()) else {
                panic!("{text} is no message");
            };
            other.send_message(&question.new_from("answer")).await;
        }
    });

    peer.send_message(&Message::new("slow", "", "slow")).await;
    within("the listener starts", started.recv()).await;
    // The listener works: a ping is answered, and an answer passes.
    let ping = Frame::Ping("are you there".into());
    peer.socket.send(ping).await.expect("sent");
    within("the pong", async {
        while peer
            .socket
            .next()
            .await
            .expect("connected")
            .expect("connected")
            != Frame::Pong("are you there".into())
        {}
    })
    .await;
    let asked = slow.request(Message::new("ask", "", ""), PATIENCE);
    let answered = async {
        let question = peer.message().await;
        peer.send_message(&question.new_from("answer")).await;
    };
    tokio::join!(asked, answered).0.expect("an answer passes");

    // The queue is full and no more is read: pongs say that the client is alive, and another
    // channel goes on.
    for _ in 0..20 {
        peer.send_message(&Message::new("slow", "", "slow")).await;
    }
    within("an unsolicited pong", async {
        while peer
            .socket
            .next()
            .await
            .expect("connected")
            .expect("connected")
            != Frame::Pong("".into())
        {}
    })
    .await;
    let full = tokio::time::Instant::now();
    while full.elapsed() < silence * 3 / 2 {
        let asked = quick.request(Message::new("ask", "", ""), PATIENCE);
        asked.await.expect("the other channel answers");
    }

    // Nothing was read for longer than the limit of silence, and the membership goes on.
    open.add_permits(21);
    for _ in 0..20 {
        within("the next one", started.recv()).await;
    }
    let reader = tokio::spawn(async move { while peer.frame().await.is_some() {} });
    drop((client, slow, quick));
    events
        .until("the end", |kind| match kind {
            ClientEventKind::Disconnected(ended) => panic!("disconnected: {ended}"),
            ClientEventKind::Left(_) => Some(()),
            _ => None,
        })
        .await;
    reader.abort();
    answering.abort();
}

#[tokio::test]
async fn a_full_queue_to_the_server_is_told() {
    let mut server = Server::start().await;
    let client = quick().outbox(1).build().expect("a runtime");
    let (room, _peer) = server.joined(&client, "room").await;
    // Nothing yields here, so nothing is written.
    room.try_publish(Message::new("a", "", ""))
        .expect("there is room for one");
    let error = room
        .try_publish(Message::new("b", "", ""))
        .expect_err("it is full");
    assert_eq!(
        (error.fault(), error.into_message().key()),
        (PublishFault::Full, "b")
    );
}
