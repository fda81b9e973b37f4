//! The driver passes the suite in both modes, over the old server and the new one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfeed_broker::Broker;
use fanfeed_broker::conformance::{Line, Server};
use fanfeed_nats::{Config, Mode};
use fanfeed_testkit::numbers::options;
use fanfeed_testkit::{NatsServer, Proxy, Release};

/// A server of its own for each case.
struct Nats {
    server: Mutex<NatsServer>,
    mode: Mode,
    many_keys: usize,
}

impl Nats {
    fn start(release: Release, mode: Mode, many_keys: usize) -> Self {
        let builder = NatsServer::builder(release);
        let builder = match mode {
            Mode::Core => builder,
            Mode::JetStream => builder.jetstream(),
        };
        Nats {
            server: Mutex::new(builder.start()),
            mode,
            many_keys,
        }
    }

    fn connect_to(&self, url: &str) -> Arc<dyn Broker> {
        let config: Config = url.parse().unwrap();
        let config = config.mode(self.mode).ack_wait(Duration::from_secs(2));
        let options = options().batch(fanfeed_nats::BATCH);
        Arc::new(fanfeed_nats::connect(config, options).unwrap())
    }
}

impl Server for Nats {
    fn connect(&self) -> Arc<dyn Broker> {
        self.connect_to(&self.server.lock().unwrap().url())
    }

    fn kill(&self) -> bool {
        self.server.lock().unwrap().kill();
        true
    }

    fn start(&self) {
        self.server.lock().unwrap().restart();
    }

    fn connect_over(&self) -> Option<(Arc<dyn Broker>, Box<dyn Line>)> {
        let server = self.server.lock().unwrap();
        let proxy = Proxy::start(server.address());
        let broker = self.connect_to(&server.url_through(proxy.address()));
        Some((broker, Box::new(proxy)))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(180)
    }

    fn many_keys(&self) -> usize {
        self.many_keys
    }
}

macro_rules! suite {
    ($name:ident, $release:expr, $mode:expr, $many_keys:expr) => {
        mod $name {
            fn server() -> super::Nats {
                super::Nats::start($release, $mode, $many_keys)
            }

            fanfeed_broker::conformance_tests!(server);
        }
    };
}

suite!(core_old, super::Release::Old, super::Mode::Core, 10_000);
suite!(core_new, super::Release::New, super::Mode::Core, 10_000);
// A consumer for each key takes the old server a millisecond, and room for its files.
suite!(
    jetstream_old,
    super::Release::Old,
    super::Mode::JetStream,
    2_000
);
suite!(
    jetstream_new,
    super::Release::New,
    super::Mode::JetStream,
    10_000
);
