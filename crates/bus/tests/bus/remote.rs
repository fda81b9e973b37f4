//! Buses that exchange events over a broker in memory.

mod arrivals;
mod confirmed;
mod failures;
mod groups;
mod hooked;
mod plain;

use std::sync::Arc;

use crossbeam_channel::{Receiver, unbounded};
use fanfeed_broker::MemoryBroker;
use fanfeed_bus::{Context, Event, EventBus, Map};
use serde::{Deserialize, Serialize};

use crate::support::LONG;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ordered {
    pub(crate) order: u64,
}

impl Event for Ordered {
    const NAME: &'static str = "order.ordered";

    fn payload(&self) -> Map {
        Map::from([("order".to_owned(), self.order.into())])
    }
}

/// Of another codebase: the same name, and other fields.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TheirOrdered {
    pub(crate) order: u32,
    #[serde(default)]
    pub(crate) note: Option<String>,
}

impl Event for TheirOrdered {
    const NAME: &'static str = "order.ordered";
}

pub(crate) fn broker() -> Arc<MemoryBroker> {
    Arc::new(MemoryBroker::new())
}

/// A bus that knows [`Ordered`].
pub(crate) fn bus(broker: &Arc<MemoryBroker>) -> EventBus {
    let bus = EventBus::over(broker.clone());
    bus.register_type::<Ordered>().unwrap();
    bus
}

/// The numbers of the orders that a bus hears of.
pub(crate) fn orders(bus: &EventBus) -> Receiver<u64> {
    let (tx, rx) = unbounded();
    let listener = move |event: &Ordered, _: &Context<'_>| Ok(tx.send(event.order)?);
    bus.register(listener).unwrap().detach();
    rx
}

pub(crate) fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(LONG).expect("it does not arrive")
}
