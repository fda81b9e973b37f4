//! What the tests of the driver share.
#![allow(dead_code, unused_imports, reason = "each test uses some of it")]

use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::Broker;
use fanfeed_broker::driver::EngineOptions;
use fanfeed_nats::{Config, Mode};
pub(crate) use fanfeed_testkit::PATIENCE as LONG;
pub(crate) use fanfeed_testkit::numbers::{count, number, publish};
use fanfeed_testkit::{NatsServer, Release};

pub(crate) const RELEASES: [Release; 2] = [Release::Old, Release::New];

/// With batches as brokers have them that are chosen by URL.
pub(crate) fn options() -> EngineOptions {
    fanfeed_testkit::numbers::options().batch(fanfeed_nats::BATCH)
}

/// NATS core on this server.
pub(crate) fn core(server: &NatsServer) -> Config {
    quick(&server.url()).mode(Mode::Core)
}

/// JetStream on this server.
pub(crate) fn jetstream(server: &NatsServer) -> Config {
    quick(&server.url()).mode(Mode::JetStream)
}

pub(crate) fn with_jetstream(release: Release) -> NatsServer {
    NatsServer::builder(release).jetstream().start()
}

/// A configuration with short times, for tests that wait for one to pass.
pub(crate) fn quick(url: &str) -> Config {
    url.parse::<Config>()
        .unwrap()
        .ack_wait(Duration::from_secs(1))
        .heartbeat(Duration::from_millis(300))
        .answer_timeout(Duration::from_secs(2))
}

pub(crate) fn connect(config: Config) -> Arc<dyn Broker> {
    Arc::new(fanfeed_nats::connect(config, options()).unwrap())
}
