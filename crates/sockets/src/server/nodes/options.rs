//! How a server is one of many nodes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::Broker;

/// Makes a server one of many nodes that serve the same channels, over a broker:
/// [`ServerBuilder::nodes`](crate::ServerBuilder::nodes). The page
/// [`docs::nodes`](crate::docs::nodes) says what is promised, and which broker to take.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use fanfeed_broker::MemoryBroker;
/// use fanfeed_sockets::{NodeOptions, Server};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// // Each process has its own broker, for instance of `redis://..`.
/// let broker = Arc::new(MemoryBroker::new());
/// let options = NodeOptions::new(broker).interval(Duration::from_secs(2));
/// let server = Server::builder().nodes(options).build()?;
/// assert!(!server.has_channel_anywhere("room"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct NodeOptions {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) prefix: String,
    pub(super) interval: Duration,
    pub(super) patience: Duration,
    pub(super) window: usize,
    pub(super) buffer: usize,
}

impl NodeOptions {
    /// Over this broker: prefix `sockets.`, interval 5 s, patience 1 s, window 16,384, buffer
    /// 4,096.
    ///
    /// The broker may have other users. The server does not close it.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self {
            broker,
            prefix: "sockets.".into(),
            interval: Duration::from_secs(5),
            patience: Duration::from_secs(1),
            window: 16_384,
            buffer: 4096,
        }
    }

    /// What all keys in the broker begin with: at most 128 bytes, by the grammar of
    /// [`Key`](fanfeed_broker::Key). Servers with the same prefix are nodes of one audience.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How often this node says that it is alive, from 20 ms to 10 minutes. The others take it for
    /// dead when they have not heard of it for three of its intervals.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long the first member of a channel waits for its `join.success` until the broker has
    /// subscribed to the channel, at most. While the broker says that its server is away, the
    /// member does not wait.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How many of the latest messages of other nodes are remembered, so that one that comes again
    /// is ignored.
    #[must_use]
    pub fn window(mut self, messages: usize) -> Self {
        self.window = messages;
        self
    }

    /// How many messages of one channel may wait to be delivered here, from 1 to 1,048,576.
    #[must_use]
    pub fn buffer(mut self, messages: usize) -> Self {
        self.buffer = messages;
        self
    }
}

impl fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeOptions")
            .field("driver", &self.broker.driver())
            .field("prefix", &self.prefix)
            .field("interval", &self.interval)
            .field("patience", &self.patience)
            .field("window", &self.window)
            .field("buffer", &self.buffer)
            .finish()
    }
}
