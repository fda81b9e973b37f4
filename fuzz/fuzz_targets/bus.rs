//! Messages that other processes send to a bus: its own envelope, goevent's envelope, and payloads.

#![no_main]

use std::sync::LazyLock;

use fanfeed_bus::{Event, EventRegistry};
use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Order {
    order: u64,
    lines: Vec<(String, f64)>,
    note: Option<Box<Order>>,
}

impl Event for Order {
    const NAME: &'static str = "order";
}

static REGISTRY: LazyLock<EventRegistry> = LazyLock::new(|| {
    let registry = EventRegistry::new();
    registry.register::<Order>().expect("it has a name");
    registry
});

fuzz_target!(
    |bytes: &[u8]| if let Some((first, rest)) = bytes.split_first() {
        match first % 3 {
            0 => fanfeed_bus::fuzzing::envelope(rest),
            1 => fanfeed_bus::fuzzing::goevent(rest),
            _ => fanfeed_bus::fuzzing::payload(&REGISTRY, Order::NAME, rest),
        }
    }
);
