//! What the feature `tracing` adds: a span around each dispatch and each call, also where another
//! thread calls.

use std::io;
use std::sync::{Arc, Mutex};

use fanfeed_bus::{Context, Event, EventBus, Register};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{self, Layer, SubscriberExt};

use crate::support::{Placed, soon};

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

struct Traced;

impl Event for Traced {
    const NAME: &'static str = "order.traced";
}

#[test]
fn calls_are_spans_inside_that_of_the_dispatch() {
    let page = Page::default();
    let writer = page.clone();
    // That of the process, because listeners run on threads of the bus. Other tests write there
    // too.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let bus = EventBus::new();
    let register = |name: &str| Register::event(|_: &Traced, _: &Context| Ok(())).name(name);
    let here = bus.register_with(register("here")).unwrap();
    let there = bus.register_with(register("there").asynchronous()).unwrap();
    let mut names = vec!["here", "there"];
    #[cfg(feature = "tokio")]
    let runtime = ::tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    #[cfg(feature = "tokio")]
    let task = {
        names.push("task");
        let listener = Register::async_event(|_: Arc<Traced>| async { Ok(()) });
        let listener = listener.on(runtime.handle().clone()).name("task");
        bus.register_with(listener).unwrap()
    };
    bus.dispatch(Traced).wait().unwrap();
    bus.close().unwrap();
    #[cfg(feature = "tokio")]
    drop((task, runtime));
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let closed = |span: &str| {
        let mut lines = text.lines();
        lines.any(|line| line.contains(span) && line.contains("close"))
    };
    let outer = r#"dispatch{event="order.traced"}"#;
    assert!(closed(outer), "{text}");
    for name in names {
        let inner = format!(r#"{outer}:listener{{event="order.traced" listener="{name}"}}"#);
        assert!(closed(&inner), "{name}: {text}");
    }
    drop((here, there));
}

/// A layer that panics when a span is entered and when it is left.
struct Panics;

impl<S: tracing::Subscriber> Layer<S> for Panics {
    fn on_enter(&self, _: &tracing::span::Id, _: layer::Context<'_, S>) {
        panic!("entered");
    }

    fn on_exit(&self, _: &tracing::span::Id, _: layer::Context<'_, S>) {
        panic!("left");
    }
}

#[test]
fn a_subscriber_that_panics_loses_no_call() {
    soon(|| {
        let bus = EventBus::new();
        let (tx, rx) = crossbeam_channel::unbounded();
        let register = |is_asynchronous| {
            let tx = tx.clone();
            let listener = Register::event(move |_: &Placed, _: &Context| Ok(tx.send(())?));
            let listener = match is_asynchronous {
                true => listener.asynchronous(),
                false => listener,
            };
            bus.register_with(listener).unwrap()
        };
        let subscriptions = [register(false), register(true)];
        let subscriber = tracing_subscriber::registry().with(Panics);
        let dispatch = tracing::subscriber::with_default(subscriber, || bus.dispatch(Placed(1)));
        dispatch.wait().unwrap();
        assert!(dispatch.errors().is_empty(), "{:?}", dispatch.errors());
        assert_eq!(rx.try_iter().count(), 2);
        bus.close().unwrap();
        drop(subscriptions);
    });
}
