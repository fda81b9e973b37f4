//! What the feature `tracing` adds: spans around publish and handle, and the context that messages
//! carry on.
//!
//! Each test has a runtime on its own thread, whose subscriber is that of the thread.

use std::io;
use std::sync::{Arc, Mutex, Once};

use fanfeed_sockets::{
    Client, ClientPublisher, JoinOptions, Limits, Message, Reply, Request, replying,
};
use serde_json::{Value, json};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{self, Layer, SubscriberExt};

use crate::support::{PATIENCE, echoing, listen, until};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A writer that keeps what it gets.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn subscribe(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_span_events(FmtSpan::CLOSE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        // While the process has one subscriber alone, and that is a thread's, a span that another
        // thread reaches first is off for all threads and for good. So the process has one, too.
        static OF_THE_PROCESS: Once = Once::new();
        OF_THE_PROCESS.call_once(|| {
            let none = tracing_subscriber::registry();
            tracing::subscriber::set_global_default(none).expect("it is set here alone");
        });
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The spans that were closed and have all these texts.
    #[track_caller]
    fn expect(&self, texts: &[&str]) {
        let page = self.text();
        let mut lines = page.lines().filter(|line| line.contains("close"));
        let is_there = lines.any(|line| texts.iter().all(|text| line.contains(text)));
        assert!(is_there, "no span with {texts:?}:\n{page}");
    }
}

fn panics_at_once(_: Request) -> std::future::Ready<Reply> {
    panic!("before there is a future")
}

#[tokio::test]
async fn spans_are_around_publish_and_handle_and_the_context_goes_on() {
    let page = Page::default();
    let _guard = page.subscribe();
    let builder = echoing()
        .direct_handler("fail", |_: Request| async {
            Err("the disk is full".into())
        })
        .direct_handler("panic", |_: Request| async { panic!("later") })
        .direct_handler("panic at once", panics_at_once)
        .direct_handler("tell", |request: Request| async move {
            // The context is that of each poll.
            tokio::task::yield_now().await;
            let server = request.connection().unwrap().server().unwrap();
            server.broadcast("room", Message::new("told", "", ""));
            let mut own = Message::new("own", "", "");
            own.set_header("traceparent", PARENT.replace('4', "5"));
            server.broadcast("room", own);
            Ok(None)
        });
    let server = listen(builder).await;
    let mut client = server.join("room").await;
    let id = client.id.clone();
    let headers = json!({"Traceparent": [PARENT], "tracestate": ["a=b"]});
    let text = json!({"type": "echo", "messageId": "m-1", "headers": headers}).to_string();
    client.send_text(&text).await;
    let echoed = client.next().await;
    assert_eq!(
        echoed["headers"],
        json!({"Traceparent": [PARENT], "Tracestate": ["a=b"]})
    );
    let parent = format!("traceparent=\"{PARENT}\"");
    let client_field = format!("client=\"{id}\"");
    page.expect(&[
        "handle{channel=\"room\" key=\"echo\"",
        &client_field,
        "id=\"m-1\"",
        &parent,
    ]);

    let text = json!({"type": "tell", "headers": {"traceparent": [PARENT]}}).to_string();
    client.send_text(&text).await;
    assert_eq!(client.next().await["headers"]["Traceparent"][0], PARENT);
    let own = client.next().await["headers"]["Traceparent"][0].clone();
    assert_eq!(own, PARENT.replace('4', "5"));
    page.expect(&[
        "handle{channel=\"room\" key=\"tell\"",
        ":publish{to=\"room\" key=\"told\"",
        &parent,
    ]);

    client.send("fail", Value::Null).await;
    assert_eq!(client.next().await["type"], "error");
    page.expect(&["key=\"fail\"", "error=true"]);
    for key in ["panic", "panic at once"] {
        client.send(key, Value::Null).await;
        assert_eq!(client.next().await["type"], "error");
        page.expect(&[&format!("key=\"{key}\""), "error=true"]);
    }
    // A context that is none is neither recorded nor passed on.
    let bad = json!({"type": "echo", "headers": {"traceparent": ["00-0-0-0"]}}).to_string();
    client.send_text(&bad).await;
    assert_eq!(client.next().await["headers"], json!({}));
    assert!(!page.text().contains("disk"));
}

#[tokio::test]
async fn a_handshake_has_a_span_without_secrets() {
    let page = Page::default();
    let _guard = page.subscribe();
    let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let builder = echoing()
        .limits(Limits::default().handshake_time(PATIENCE))
        .authorize(move |request| {
            let begin = begin.clone();
            async move {
                match request.param("token").as_deref() {
                    Some("hush") => Ok(fanfeed_sockets::Identity::user("ada")),
                    Some(_) => Err(axum::http::StatusCode::UNAUTHORIZED.into()),
                    None => {
                        begin.send(()).unwrap();
                        std::future::pending().await
                    }
                }
            }
        })
        .channel_lifetime_with(|channel| match channel {
            "strange" => panic!("on purpose"),
            _ => None,
        });
    let server = listen(builder).await;
    let mut request = server.request("room?token=hush");
    let headers = request.headers_mut();
    headers.insert("authorization", "Bearer hush".parse().unwrap());
    let mut client = server.connect_with(request).await.unwrap();
    let welcome = client.next().await;
    let client_field = format!("client={}", welcome["clientID"]);
    page.expect(&[
        "handshake{channel=\"room\" address=127.0.0.1 outcome=\"joined\"",
        &client_field,
    ]);
    let refused = server.request("other?token=hushed");
    assert_eq!(server.refused(refused).await, 401);
    page.expect(&["handshake{channel=\"other\" address=127.0.0.1 outcome=\"refused\" code=401"]);
    // Refused after the upgrade.
    let mut strange = server.connect("strange?token=hush").await;
    let code = strange.close_code().await;
    let code = format!("outcome=\"refused\" code={code}");
    page.expect(&["handshake{channel=\"strange\"", &code]);
    // The client goes away while `authorize` thinks.
    let waiting = tokio::spawn(tokio_tungstenite::connect_async(server.request("slow")));
    begun.recv().await.unwrap();
    waiting.abort();
    until("the handshake has ended", || {
        page.text()
            .lines()
            .any(|line| line.contains("channel=\"slow\""))
    })
    .await;
    page.expect(&["handshake{channel=\"slow\" address=127.0.0.1 outcome=\"lost\""]);
    assert!(!page.text().contains("hush"), "{}", page.text());
}

#[tokio::test]
async fn a_client_has_spans_and_passes_the_context_on() {
    let page = Page::default();
    let _guard = page.subscribe();
    let builder = echoing().direct_handler(
        "answer",
        replying("done", |(): (), request: Request| async move {
            let parent = request
                .message()
                .header("traceparent")
                .unwrap_or("none")
                .to_owned();
            Ok(parent)
        }),
    );
    let server = listen(builder).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let client = Client::builder()
        .listen("done", move |request: Request| {
            let told = tell.send(request.bind::<String>());
            async move { told.map(|()| None).map_err(Into::into) }
        })
        .build()
        .unwrap();
    let publisher = client.publisher();
    client.listen("ask", move |request: Request| {
        let publisher = publisher.clone();
        async move {
            tokio::task::yield_now().await;
            publisher
                .publish(Message::new("answer", "", request.channel()))
                .await?;
            Ok(Some(request.reply("answer")))
        }
    });
    let room = client
        .join(&server.url(""), "room", JoinOptions::new())
        .await
        .unwrap();
    room.joined().await.unwrap();
    let mut ask = Message::new("ask", "", "");
    ask.set_header("traceparent", PARENT);
    server.server.broadcast("room", ask);
    for _ in 0..2 {
        let parent = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap();
        assert_eq!(parent.unwrap().unwrap(), PARENT);
    }
    page.expect(&[
        "handle{channel=\"room\" key=\"ask\"",
        ":publish{to=\"room\" key=\"answer\"",
    ]);
    client.close().await;
}

/// A layer that panics when a span is made, entered or left.
struct Panics;

impl<S: tracing::Subscriber> Layer<S> for Panics {
    fn on_new_span(
        &self,
        _: &tracing::span::Attributes<'_>,
        id: &tracing::span::Id,
        _: layer::Context<'_, S>,
    ) {
        if id.into_u64().is_multiple_of(2) {
            panic!("made");
        }
    }

    fn on_enter(&self, _: &tracing::span::Id, _: layer::Context<'_, S>) {
        panic!("entered");
    }

    fn on_exit(&self, _: &tracing::span::Id, _: layer::Context<'_, S>) {
        panic!("left");
    }
}

#[tokio::test]
async fn a_subscriber_that_panics_loses_no_message() {
    let subscriber = tracing_subscriber::registry().with(Panics);
    let _guard = tracing::subscriber::set_default(subscriber);
    let builder =
        echoing().direct_handler("panic", |_: Request| async { panic!("the handler's own") });
    let server = listen(builder).await;
    let mut client = server.join("room").await;
    for n in 0..4 {
        client.send("echo", json!(n)).await;
        assert_eq!(client.next().await["body"], n);
        server
            .server
            .broadcast("room", Message::new("tick", "", ""));
        assert_eq!(client.next().await["type"], "tick");
        client.send("panic", Value::Null).await;
        assert_eq!(client.next().await["type"], "error");
    }
}
