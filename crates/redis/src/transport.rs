//! The driver, as the engine and `Drivers` use it.

use std::fmt;
use std::sync::Arc;

use fanfeed_broker::driver::{Driver, Engine, EngineOptions, Inbound, Outbound, Transport};
use fanfeed_broker::{
    Broker, Capabilities, ConnectError, Delivery, Subscribe, SubscribeError, WithoutMember,
};

use crate::config::{Config, Mode};
use crate::inbound::RedisInbound;
use crate::outbound::RedisOutbound;
use crate::pubsub::PubSubInbound;
use crate::shared::Shared;

/// The promises of Redis Streams.
pub(crate) const CAPABILITIES: Capabilities = Capabilities::new("redis")
    .plain(Delivery::AtLeastOnce)
    .group(Delivery::AtLeastOnce, WithoutMember::Kept)
    .replay()
    .durable();

/// The promises of pub/sub channels.
pub(crate) const PUBSUB: Capabilities =
    Capabilities::new("redis-pubsub").plain(Delivery::AtMostOnce);

/// The driver of `redis:`, `rediss:`, `valkey:` and `valkeys:` URLs.
///
/// ```no_run
/// use fanfeed_broker::Drivers;
///
/// let broker = Drivers::new()
///     .with(fanfeed_redis::driver())
///     .connect("redis://localhost:6379/0")?;
/// # Ok::<(), fanfeed_broker::ConnectError>(())
/// ```
pub fn driver() -> impl Driver {
    RedisDriver
}

/// Connects as a [`Config`] says. Fails if the server cannot be used now.
///
/// # Errors
///
/// See [`ConnectError`].
pub fn connect(config: Config, options: EngineOptions) -> Result<Engine, ConnectError> {
    config.check()?;
    Engine::start(RedisTransport::new(config), options)
}

struct RedisDriver;

impl Driver for RedisDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &["redis", "rediss", "valkey", "valkeys"]
    }

    fn connect(&self, url: &str, options: EngineOptions) -> Result<Arc<dyn Broker>, ConnectError> {
        let broker = connect(url.parse()?, options)?;
        Ok(Arc::new(broker))
    }
}

struct RedisTransport {
    shared: Arc<Shared>,
}

impl RedisTransport {
    fn new(config: Config) -> Self {
        RedisTransport {
            shared: Arc::new(Shared::new(config)),
        }
    }
}

impl Transport for RedisTransport {
    fn capabilities(&self) -> &'static Capabilities {
        match self.shared.config.mode {
            Mode::Streams => &CAPABILITIES,
            Mode::PubSub => &PUBSUB,
        }
    }

    fn publishes_again(&self) -> bool {
        self.shared.config.mode == Mode::Streams
    }

    fn largest_message(&self) -> usize {
        self.shared.config.max_message
    }

    fn accepts(&self, request: &Subscribe) -> Result<(), SubscribeError> {
        let _ = request;
        Ok(())
    }

    fn settles_plain(&self) -> bool {
        false
    }

    fn open_outbound(&self) -> Result<Box<dyn Outbound>, ConnectError> {
        Ok(Box::new(RedisOutbound::open(Arc::clone(&self.shared))?))
    }

    fn open_inbound(&self) -> Result<Box<dyn Inbound>, ConnectError> {
        let shared = Arc::clone(&self.shared);
        Ok(match self.shared.config.mode {
            Mode::Streams => Box::new(RedisInbound::open(shared)?),
            Mode::PubSub => Box::new(PubSubInbound::open(shared)?),
        })
    }
}

impl fmt::Debug for RedisTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTransport").finish_non_exhaustive()
    }
}
