//! What the feature `tracing` adds: a span around each dispatch and each call, also where another thread calls.

use std::io;
use std::sync::{Arc, Mutex};

use fanfeed_bus::{Context, Event, EventBus, Register};
use tracing_subscriber::fmt::format::FmtSpan;

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
    // That of the process, because listeners run on threads of the bus. Other tests write there too.
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
    bus.dispatch(Traced).wait().unwrap();
    bus.close().unwrap();
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let closed = |span: &str| {
        let mut lines = text.lines();
        lines.any(|line| line.contains(span) && line.contains("close"))
    };
    let outer = r#"dispatch{event="order.traced"}"#;
    assert!(closed(outer), "{text}");
    for name in ["here", "there"] {
        let inner = format!(r#"{outer}:listener{{event="order.traced" listener="{name}"}}"#);
        assert!(closed(&inner), "{name}: {text}");
    }
    drop((here, there));
}
