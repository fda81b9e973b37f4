//! The memory driver passes the suite.

use std::sync::Arc;

use fanfeed_broker::conformance::Server;
use fanfeed_broker::{Broker, MemoryBroker};

struct Memory(MemoryBroker);

impl Server for Memory {
    fn connect(&self) -> Arc<dyn Broker> {
        Arc::new(self.0.clone())
    }
}

fn server() -> Memory {
    Memory(MemoryBroker::new())
}

fanfeed_broker::conformance_tests!(server);
