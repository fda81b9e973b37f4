//! What the feature `tracing` adds: spans around publish and handle, and the context that messages
//! carry on.
//!
//! One test, in a program of its own: handlers run on threads of the pool, so the subscriber is
//! that of the process.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::unbounded;
use fanfeed_broker::{
    AsyncBroker, AsyncHandler, Broker, Context, HandlerError, MemoryBroker, Message, Publisher,
    Subscribe, Subscriber, SubscriberExt,
};
use tracing_subscriber::fmt::format::FmtSpan;

const SOON: Duration = Duration::from_secs(10);
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

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

#[test]
fn spans_are_made_and_the_context_is_passed_on() {
    let page = Page::default();
    let writer = page.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let broker = MemoryBroker::new();
    let (tx, rx) = unbounded();
    let _last = broker
        .subscribe("three", move |message, _| Ok(tx.send(message.clone())?))
        .unwrap();
    // A handler, and an async one that has been waiting, publish what they get under another key.
    let own = broker.clone();
    let _first = broker
        .subscribe_group("one", "g", move |message: &Message, context: &Context| {
            if message.payload().is_empty() && context.attempt() == 1 {
                return Err(HandlerError::Retry(Duration::ZERO));
            }
            let next = Message::new("two", message.payload().clone());
            Ok(own.publish(match &message.payload()[..] {
                b"own" => next.header("traceparent", OTHER),
                _ => next,
            })?)
        })
        .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let own = Arc::new(broker.clone());
    let handler = AsyncHandler::on(runtime.handle().clone(), move |message: Message| {
        let own = own.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let next = Message::new("three", message.payload().clone());
            match &message.payload()[..] {
                b"confirmed" => drop(own.publish_confirmed_async(next, SOON).await?),
                _ => own.publish(next)?,
            }
            Ok(())
        }
    });
    let _second = broker
        .subscribe_with(Subscribe::new("two", handler))
        .unwrap();

    let carried = |message: Message| {
        broker.publish(message).unwrap();
        let got = rx.recv_timeout(SOON).unwrap();
        let get = |name| got.headers().get(name).map(str::to_owned);
        (get("traceparent"), get("tracestate"))
    };
    let with = |parent: &str, payload: &'static str| {
        let message = Message::new("one", payload).header("traceparent", parent);
        message.header("tracestate", "vendor=1")
    };
    let context = |parent: &str| (Some(parent.to_owned()), Some("vendor=1".to_owned()));
    assert_eq!(carried(with(PARENT, "x")), context(PARENT));
    assert_eq!(carried(with(PARENT, "")), context(PARENT));
    assert_eq!(carried(with(PARENT, "confirmed")), context(PARENT));
    // A message's own context stays; one that is malformed, or absent, is not passed on.
    assert_eq!(carried(with(PARENT, "own")), (Some(OTHER.to_owned()), None));
    assert_eq!(carried(with("nonsense", "x")), (None, None));
    let longer = format!("01{}-{}", &PARENT[2..], "x".repeat(9999));
    assert_eq!(carried(with(&longer, "x")), (None, None));
    let state = with(PARENT, "x").header("tracestate", "v=".repeat(300));
    assert_eq!(carried(state), (Some(PARENT.to_owned()), None));
    assert_eq!(carried(Message::new("one", "x")), (None, None));
    broker.close(SOON).unwrap();
    drop(runtime);

    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let has = |name: &str, parts: &[&str]| {
        text.lines().any(|line| {
            line.contains(&format!("{name}{{")) && parts.iter().all(|part| line.contains(part))
        })
    };
    let parent = format!("traceparent=\"{PARENT}\"");
    let parent = parent.as_str();
    assert!(
        has("publish", &["driver=\"memory\"", "key=\"one\"", parent]),
        "{text}"
    );
    assert!(
        has(
            "handle",
            &["key=one", "group=\"g\"", "attempt=1", "id=", parent]
        ),
        "{text}"
    );
    assert!(
        has("handle", &["key=one", "attempt=1", "error=\"retry\""]),
        "{text}"
    );
    assert!(has("handle", &["key=one", "attempt=2", parent]), "{text}");
    // What a handler publishes is inside its span, also if it is async.
    assert!(
        has("handle", &["key=one", "publish{", "key=\"two\"", parent]),
        "{text}"
    );
    assert!(
        has("handle", &["key=two", "publish{", "key=\"three\"", parent]),
        "{text}"
    );
    assert!(!text.contains("nonsense"), "{text}");
}
