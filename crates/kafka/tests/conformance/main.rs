//! The driver passes the suite, over librdkafka's mock cluster.
//!
//! The mock cluster is in the memory of this process. Its servers can go away and come back, and
//! have lost nothing then. Its clients cannot be sent through a proxy, since it tells them the
//! addresses of its servers.

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

    /// All connections end, and new ones are refused.
    fn kill(&self) -> bool {
        self.0.lock().unwrap().mock().broker_down(1).unwrap();
        true
    }

    fn start(&self) {
        self.0.lock().unwrap().mock().broker_up(1).unwrap();
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(180)
    }

    /// As many as a debug build opens in some seconds. The mock cluster takes longer for each topic
    /// that it has.
    fn many_keys(&self) -> usize {
        200
    }
}

fn server() -> Kafka {
    Kafka(Mutex::new(Cluster::start(1)))
}

fanfeed_broker::conformance_tests!(server);
