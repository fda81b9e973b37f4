//! How a bus is made over a broker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::Broker;

use crate::bus::EventBus;
use crate::core::Shared;
use crate::options::BusOptions;
use crate::remote::codec::Codec;
use crate::remote::outlet::Outlet;
use crate::remote::registry::EventRegistry;

/// How a bus is made over a broker.
///
/// ```
/// use std::sync::Arc;
/// use fanfeed_broker::MemoryBroker;
/// use fanfeed_bus::{BusOptions, EventRegistry, RemoteOptions};
///
/// let bus = RemoteOptions::new()
///     .prefix("shop:")
///     .registry(EventRegistry::global())
///     .bus(BusOptions::new().threads(2))
///     .over(Arc::new(MemoryBroker::new()));
/// bus.close()?;
/// # Ok::<(), fanfeed_bus::BusError>(())
/// ```
#[derive(Clone)]
#[must_use = "`over` makes the bus"]
pub struct RemoteOptions {
    pub(crate) bus: BusOptions,
    pub(crate) registry: Option<EventRegistry>,
    pub(crate) codec: Codec,
    pub(crate) prefix: Arc<str>,
    pub(crate) max_event: usize,
    pub(crate) window: usize,
    pub(crate) buffer: usize,
    pub(crate) patience: Duration,
}

impl RemoteOptions {
    /// A registry of its own, the envelope of this crate, prefix `events:`, events of at most 1
    /// MiB, the latest 16,384 events deduplicated, a buffer of 1,024 events for each name, 3 s for
    /// a broker that has no room.
    pub fn new() -> Self {
        Self {
            bus: BusOptions::new(),
            registry: None,
            codec: Codec::Json,
            prefix: "events:".into(),
            max_event: 1 << 20,
            window: 16_384,
            buffer: 1024,
            patience: Duration::from_secs(3),
        }
    }

    /// Sets the options that a bus in memory has too.
    pub fn bus(mut self, options: BusOptions) -> Self {
        self.bus = options;
        self
    }

    /// Sets the registry of types, which may be shared with other buses.
    pub fn registry(mut self, registry: EventRegistry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Sets how events are written for other processes.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Sets what stands before the name of an event in the key of the broker. Buses with different
    /// prefixes do not exchange events.
    pub fn prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the largest event in bytes, with its envelope; with that of goevent, which counts the
    /// event alone, without it. Larger ones are not published, and not delivered when they arrive.
    pub fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// Sets how many of the latest events that arrived are remembered, so that the bus delivers an
    /// event once which the broker delivers twice. One takes about 40 bytes.
    pub fn window(mut self, events: usize) -> Self {
        self.window = events;
        self
    }

    /// Sets how many events of a name may wait at the broker for its listeners. Where the broker
    /// keeps nothing, more of them are dropped and reported.
    ///
    /// As many more may be under way to asynchronous listeners: queued for the threads of the bus,
    /// or spawned. While they are, the bus takes no further event of that name from the broker, so
    /// a fast sender does not fill the memory. A member of a group has at most
    /// [`concurrency`](crate::GroupOptions::concurrency) events under way.
    pub fn buffer(mut self, events: usize) -> Self {
        self.buffer = events;
        self
    }

    /// Sets how long `dispatch` waits, after its listeners, for a broker that has no room. Then the
    /// event is given up for other processes: [`NotPublished`](crate::BusError::NotPublished).
    pub fn patience(mut self, timeout: Duration) -> Self {
        self.patience = timeout;
        self
    }

    /// Makes the bus. Closing it does not close the broker.
    pub fn over(self, broker: Arc<dyn Broker>) -> EventBus {
        let prefix = Arc::clone(&self.prefix);
        self.open(broker, prefix, false)
    }

    /// `bus` is the prefix that the envelopes name.
    pub(crate) fn open(self, broker: Arc<dyn Broker>, bus: Arc<str>, owns: bool) -> EventBus {
        let shared = Shared::new(self.bus.clone());
        Outlet::attach(&shared, self, broker, bus, owns);
        EventBus::of(shared)
    }
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RemoteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteOptions")
            .field("prefix", &self.prefix)
            .field("codec", &self.codec)
            .field("max_event", &self.max_event)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
