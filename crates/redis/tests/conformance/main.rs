//! The driver passes the suite, over the old server and the new one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfeed_broker::Broker;
use fanfeed_broker::conformance::Server;
use fanfeed_broker::driver::EngineOptions;
use fanfeed_redis::Config;
use fanfeed_testkit::{RedisServer, Release};

/// A server of its own for each case. It has its data on disk, so that nothing is lost when it is killed.
struct Redis(Mutex<RedisServer>);

impl Redis {
    fn start(release: Release) -> Self {
        Redis(Mutex::new(
            RedisServer::builder(release).append_only().start(),
        ))
    }
}

impl Server for Redis {
    fn connect(&self) -> Arc<dyn Broker> {
        let config: Config = self.0.lock().unwrap().url().parse().unwrap();
        let config = config
            .heartbeat(Duration::from_millis(300))
            .sweep(Duration::from_millis(500));
        let options = EngineOptions::new().reconnect(Duration::from_millis(200));
        Arc::new(fanfeed_redis::connect(config, options).unwrap())
    }

    fn restart(&self) -> bool {
        self.0.lock().unwrap().restart();
        true
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(180)
    }
}

mod old {
    fn server() -> super::Redis {
        super::Redis::start(super::Release::Old)
    }

    fanfeed_broker::conformance_tests!(server);
}

mod new {
    fn server() -> super::Redis {
        super::Redis::start(super::Release::New)
    }

    fanfeed_broker::conformance_tests!(server);
}
