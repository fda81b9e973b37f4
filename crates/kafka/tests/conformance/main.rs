//! The driver passes the suite, over librdkafka's mock cluster.
//!
//! The mock cluster is in the memory of this process. To be killed and restarted is nothing that it can do; its servers can
//! go away and come back ([`restart`](Server::restart)), and lose nothing by that.

#[path = "../common/mod.rs"]
mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfeed_broker::Broker;
use fanfeed_broker::conformance::Server;

use common::Cluster;

/// A cluster of its own for each case.
struct Kafka(Mutex<Cluster>);

impl Server for Kafka {
    fn connect(&self) -> Arc<dyn Broker> {
        self.0.lock().unwrap().connect()
    }

    fn restart(&self) -> bool {
        let cluster = self.0.lock().unwrap();
        let mock = cluster.mock();
        mock.broker_down(1).unwrap();
        // Long enough for clients to see it: a connection that is refused, and another attempt.
        std::thread::sleep(Duration::from_millis(500));
        mock.broker_up(1).unwrap();
        true
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(180)
    }

    /// As many as a debug build opens in some seconds.
    fn many_keys(&self) -> usize {
        500
    }
}

fn server() -> Kafka {
    Kafka(Mutex::new(Cluster::start(1)))
}

fanfeed_broker::conformance_tests!(server);
