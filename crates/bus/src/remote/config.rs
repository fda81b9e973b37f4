//! A bus from a configuration.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::driver::{EngineOptions, Secret, Tls};
use fanfeed_broker::{ConnectError, MemoryBroker};
use fanfeed_redis::{Config, Mode};

use crate::bus::EventBus;
use crate::error::BusError;
use crate::remote::codec::Codec;
use crate::remote::goevent::GoEvent;
use crate::remote::options::RemoteOptions;

/// What carries the events of a bus, chosen at run time.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum BusConfig {
    /// Nothing: all listeners are in this process. Types and groups work as they do with a server.
    #[default]
    Memory,
    /// A Redis or Valkey server.
    Redis(Box<RedisConfig>),
}

impl From<RedisConfig> for BusConfig {
    fn from(config: RedisConfig) -> Self {
        Self::Redis(Box::new(config))
    }
}

/// What is on the wire between a bus and a Redis server.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Wire {
    /// Streams and the envelope of this crate. At least once for groups, which live processes
    /// share; see the table of `fanfeed_broker::docs::choosing`.
    #[default]
    Streams,
    /// Pub/sub channels, whose names are the prefix and the name of the event, and nothing but the
    /// envelope of this crate. At most once, without groups. The trace context of `tracing` does
    /// not travel.
    ///
    /// Each bus also publishes a number about once a second on a channel of its own,
    /// `fanfeed-wake:` and a random name in braces.
    PubSub,
    /// The same with the envelope of goevent: Go services receive the events of this bus, and this
    /// bus theirs.
    GoEvent(GoEvent),
}

/// How to connect to a Redis server: the fields of goevent, with its defaults.
///
/// ```no_run
/// use std::time::Duration;
/// use fanfeed_bus::{EventBus, GoEvent, RedisConfig, Wire};
///
/// let config = RedisConfig::new()
///     .address("redis.example.org:6379")
///     .password("s3cret")
///     .dial_timeout(Duration::from_secs(1))
///     .wire(Wire::GoEvent(GoEvent::new()));
/// let bus = EventBus::from_config(config)?;
/// # Ok::<(), fanfeed_bus::BusError>(())
/// ```
#[derive(Clone)]
pub struct RedisConfig {
    address: String,
    user: Option<String>,
    password: Option<Secret>,
    database: u32,
    prefix: Arc<str>,
    max_event: usize,
    pool: usize,
    idle: usize,
    dial: Duration,
    read: Duration,
    write: Duration,
    tls: Option<Tls>,
    wire: Wire,
    options: RemoteOptions,
}

impl RedisConfig {
    /// `localhost:6379`, no password, database 0, prefix `goevent:`, events of at most 1 MiB, a
    /// pool of 10 connections of which none has to be idle, 5 s to connect, 3 s to read and to
    /// write, no TLS, streams.
    pub fn new() -> Self {
        Self {
            address: "localhost:6379".to_owned(),
            user: None,
            password: None,
            database: 0,
            prefix: "goevent:".into(),
            max_event: 1 << 20,
            pool: 10,
            idle: 0,
            dial: Duration::from_secs(5),
            read: Duration::from_secs(3),
            write: Duration::from_secs(3),
            tls: None,
            wire: Wire::Streams,
            options: RemoteOptions::new(),
        }
    }

