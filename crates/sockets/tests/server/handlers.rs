//! Handlers, their middleware, and their errors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfeed_sockets::middleware::{self, CatchPanics, Logger, Metrics, Timeout, TimeoutError};
use fanfeed_sockets::{ErrorDetail, Limits, Message, Request, Server, Timestamp, replying, typed};
use serde_json::{Value, json};

use crate::support::{echoing, listen, until};

fn failing() -> fanfeed_sockets::ServerBuilder {
    Server::builder()
        .direct_handler("fail", |_: Request| async {
            Err("the password is 1234".into())
        })
        .direct_handler("panic", |request: Request| async move {
            match request.bind::<u32>() {
                Ok(number) => panic!("number {number}"),
                Err(_) => std::panic::panic_any(7_u8),
            }
        })
        .direct_handler("refuse", |_: Request| async {
            Err(ErrorDetail::new("Not now", "the room sleeps", "423").into())
        })
}

#[tokio::test]
async fn internal_errors_stay_inside_unless_exposed() {
    let hidden = listen(failing()).await;
    let mut client = hidden.join("room").await;
    for key in ["fail", "panic"] {
        client.send(key, json!(5)).await;
        let error = client.next().await;
        assert_eq!(error["originType"], key);
        assert_eq!(error["originBody"], 5);
        let detail = &error["errorBody"];
        assert_eq!(detail["Title"], "unexpected server error");
        assert_eq!(
            detail["Description"],
            "the server could not handle the message"
        );
        assert_eq!(detail["ErrCode"], "500");
    }
    // What the handler says on purpose is sent.
    client.send("refuse", Value::Null).await;
    assert_eq!(client.next().await["errorBody"]["ErrCode"], "423");

    let exposed = listen(failing().expose_errors(true)).await;
    let mut client = exposed.join("room").await;
    client.send("fail", Value::Null).await;
    let error = client.next().await;
    assert_eq!(error["errorBody"]["Description"], "the password is 1234");
    client.send("panic", Value::Null).await;
    let text = client.next().await["errorBody"]["Description"].clone();
    assert!(text.as_str().unwrap().contains("panicked"), "{text}");
    assert_eq!(exposed.server.stats().failed, 2);
}

#[tokio::test]
async fn an_application_decides_what_an_error_says() {
    let builder = failing().on_error(|message, _| {
        (message.key() == "fail").then(|| json!({"because": message.key()}))
    });
    let server = listen(builder).await;
    let mut client = server.join("room").await;
    client.send("refuse", Value::Null).await;
    client.send("fail", Value::Null).await;
    assert_eq!(client.next().await["errorBody"], json!({"because": "fail"}));
}

#[tokio::test]
async fn an_error_message_fits_what_go_clients_accept() {
    let server = listen(failing()).await;
    let mut client = server.join("room").await;
    client.send("fail", json!("x".repeat(2000))).await;
    let error = client.next().await;
    assert_eq!(error["originBody"], Value::Null);
    assert!(error.to_string().len() < 512);
    client.send(&"k".repeat(200), json!("x")).await;
    let error = client.next().await;
    assert!(error.to_string().len() < 512, "{error}");
    assert_eq!(error["errorBody"]["ErrCode"], "404");
}

#[tokio::test]
async fn typed_handlers_get_bodies_and_say_which_are_wrong() {
    let builder = Server::builder()
        .direct_handler(
            "length",
            replying("is", |text: String, _| async move { Ok(text.len()) }),
        )
        .channel_handler(
            "add",
            typed(|(a, b): (u32, u32), request: Request| async move {
                Ok(Some(request.reply("sum").with_body(&(a + b))?))
            }),
        );
    let server = listen(builder).await;
    let mut client = server.join("room").await;
    client.send("length", json!("four")).await;
    assert_eq!(client.next().await["body"], 4);
    client.send("add", json!([1, 2])).await;
    assert_eq!(client.next().await["body"], 3);
    client.send("length", json!(4)).await;
    let error = client.next().await;
    assert_eq!(error["errorBody"]["ErrCode"], "400", "{error}");
}

