//! What observers and loggers of a server are told.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use fanfeed::{Receiver, RecvError};
use fanfeed_sockets::{
    ChannelEnd, ConnectionEnd, Limits, Message, Refusal, Request, Server, ServerEvent,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, echoing, listen, until};

/// Skips events until one is what is looked for.
async fn next<T>(
    events: &mut Receiver<ServerEvent>,
    what: &str,
    mut look: impl FnMut(&ServerEvent) -> Option<T>,
) -> T {
    let found = async {
        loop {
            let event = events.recv_async().await.expect("the server tells");
            if let Some(found) = look(&event) {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

#[tokio::test]
async fn a_handshake_that_cannot_be_read_is_told() {
    let limits = Limits::default().handshake_time(Duration::from_millis(500));
    let server = listen(echoing().limits(limits)).await;
    let mut events = server.server.events();
    let large = format!("GET /room HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    for (sent, reason) in [
        ("", "took too long"),
        ("GET /room HTTP/1.1\r\nHo", "took too long"),
        (&*large, "too large"),
        ("\u{1} \u{2}\r\n\r\n", "no HTTP"),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let failed = next(&mut events, "it failed", |event| match event {
            ServerEvent::HandshakeFailed { address, .. } => Some((*address, event.to_string())),
            _ => None,
        });
        let (address, line) = failed.await;
        assert!(address.is_loopback());
        assert!(line.contains(reason), "{line}");
    }
    assert_eq!(server.server.stats().refused, 4);

    // A page that has been served may rest, and leave.
    let app = axum::Router::new().route("/", axum::routing::get(|| async { "page" }));
    let served =
        Server::builder().limits(Limits::default().handshake_time(Duration::from_millis(100)));
    let served = served.build().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = served.clone();
    tokio::spawn(async move { serving.serve_router(listener, app).await });
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    let mut page = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut page)).await;
    read.expect("it is closed when it has rested for long")
        .unwrap();
    assert!(page.ends_with(b"page"));
    assert_eq!(served.stats().refused, 0);
}

#[tokio::test]
async fn observers_learn_what_happens_to_a_client() {
    let builder = echoing()
        .direct_handler("fail", |_: Request| async {
            Err("the disk is full".into())
        })
        .on_join(|_| async { panic!("no room\n for ada") });
    let server = listen(builder).await;
    let mut events = server.server.events();
    let mut request = server.request("elsewhere");
    let origin = "http://evil.example".parse().unwrap();
    request.headers_mut().insert("origin", origin);
    assert_eq!(server.refused(request).await, 403);
    let refused = next(&mut events, "refused", |event| match event {
        ServerEvent::Refused {
            address,
            channel,
            code,
            ..
        } => Some((*address, Arc::clone(channel), *code)),
        _ => None,
    });
    let (address, channel, code) = refused.await;
    assert!(address.is_some_and(|address| address.is_loopback()));
    assert_eq!((&*channel, code), ("elsewhere", 403));

    let mut client = server.join("room").await;
    let joined = next(&mut events, "joined", |event| match event {
        ServerEvent::Joined {
            channel, client, ..
        } => Some((Arc::clone(channel), Arc::clone(client))),
        _ => None,
    });
    let (channel, id) = joined.await;
    assert_eq!((&*channel, &*id), ("room", &*client.id));
    let failed = next(&mut events, "the hook failed", |event| match event {
        ServerEvent::CallbackFailed { callback, .. } => Some((*callback, event.to_string())),
        _ => None,
    });
    let (callback, line) = failed.await;
    assert_eq!(callback, "on_join");
    assert!(
        line.contains("it panicked: no room") && !line.contains('\n'),
        "{line}"
    );

    client.send_text("{").await;
    client.send("nonsense\n", Value::Null).await;
    let text = json!({"type": "echo", "expiration": "2001-01-01T00:00:00Z"}).to_string();
    client.send_text(&text).await;
    client.send("fail", Value::Null).await;
    let mut lines = Vec::new();
    for _ in 0..4 {
        let line = next(&mut events, "four faults", |event| Some(event.to_string()));
        lines.push(line.await);
    }
    for (line, expected) in lines.iter().zip([
        "the message is not one JSON object",
        "no handler for \"nonsense\\n\"",
        "the message \"echo\" had expired",
        "the handler of \"fail\" failed: \"the disk is full\"",
    ]) {
        assert!(
            line.contains(expected) && line.contains(&client.id),
            "{line}"
        );
        assert!(!line.contains('\n'), "{line}");
    }
    client.leave().await;
    let ended = next(&mut events, "the channel ended", |event| match event {
        ServerEvent::ChannelEnded { end, .. } => Some(*end),
        _ => None,
    });
    assert_eq!(ended.await, ChannelEnd::Emptied);
    let gone = next(&mut events, "disconnected", |event| match event {
        ServerEvent::Disconnected { end, .. } => Some(end.clone()),
        _ => None,
    });
    assert_eq!(gone.await, ConnectionEnd::ByClient);
    assert_eq!(server.server.shutdown(PATIENCE).await.cut, 0);
    let last = next(&mut events, "shut down", |event| match event {
        ServerEvent::ShutDown { cut } => Some(*cut),
        _ => None,
    });
    assert_eq!(last.await, 0);
    assert!(matches!(events.recv_async().await, Err(RecvError::Closed)));
}

/// B15: write errors of the Go library are never logged.
#[tokio::test]
async fn b15_how_a_connection_ended_is_told() {
    let limits = Limits::default().malformed(1);
    let server = listen(echoing().limits(limits)).await;
    let mut events = server.server.events();
    let mut ends = async || {
        next(&mut events, "disconnected", |event| match event {
            ServerEvent::Disconnected { end, .. } => Some(end.clone()),
            _ => None,
        })
        .await
    };
    // Reset, while much is being written to it.
    let client = server.join("reset").await;
    let tokio_tungstenite::MaybeTlsStream::Plain(stream) = client.socket.into_inner() else {
        unreachable!("there is no TLS");
    };
    for _ in 0..20 {
        let message = Message::new("tick", "", "")
            .with_body(&"x".repeat(40_000))
            .unwrap();
        server.server.broadcast("reset", message);
    }
    stream.set_zero_linger().unwrap();
    drop(stream);
    match ends().await {
        ConnectionEnd::Lost(error) => {
            assert!(error.contains("reset") || error.contains("pipe"), "{error}")
        }
        other => panic!("{other:?}"),
    }
    // Cut without a close frame.
    drop(server.join("eof").await);
    match ends().await {
        ConnectionEnd::Lost(error) => assert!(error.contains("without a close frame"), "{error}"),
        other => panic!("{other:?}"),
    }
    let mut client = server.join("bad").await;
    client.send_text("{").await;
    client.send_text("{").await;
    assert_eq!(client.close_code().await, 1007);
    drop(client);
    let ConnectionEnd::ByServer { code, reason } = ends().await else {
        panic!("closed by the server");
    };
    assert_eq!((code, reason), (1007, "too many malformed messages"));
    let mut client = server.join("room").await;
    assert!(server.server.close_channel("room"));
    assert_eq!(client.close_code().await, 1000);
    drop(client);
    assert!(matches!(
        ends().await,
        ConnectionEnd::ByServer { code: 1000, .. }
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_logger_or_observer_holds_up_nothing_and_learns_what_it_missed() {
    let (go, gate) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let gate = Mutex::new(gate);
    let limits = Limits::default()
        .message_rate(1_000_000)
        .message_burst(1_000_000);
    let builder = echoing().limits(limits).report_unknown(false);
    let server = listen(builder.logger(move |event| {
        // Waits at the first event until the sender is dropped.
        let _ = gate.lock().unwrap().recv();
        tell.send(event.clone()).unwrap();
        if matches!(event, ServerEvent::Joined { .. }) {
            panic!("a logger that panics loses this event alone");
        }
    }))
    .await;
    let mut observer = server.server.events();
    let mut client = server.join("room").await;
    const COUNT: u64 = 20_000;
    for _ in 0..COUNT {
        client.send("nobody", Value::Null).await;
    }
    client.send("echo", json!(1)).await;
    assert_eq!(client.next().await["body"], 1);
    assert_eq!(server.server.stats().unknown, COUNT);
    drop(go);
    assert_eq!(server.server.shutdown(PATIENCE).await.cut, 0);
    // The shutdown has waited for the logger.
    let (mut unhandled, mut missed, mut last) = (0, 0, None);
    for event in told.try_iter() {
        match event {
            ServerEvent::Unhandled { .. } => unhandled += 1,
            ServerEvent::EventsMissed { missed: count } => missed += count,
            _ => {}
        }
        last = Some(event);
    }
    assert!(missed > 0, "{unhandled}");
    assert!(unhandled + missed >= COUNT, "{unhandled} and {missed}");
    assert!(
        matches!(last, Some(ServerEvent::ShutDown { cut: 0 })),
        "{last:?}"
    );
    match observer.recv_async().await {
        Err(RecvError::Lagged(count)) => assert!(count > 0),
        other => panic!("{other:?}"),
    }
}

/// Observers are bounded by a number of events, and not in bytes.
#[tokio::test]
async fn an_event_has_only_the_beginning_of_a_client_s_key() {
    let server = listen(echoing()).await;
    let mut events = server.server.events();
    let mut client = server.join("room").await;
    // The 256th byte is within a character.
    let long = format!("x{}", "é".repeat(20_000));
    client.send(&long, Value::Null).await;
    let told = next(&mut events, "no handler", |event| match event {
        ServerEvent::Unhandled { key, .. } => Some(Arc::clone(key)),
        _ => None,
    });
    assert_eq!(*told.await, long[..255]);
    // Of a channel that is refused for its length, the longest that may be.
    let path = format!("x{}", "%C3%A9".repeat(200));
    assert_eq!(server.refused(server.request(&path)).await, 400);
    let told = next(&mut events, "refused", |event| match event {
        ServerEvent::Refused { channel, .. } => Some(Arc::clone(channel)),
        _ => None,
    });
    assert_eq!(*told.await, long[..255]);
}

/// A handler, a hook and `authorize` may quote what a client sent.
#[tokio::test]
async fn an_event_has_only_the_beginning_of_an_error() {
    // The 1,024th byte is within a character.
    let long: &'static str = format!("x{}", "é".repeat(20_000)).leak();
    let builder = echoing()
        .direct_handler("fail", move |_: Request| async move { Err(long.into()) })
        .direct_handler("panic", move |_: Request| async move { panic!("{long}") })
        .on_join(move |_| async move { panic!("{long}") })
        .authorize(move |request| async move {
            match request.channel() {
                "closed" => Err(Refusal::new(axum::http::StatusCode::FORBIDDEN, long)),
                _ => Ok(fanfeed_sockets::Identity::anonymous()),
            }
        });
    let server = listen(builder).await;
    let mut events = server.server.events();
    assert_eq!(server.refused(server.request("closed")).await, 403);
    let told = next(&mut events, "refused", |event| match event {
        ServerEvent::Refused { reason, .. } => Some(Arc::clone(reason)),
        _ => None,
    });
    assert_eq!(*told.await, long[..1023]);
    let mut client = server.join("room").await;
    let told = next(&mut events, "the hook", |event| match event {
        ServerEvent::CallbackFailed { error, .. } => Some(Arc::clone(error)),
        _ => None,
    });
    assert_beginning(&told.await, long);
    for key in ["fail", "panic"] {
        client.send(key, Value::Null).await;
        let told = next(&mut events, key, |event| match event {
            ServerEvent::HandlerFailed { error, .. } => Some(Arc::clone(error)),
            _ => None,
        });
        assert_beginning(&told.await, long);
    }
}

#[track_caller]
fn assert_beginning(error: &str, of: &str) {
    let (_, quoted) = error.split_at(error.find("xé").expect("the text of the application"));
    assert!((1020..=1024).contains(&error.len()), "{}", error.len());
    assert!(of.starts_with(quoted));
}

#[tokio::test]
async fn no_secret_is_in_an_event() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&lines);
    let builder = echoing()
        .authorize(|request| async move {
            match request.param("token").as_deref() {
                Some("hush") => Ok(fanfeed_sockets::Identity::user("ada").state("hush")),
                _ => Err(axum::http::StatusCode::UNAUTHORIZED.into()),
            }
        })
        .logger(move |event| log.lock().unwrap().push(format!("{event} {event:?}")));
    let server = listen(builder).await;
    for (path, is_taken) in [("room?token=hush", true), ("room?tocken=hush", false)] {
        let mut request = server.request(path);
        let headers = request.headers_mut();
        headers.insert("authorization", "Bearer hush".parse().unwrap());
        headers.insert("cookie", "session=hush".parse().unwrap());
        match is_taken {
            false => assert_eq!(server.refused(request).await, 401),
            true => {
                let mut client = server.connect_with(request).await.unwrap();
                client.next().await;
                client.send_text("{\"type\": \"hush").await;
                client.send_text("{\"type\": 7, \"body\": \"hush\"}").await;
                client.send("nobody", json!("hush")).await;
                for _ in 0..3 {
                    assert_eq!(client.next().await["type"], "error");
                }
                client.leave().await;
            }
        }
    }
    until("both are gone", || server.server.stats().connections == 0).await;
    server.server.shutdown(PATIENCE).await;
    let lines = lines.lock().unwrap();
    assert!(lines.len() >= 7, "{lines:#?}");
    for line in lines.iter() {
        assert!(!line.contains("hush"), "{line}");
    }
}

#[test]
fn a_logger_s_thread_ends_with_its_server() {
    let (tell, told) = mpsc::channel::<()>();
    let server = Server::builder()
        .logger(move |_| tell.send(()).unwrap())
        .build()
        .unwrap();
    drop(server);
    // The sender is a part of the logger.
    let ended = told.recv_timeout(Duration::from_secs(60));
    assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
}

/// A handler is busy, and the client leaves behind messages that wait for it.
#[tokio::test]
async fn messages_that_are_not_handled_in_time_are_counted_and_told() {
    let builder = echoing()
        .limits(
            Limits::default()
                .inbox(2)
                .close_time(Duration::from_millis(50)),
        )
        .direct_handler("hang", |_: Request| std::future::pending());
    let server = listen(builder).await;
    let mut events = server.server.events();
    let mut client = server.join("room").await;
    client.send("hang", Value::Null).await;
    for n in 0..5 {
        client.send("echo", json!(n)).await;
    }
    until("all are read", || server.server.stats().received == 6).await;
    let id = client.id.clone();
    client.leave().await;
    let told = next(&mut events, "abandoned", |event| match event {
        ServerEvent::Abandoned {
            client, messages, ..
        } => Some((Arc::clone(client), *messages)),
        _ => None,
    });
    let (client, messages) = told.await;
    assert_eq!((&*client, messages), (&*id, 6));
    assert_eq!(server.server.stats().abandoned, 6);
    // None is left of a client whose messages were handled.
    let mut client = server.join("room").await;
    client.send("echo", json!(1)).await;
    client.leave().await;
    until("it has ended", || server.server.stats().connections == 0).await;
    assert_eq!(server.server.stats().abandoned, 6);
}

/// The path cannot be decoded, so the channel is not known.
#[tokio::test]
async fn a_path_that_is_not_utf_8_is_refused_counted_and_told() {
    let server = listen(echoing()).await;
    let mut events = server.server.events();
    assert_eq!(server.refused(server.request("%ff")).await, 400);
    let told = next(&mut events, "refused", |event| match event {
        ServerEvent::Refused { code, reason, .. } => Some((*code, Arc::clone(reason))),
        _ => None,
    });
    let (code, reason) = told.await;
    assert_eq!(code, 400);
    assert!(reason.contains("UTF-8"), "{reason}");
    assert_eq!(server.server.stats().refused, 1);
}

/// A shutdown waits for a request that is arriving.
#[tokio::test]
async fn a_request_that_cannot_be_read_is_told_during_a_shutdown() {
    let server = listen(echoing()).await;
    let mut events = server.server.events();
    // It is read before the other client has joined.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /room HT").await.unwrap();
    let mut other = server.join("room").await;
    let handle = server.server.clone();
    let shutdown = tokio::spawn(async move { handle.shutdown(PATIENCE).await });
    assert_eq!(other.close_code().await, 1001);
    drop(other);
    let _ = stream.write_all(b"\x01\x02\r\n\r\n").await;
    assert_eq!(shutdown.await.unwrap().cut, 0);
    let failed = next(&mut events, "it failed", |event| match event {
        ServerEvent::HandshakeFailed { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(failed.await, "it sent no HTTP/1.1 request");
    assert_eq!(server.server.stats().refused, 1);
}
