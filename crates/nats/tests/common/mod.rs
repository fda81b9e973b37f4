//! What the tests of the driver share.
#![allow(dead_code)]

use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::driver::EngineOptions;
use fanfeed_broker::{Broker, Context, Message, Outcome};
use fanfeed_nats::{Config, Mode};
use fanfeed_testkit::{NatsServer, Release, Tally};

/// Long enough for anything, on a loaded machine too.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) const RELEASES: [Release; 2] = [Release::Old, Release::New];

/// NATS core on this server.
pub(crate) fn core(server: &NatsServer) -> Config {
    quick(&server.url()).mode(Mode::Core)
}

/// JetStream on this server.
pub(crate) fn jetstream(server: &NatsServer) -> Config {
    quick(&server.url()).mode(Mode::JetStream)
}

/// A configuration with short times, for tests that wait for one to pass.
pub(crate) fn quick(url: &str) -> Config {
    url.parse::<Config>()
        .unwrap()
        .ack_wait(Duration::from_secs(1))
        .heartbeat(Duration::from_millis(300))
        .answer_timeout(Duration::from_secs(2))
}

pub(crate) fn options() -> EngineOptions {
    EngineOptions::new().reconnect(Duration::from_millis(200))
}

pub(crate) fn connect(config: Config) -> Arc<dyn Broker> {
    Arc::new(fanfeed_nats::connect(config, options()).unwrap())
}

/// Counts the number that each payload holds.
pub(crate) fn count(
    tally: &Arc<Tally>,
) -> impl Fn(&Message, &Context) -> Outcome + Send + Sync + 'static {
    let tally = Arc::clone(tally);
    move |message, _| {
        tally.saw(number(message));
        Ok(())
    }
}

pub(crate) fn number(message: &Message) -> usize {
    std::str::from_utf8(message.payload())
        .unwrap()
        .parse()
        .unwrap()
}

pub(crate) fn publish(broker: &Arc<dyn Broker>, key: &str, numbers: std::ops::Range<usize>) {
    for number in numbers {
        broker
            .publish(Message::new(key, number.to_string()))
            .unwrap();
    }
}