#[tokio::test]
async fn the_first_middleware_is_the_outermost_and_is_built_once() {
    let built = Arc::new(Mutex::new(0));
    let order = Arc::new(Mutex::new(Vec::new()));
    let named = |name: &'static str| {
        let order = Arc::clone(&order);
        middleware::from_fn(move |request, next| {
            let order = Arc::clone(&order);
            async move {
                order.lock().unwrap().push((name, "in"));
                let reply = next.handle(request).await;
                order.lock().unwrap().push((name, "out"));
                reply
            }
        })
    };
    let count = Arc::clone(&built);
    let builder = echoing()
        .middleware(named("first"))
        .middleware(named("second"))
        .middleware(move |next: middleware::Next| {
            *count.lock().unwrap() += 1;
            next
        });
    let server = listen(builder).await;
    let mut client = server.join("room").await;
    for n in 0..3 {
        client.send("echo", json!(n)).await;
        assert_eq!(client.next().await["body"], n);
    }
    // Not for what has no handler.
    client.send("nothing", Value::Null).await;
    assert_eq!(client.next().await["type"], "error");
    let order = order.lock().unwrap();
    let one = [
        ("first", "in"),
        ("second", "in"),
        ("second", "out"),
        ("first", "out"),
    ];
    assert_eq!(*order, one.repeat(3));
    // For each of the two handlers.
    assert_eq!(*built.lock().unwrap(), 2);
}

#[tokio::test]
async fn the_middleware_of_the_crate_work_together() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&lines);
    let metrics = Metrics::new();
    let builder = failing()
        .direct_handler("sleep", |_: Request| async {
            tokio::time::sleep(Duration::from_secs(600)).await;
            Ok(None)
        })
        .expose_errors(true)
        .middleware(Logger::new(move |entry| {
            log.lock().unwrap().push(entry.to_string())
        }))
        .middleware(metrics.clone())
        .middleware(CatchPanics)
        .middleware(Timeout::new(Duration::from_millis(20)));
    let server = listen(builder).await;
    let mut client = server.join("room").await;
    client.send("panic", json!(3)).await;
    let text = client.next().await["errorBody"]["Description"].clone();
    assert_eq!(text, "the handler panicked: number 3");
    client.send("sleep", Value::Null).await;
    let text = client.next().await["errorBody"]["Description"].clone();
    assert!(
        text.as_str().unwrap().contains("longer than 20ms"),
        "{text}"
    );
    let counts = metrics.counts();
    assert_eq!((counts["panic"].received, counts["panic"].failed), (1, 1));
    assert_eq!((counts["sleep"].received, counts["sleep"].failed), (1, 1));
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 4);
    assert!(lines[0].contains("\"panic\": received"), "{}", lines[0]);
    assert!(lines[1].contains("number 3"), "{}", lines[1]);
}

