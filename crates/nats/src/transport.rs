//! The driver, as the engine and `Drivers` use it.

use std::fmt;
use std::sync::Arc;

use fanfeed_broker::driver::{Driver, Engine, EngineOptions, Inbound, Outbound, Transport};
use fanfeed_broker::{Broker, Capabilities, ConnectError, Delivery, WithoutMember};

use crate::config::{Config, Mode};
use crate::hearing::CoreInbound;
use crate::publishing::{CoreOutbound, StreamOutbound};
use crate::receiving::StreamInbound;
use crate::shared::Shared;

/// The promises of NATS core.
const CORE: Capabilities =
    Capabilities::new("nats-core").group(Delivery::AtMostOnce, WithoutMember::Dropped);

/// The promises of JetStream.
const JETSTREAM: Capabilities = Capabilities::new("nats-jetstream")
    .plain(Delivery::AtLeastOnce)
    .group(Delivery::AtLeastOnce, WithoutMember::Kept)
    .replay()
    .durable();

/// The driver of `nats:` and `tls:` URLs.
///
/// ```no_run
/// use fanfeed_broker::Drivers;
///
/// let broker = Drivers::new()
///     .with(fanfeed_nats::driver())
///     .connect("nats://localhost:4222?mode=core")?;
/// # Ok::<(), fanfeed_broker::ConnectError>(())
/// ```
pub fn driver() -> impl Driver {
    NatsDriver
}

/// The batch size of brokers that are chosen by URL. The engine waits for the confirmation of a
/// batch before it publishes the next, so small batches cost time.
pub const BATCH: usize = 2048;

/// Connects as a [`Config`] says. Fails if the server cannot be used now. For throughput, set
/// [`EngineOptions::batch`] to [`BATCH`].
///
/// # Errors
///
/// See [`ConnectError`].
pub fn connect(config: Config, options: EngineOptions) -> Result<Engine, ConnectError> {
    config.check()?;
    Engine::start(NatsTransport::new(config), options)
}

struct NatsDriver;

impl Driver for NatsDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &["nats", "tls"]
    }

    fn connect(&self, url: &str, options: EngineOptions) -> Result<Arc<dyn Broker>, ConnectError> {
        let broker = connect(url.parse()?, options.default_batch(BATCH))?;
        Ok(Arc::new(broker))
    }
}

struct NatsTransport {
    shared: Arc<Shared>,
}

impl NatsTransport {
    fn new(config: Config) -> Self {
        NatsTransport {
            shared: Arc::new(Shared::new(config)),
        }
    }
}

impl Transport for NatsTransport {
    fn capabilities(&self) -> &'static Capabilities {
        match self.shared.config.mode {
            Mode::Core => &CORE,
            Mode::JetStream => &JETSTREAM,
        }
    }

    fn largest_message(&self) -> usize {
        self.shared.config.max_message
    }

    fn publishes_again(&self) -> bool {
        // A stream drops a message whose `Nats-Msg-Id` it already has. Lean messages have none, and
        // may be stored twice, which delivery at least once allows. In core, delivery is at most
        // once, so no message may come twice.
        self.shared.config.mode == Mode::JetStream
    }

    fn settles_plain(&self) -> bool {
        false
    }

    fn open_outbound(&self) -> Result<Box<dyn Outbound>, ConnectError> {
        Ok(match self.shared.config.mode {
            Mode::Core => Box::new(CoreOutbound::open(&self.shared)?),
            Mode::JetStream => Box::new(StreamOutbound::open(&self.shared)?),
        })
    }

    fn open_inbound(&self) -> Result<Box<dyn Inbound>, ConnectError> {
        Ok(match self.shared.config.mode {
            Mode::Core => Box::new(CoreInbound::open(&self.shared)?),
            Mode::JetStream => Box::new(StreamInbound::open(&self.shared)?),
        })
    }
}

impl fmt::Debug for NatsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsTransport").finish_non_exhaustive()
    }
}
