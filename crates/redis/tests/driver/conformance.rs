//! The driver passes the suite, over the old server and the new one, in both modes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfeed_broker::Broker;
use fanfeed_broker::conformance::{Line, Server};
use fanfeed_redis::{Config, Mode};
use fanfeed_testkit::numbers::options;
use fanfeed_testkit::{Proxy, RedisServer, Release};

/// A server of its own for each case. It has its data on disk, so that nothing is lost when it is
/// killed.
struct Redis {
    server: Mutex<RedisServer>,
    release: Release,
    mode: Mode,
}

impl Redis {
    fn start(release: Release, mode: Mode) -> Self {
        Redis {
            server: Mutex::new(RedisServer::builder(release).append_only().start()),
            release,
            mode,
        }
    }

    fn connect_to(&self, url: &str) -> Arc<dyn Broker> {
        let config: Config = url.parse().unwrap();
        let config = config
            .mode(self.mode)
            .read_timeout(Duration::from_secs(1))
            .heartbeat(Duration::from_millis(300))
            .sweep(Duration::from_millis(500));
        Arc::new(fanfeed_redis::connect(config, options()).unwrap())
    }
}

impl Server for Redis {
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

    fn many_keys(&self) -> usize {
        // The new server is no other in this, and the case takes seconds.
        match (self.release, self.mode) {
            (Release::New, Mode::PubSub) => 1_000,
            _ => 10_000,
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(180)
    }
}

macro_rules! suites {
    ($($name:ident: $release:ident, $mode:ident;)*) => {$(
        mod $name {
            fn server() -> super::Redis {
                super::Redis::start(super::Release::$release, super::Mode::$mode)
            }

            fanfeed_broker::conformance_tests!(server);
        }
    )*};
}

suites! {
    old: Old, Streams;
    new: New, Streams;
    old_pubsub: Old, PubSub;
    new_pubsub: New, PubSub;
}