#[tokio::test]
async fn messages_of_a_client_are_handled_one_at_a_time_unless_told_otherwise() {
    async fn together(concurrency: usize) -> usize {
        let (now, most) = (Arc::new(Mutex::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = (Arc::clone(&now), Arc::clone(&most));
        let builder = Server::builder()
            .limits(Limits::default().concurrency(concurrency))
            .direct_handler("work", move |request: Request| {
                let (now, most) = count.clone();
                async move {
                    {
                        let mut now = now.lock().unwrap();
                        *now += 1;
                        most.fetch_max(*now, Ordering::SeqCst);
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    *now.lock().unwrap() -= 1;
                    Ok(Some(request.reply("done")))
                }
            });
        let server = listen(builder).await;
        let mut client = server.join("room").await;
        for _ in 0..6 {
            client.send("work", Value::Null).await;
        }
        for _ in 0..6 {
            assert_eq!(client.next().await["type"], "done");
        }
        most.load(Ordering::SeqCst)
    }
    assert_eq!(together(1).await, 1);
    assert_eq!(together(3).await, 3);
}

#[tokio::test]
async fn an_expired_message_is_not_handled() {
    let server = listen(echoing()).await;
    let mut client = server.join("room").await;
    let mut old = Message::new("echo", "", "").with_body("old").unwrap();
    let past = std::time::SystemTime::now() - Duration::from_secs(1);
    old.set_expiration(Some(Timestamp::from(past)));
    client.send_message(&old).await;
    let mut fresh = Message::new("echo", "", "").with_body("fresh").unwrap();
    let future = std::time::SystemTime::now() + Duration::from_secs(60);
    fresh.set_expiration(Some(Timestamp::from(future)));
    client.send_message(&fresh).await;
    assert_eq!(client.next().await["body"], "fresh");
    assert_eq!(server.server.stats().expired, 1);
}

#[tokio::test]
async fn a_reply_can_be_addressed_to_another_client_or_channel() {
    let builder = Server::builder()
        .direct_handler(
            "tell",
            typed(
                |(id, text): (String, String), request: Request| async move {
                    let mut reply = request.reply("told").with_body(&text)?;
                    reply.set_client_id(id);
                    Ok(Some(reply))
                },
            ),
        )
        .channel_handler(
            "shout",
            typed(|channel: String, request: Request| async move {
                let mut reply = request.reply("shouted");
                reply.set_channel_id(channel);
                Ok(Some(reply))
            }),
        );
    let server = listen(builder).await;
    let (mut a, mut b) = (server.join("room").await, server.join("other").await);
    a.send("tell", json!([b.id, "psst"])).await;
    assert_eq!(b.next().await["body"], "psst");
    a.send("shout", json!("other")).await;
    let heard = b.next().await;
    assert_eq!(
        (&heard["type"], &heard["channelId"]),
        (&json!("shouted"), &json!("other"))
    );
    a.send("tell", json!([a.id, "me"])).await;
    assert_eq!(a.next().await["body"], "me");
}

#[tokio::test]
async fn what_arrived_before_the_client_left_is_handled() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let builder = Server::builder().direct_handler(
        "note",
        typed(move |n: u32, _| {
            let log = Arc::clone(&log);
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                log.lock().unwrap().push(n);
                Ok(None)
            }
        }),
    );
    let server = listen(builder).await;
    let mut client = server.join("room").await;
    for n in 0..20 {
        client.send("note", json!(n)).await;
    }
    client.leave().await;
    until("all have been handled", || seen.lock().unwrap().len() == 20).await;
    assert!(seen.lock().unwrap().is_sorted());
}

#[tokio::test]
async fn binary_fragmented_and_upper_case_messages_are_read() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message as WsMessage;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let server = listen(echoing()).await;
    let mut client = server.join("room").await;
    let json = br#"{"TYPE":"echo","Body":1}"#;
    client
        .socket
        .send(WsMessage::binary(&json[..]))
        .await
        .unwrap();
    assert_eq!(client.next().await["body"], 1);
    // As Go does it: an empty frame at the end.
    for (part, code, is_last) in [
        (&json[..5], Data::Text, false),
        (&json[5..], Data::Continue, false),
        (&b"\n"[..0], Data::Continue, true),
    ] {
        let frame = Frame::message(part.to_vec(), OpCode::Data(code), is_last);
        client.socket.send(WsMessage::Frame(frame)).await.unwrap();
    }
    assert_eq!(client.next().await["body"], 1);
}

#[tokio::test]
async fn a_timeout_cancels_the_token_of_its_request_alone() {
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    let endless = move |request: Request| {
        let sent = tx.send(request.cancel_token().clone());
        async move {
            sent?;
            std::future::pending().await
        }
    };
    let timeout: Arc<dyn middleware::Middleware> = Arc::new(Timeout::new(Duration::from_millis(1)));
    let handler = middleware::chain(&[timeout], Arc::new(endless));
    let request = Request::new(Message::new("go", "", "room"), "room");
    let of_connection = request.cancel_token().clone();
    let error = handler.handle(request).await.unwrap_err();
    assert!(error.is::<TimeoutError>(), "{error}");
    let of_request = rx.recv().await.unwrap();
    assert!(
        of_request.is_cancelled(),
        "a handler on another thread can see that it is too late"
    );
    assert!(!of_connection.is_cancelled(), "the connection goes on");
    // The end of the connection reaches a handler with a token of its own, too.
    let request = Request::new(Message::new("go", "", "room"), "room");
    request.cancel_token().cancel();
    drop(handler.handle(request));
    assert!(rx.recv().await.unwrap().is_cancelled());
}

#[test]
fn settings_that_cannot_work_are_refused() {
    use fanfeed_sockets::BuildError;
    let twice = echoing().direct_handler("chat", |_: Request| async { Ok(None) });
    assert_eq!(twice.build().unwrap_err(), BuildError::Twice("chat".into()));
    let error = Server::builder().direct_handler("error", |_: Request| async { Ok(None) });
    assert_eq!(error.build().unwrap_err(), BuildError::Key("error".into()));
    let proxy = Server::builder().trusted_proxies(["10.0.0.0/99"]).build();
    assert!(proxy.unwrap_err().to_string().contains("10.0.0.0/99"));
    let origin = Server::builder().allowed_origins(["https://a.example", "b.example"]);
    let origin = origin.build().unwrap_err();
    assert_eq!(origin, BuildError::Origin("b.example".into()));
    assert!(origin.to_string().contains("https://example.com"));
    let zero = Server::builder().limits(Limits::default().inbox(0)).build();
    assert_eq!(zero.unwrap_err(), BuildError::ZeroLimit("inbox"));
}
