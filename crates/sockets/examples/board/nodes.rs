//! Several servers for one audience: the broker that connects them, and which of them replays.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fanfeed_broker::{Broker, Drivers};
use fanfeed_sockets::{NodeOptions, Server, ServerBuilder};

/// How often each server says that it is there. Three of these later, it is missed.
const INTERVAL: Duration = Duration::from_secs(1);

/// A server hears of the others within this time.
const SETTLE: Duration = Duration::from_secs(3);

/// How long the farewell to the others may take.
const FAREWELL: Duration = Duration::from_secs(2);

pub(crate) struct Nodes {
    broker: Option<Arc<dyn Broker>>,
    /// When this server began to hear the others.
    ready: OnceLock<Instant>,
}

impl Nodes {
    /// Connects to the broker of a URL. Without one, this server is alone.
    pub(crate) fn connect(url: Option<&str>) -> Result<Self, String> {
        let drivers = Drivers::new()
            .with(fanfeed_redis::driver())
            .with(fanfeed_nats::driver());
        let broker = url.map(|url| drivers.connect(url)).transpose();
        Ok(Self {
            broker: broker.map_err(|error| error.to_string())?,
            ready: OnceLock::new(),
        })
    }

    pub(crate) fn join(&self, builder: ServerBuilder) -> ServerBuilder {
        match &self.broker {
            Some(broker) => builder.nodes(NodeOptions::new(Arc::clone(broker)).interval(INTERVAL)),
            None => builder,
        }
    }

    /// Whether this server replays. Of several, the one with the smallest identity does. For a
    /// moment two can think so, or none: pages leave out what comes twice, and the next one begins
    /// a little earlier.
    pub(crate) fn leads(&self, server: &Server) -> bool {
        match server.node_id() {
            Some(id) => {
                self.has_settled(server) && server.other_nodes().iter().all(|other| id < *other)
            }
            None => true,
        }
    }

    /// Whether this server has heard the others for a while, or cannot hear them because there is
    /// no connection.
    fn has_settled(&self, server: &Server) -> bool {
        let is_away = || {
            let broker = self.broker.as_ref();
            broker.is_some_and(|broker| !broker.health().is_up())
        };
        if self.ready.get().is_none() && (server.hears_nodes() || is_away()) {
            let _ = self.ready.set(Instant::now());
        }
        self.ready
            .get()
            .is_some_and(|ready| ready.elapsed() > SETTLE)
    }

    pub(crate) fn close(&self) {
        if let Some(broker) = &self.broker {
            // What is still under way is sent; the others notice in any case.
            let _ = broker.close(FAREWELL);
        }
    }
}