    /// Sets the address: a host and a port. An IPv6 address stands in brackets.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Sets the user of the server's access control list.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the password. It is never shown.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password));
        self
    }

    /// Sets the number of the database.
    #[must_use]
    pub fn database(mut self, number: u32) -> Self {
        self.database = number;
        self
    }

    /// Sets what stands before the name of an event in all names on the server. Buses with
    /// different prefixes do not exchange events.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the largest event in bytes: with its envelope, or without it where that is goevent's.
    #[must_use]
    pub fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// Sets the largest number of connections, at least 4. A bus has at most 4, however many
    /// threads use it, so this has no other effect. It is here because goevent has it.
    #[must_use]
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.pool = connections;
        self
    }

    /// Sets how many connections stay open when they are idle. Those of a bus always do, so this
    /// has no effect.
    #[must_use]
    pub fn min_idle(mut self, connections: usize) -> Self {
        self.idle = connections;
        self
    }

    /// Sets the timeout for connecting.
    #[must_use]
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial = timeout;
        self
    }

    /// Sets the timeout for answers of the server. It does not apply to reads that wait for events.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read = timeout;
        self
    }

    /// Sets the timeout for writes.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write = timeout;
        self
    }

    /// Encrypts the connections.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets what is on the wire.
    #[must_use]
    pub fn wire(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    /// Sets the options that do not concern the server: the registry, the window, the buffer, those
    /// of a bus in memory. The codec, the prefix and the largest event are those of this
    /// configuration.
    #[must_use]
    pub fn options(mut self, options: RemoteOptions) -> Self {
        self.options = options;
        self
    }

    fn codec(&self) -> Codec {
        match &self.wire {
            Wire::GoEvent(options) => Codec::GoEvent(options.clone()),
            _ => Codec::Json,
        }
    }

    fn config(&self) -> Result<Config, BusError> {
        let bad = |what: &str| Err(BusError::NotConnected(what.into()));
        if self.address.contains('@') {
            return bad(
                "the address contains a user or a password; give them by `user` and `password`",
            );
        }
        let Some((host, port)) = self.address.rsplit_once(':') else {
            return bad("the address has no port; give a host and a port, such as localhost:6379");
        };
        let Ok(port) = port.parse() else {
            return bad("the port of the address is no number; give one, such as localhost:6379");
        };
        if self.pool < 4 {
            return bad(
                "the pool is too small; a bus needs up to 4 connections, so give at least 4",
            );
        }
        if self.idle > self.pool {
            return bad("more connections are to be idle than the pool has");
        }
        let overhead = 1024 + self.codec().overhead();
        let mut config = Config::new(host.trim_matches(['[', ']']), port)
            .database(self.database)
            .prefix(&*self.prefix)
            // The broker counts the name and the key too.
            .max_message(self.max_event.saturating_add(overhead))
            .dial_timeout(self.dial)
            .read_timeout(self.read)
            .write_timeout(self.write)
            .mode(match self.wire {
                Wire::Streams => Mode::Streams,
                Wire::PubSub | Wire::GoEvent(_) => Mode::PubSub,
            })
            // The envelope says it all.
            .bare(!matches!(self.wire, Wire::Streams));
        if let Some(user) = &self.user {
            config = config.user(user);
        }
        if let Some(password) = &self.password {
            config = config.password(password.reveal());
        }
        if let Some(tls) = &self.tls {
            config = config.tls(tls.clone());
        }
        Ok(config)
    }

    fn open(self, lazy: bool) -> Result<EventBus, BusError> {
        let engine = EngineOptions::new().lazy(lazy);
        let broker = fanfeed_redis::connect(self.config()?, engine).map_err(not_connected)?;
        let codec = self.codec();
        let options = self.options.codec(codec).max_event(self.max_event);
        Ok(options.prefix("").open(Arc::new(broker), self.prefix, true))
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            // What stands before an `@` may be a password, though `config` refuses that.
            .field(
                "address",
                &self.address.rsplit('@').next().unwrap_or_default(),
            )
            .field("user", &self.user)
            .field("password", &self.password)
            .field("database", &self.database)
            .field("prefix", &self.prefix)
            .field("max_event", &self.max_event)
            .field("tls", &self.tls)
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}

/// From a configuration, with the feature `redis`.
impl EventBus {
    /// Connects as a configuration says. Closing the bus closes the connection.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](BusError::NotConnected) if the server cannot be used now, or if the
    /// configuration makes no sense. The text has no password.
    pub fn from_config(config: impl Into<BusConfig>) -> Result<Self, BusError> {
        Self::from_either(config.into(), false)
    }

    /// As [`from_config`](Self::from_config), but a server that is away is no error: the bus
    /// connects when it is there, and listeners get all later events of other processes. If the
    /// server then refuses a subscription, that is [`NotSubscribed`](BusError::NotSubscribed) on
    /// the bus; the next listener of the name that is registered tries again.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](BusError::NotConnected) if the configuration makes no sense.
    pub fn from_config_lazy(config: impl Into<BusConfig>) -> Result<Self, BusError> {
        Self::from_either(config.into(), true)
    }

    fn from_either(config: BusConfig, lazy: bool) -> Result<Self, BusError> {
        match config {
            BusConfig::Memory => {
                let options = RemoteOptions::new();
                let prefix = Arc::clone(&options.prefix);
                Ok(options.open(Arc::new(MemoryBroker::new()), prefix, true))
            }
            BusConfig::Redis(config) => config.open(lazy),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn not_connected(error: ConnectError) -> BusError {
    BusError::NotConnected(error.to_string().into())
}
