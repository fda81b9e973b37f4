//! The driver over a real server: Tansu 0.6.0, which keeps its data in memory.
//!
//! It is not killed here. Restarted without its topics, it answers a fetch with a new leader and no topic, at which librdkafka
//! 2.12.1 reads through a null pointer (`rd_kafka_metadata_update_op`) and ends the process.

mod common;

use std::sync::Arc;

use common::{LONG, connect, count, publish, quick};
use fanfeed_broker::{Message, SubscriberExt};
use fanfeed_testkit::{KafkaServer, Tally};

#[test]
fn plain_subscriptions_and_groups_work() {
    const ALL: usize = 2_000;
    let server = KafkaServer::start();
    let config = quick(&server.url());
    let (writer, reader) = (connect(config.clone()), connect(config));
    let (plain, group) = (Arc::new(Tally::new(ALL)), Arc::new(Tally::new(ALL)));
    let _plain = reader.subscribe("chat.42", count(&plain)).unwrap();
    let _member = reader
        .subscribe_group("chat.42", "g", count(&group))
        .unwrap();
    publish(&writer, "chat.42", 0..ALL);
    writer
        .publish_confirmed(Message::new("other", "x"), LONG)
        .unwrap();
    plain.wait_for(ALL, LONG);
    group.wait_for(ALL, LONG);
    plain.assert_exactly_once();
    group.assert_exactly_once();
    for broker in [writer, reader] {
        broker.close(LONG).unwrap();
    }
}
