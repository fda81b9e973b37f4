//! What the tests of the driver share.

use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::Broker;
use fanfeed_redis::Config;
pub(crate) use fanfeed_testkit::PATIENCE as LONG;
pub(crate) use fanfeed_testkit::numbers::{count, number, options, publish};
use fanfeed_testkit::{RedisServer, Release};

pub(crate) const RELEASES: [Release; 2] = [Release::Old, Release::New];

/// A configuration with short intervals, for tests that wait for one to pass.
pub(crate) fn config(server: &RedisServer) -> Config {
    quick(&server.url())
}

/// The same for several members of a group that each handle their messages once: none of them
/// counts as dead because a busy machine has not run this process for half a second.
pub(crate) fn patient(server: &RedisServer) -> Config {
    config(server).heartbeat(Duration::from_secs(5))
}

pub(crate) fn quick(url: &str) -> Config {
    url.parse::<Config>()
        .unwrap()
        .heartbeat(Duration::from_millis(200))
        .sweep(Duration::from_millis(500))
        .read_timeout(Duration::from_secs(2))
}

pub(crate) fn connect(config: Config) -> Arc<dyn Broker> {
    Arc::new(fanfeed_redis::connect(config, options()).unwrap())
}

/// Another program's connection.
pub(crate) struct Foreign(pub(crate) redis::Connection);

impl Foreign {
    pub(crate) fn new(server: &RedisServer) -> Self {
        let client = redis::Client::open(server.url()).unwrap();
        Foreign(client.get_connection().unwrap())
    }

    pub(crate) fn run<T: redis::FromRedisValue>(&mut self, line: &str) -> T {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>());
        command.query(&mut self.0).unwrap()
    }

    /// Adds a command whose answer is not wanted.
    pub(crate) fn line(pipe: &mut redis::Pipeline, line: &str) {
        let mut words = line.split(' ');
        let command = pipe.cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).ignore();
    }

    /// Lets a consumer of the group `g` have all that is new on the key `k`, and returns the
    /// positions.
    pub(crate) fn read_as(&mut self, consumer: &str) -> Vec<String> {
        type Fields = Vec<String>;
        let read = format!("XREADGROUP GROUP g {consumer} STREAMS fanfeed:s:{{k}} >");
        let streams: Vec<(String, Vec<(String, Fields)>)> = self.run(&read);
        let entries = streams.into_iter().flat_map(|(_, entries)| entries);
        entries.map(|(position, _)| position).collect()
    }

    pub(crate) fn pending(&mut self) -> i64 {
        let summary: redis::Value = self.run("XPENDING fanfeed:s:{k} g");
        match summary {
            redis::Value::Array(parts) => match parts[0] {
                redis::Value::Int(count) => count,
                _ => panic!("{parts:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}
