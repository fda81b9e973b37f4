//! The driver, as the engine and `Drivers` use it.

use std::fmt;
use std::sync::Arc;

use fanfeed_broker::driver::{Driver, Engine, EngineOptions, Inbound, Outbound, Transport};
use fanfeed_broker::{Broker, Capabilities, ConnectError, Delivery, WithoutMember};

use crate::client;
use crate::config::Config;
use crate::inbound::KafkaInbound;
use crate::outbound::KafkaOutbound;
use crate::shared::Shared;

/// The promises of Kafka.
pub(crate) const CAPABILITIES: Capabilities = Capabilities::new("kafka")
    .plain(Delivery::AtLeastOnce)
    .group(Delivery::AtLeastOnce, WithoutMember::Kept)
    .replay()
    .durable();

/// The driver of `kafka:` and `kafkas:` URLs.
///
/// ```no_run
/// use fanfeed_broker::Drivers;
///
/// let broker = Drivers::new()
///     .with(fanfeed_kafka::driver())
///     .connect("kafka://localhost:9092")?;
/// # Ok::<(), fanfeed_broker::ConnectError>(())
/// ```
pub fn driver() -> impl Driver {
    KafkaDriver
}

/// The batch size of brokers that are chosen by URL. At most this many messages are on their way to
/// the cluster at a time, so small batches cost time.
pub const BATCH: usize = 2048;

/// Connects as a [`Config`] says. Fails if the cluster cannot be used now. For throughput, set
/// [`EngineOptions::batch`] to [`BATCH`].
///
/// # Errors
///
/// See [`ConnectError`].
pub fn connect(config: Config, options: EngineOptions) -> Result<Engine, ConnectError> {
    config.check()?;
    let shared = Arc::new(Shared::new(config));
    Engine::start(KafkaTransport { shared }, options)
}

struct KafkaDriver;

impl Driver for KafkaDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &["kafka", "kafkas"]
    }

    fn connect(&self, url: &str, options: EngineOptions) -> Result<Arc<dyn Broker>, ConnectError> {
        let broker = connect(url.parse()?, options.default_batch(BATCH))?;
        Ok(Arc::new(broker))
    }
}

struct KafkaTransport {
    shared: Arc<Shared>,
}

impl Transport for KafkaTransport {
    fn capabilities(&self) -> &'static Capabilities {
        &CAPABILITIES
    }

    fn largest_message(&self) -> usize {
        self.shared.config.largest_message()
    }

    fn settles_plain(&self) -> bool {
        false
    }

    fn open_outbound(&self) -> Result<Box<dyn Outbound>, ConnectError> {
        client::probe(&self.shared.config)?;
        Ok(Box::new(KafkaOutbound::open(Arc::clone(&self.shared))?))
    }

    fn open_inbound(&self) -> Result<Box<dyn Inbound>, ConnectError> {
        client::probe(&self.shared.config)?;
        Ok(Box::new(KafkaInbound::open(Arc::clone(&self.shared))?))
    }

    fn ended(&self) {
        self.shared.ended();
    }
}

impl fmt::Debug for KafkaTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTransport").finish_non_exhaustive()
    }
}
