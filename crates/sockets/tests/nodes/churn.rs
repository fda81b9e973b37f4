//! A channel whose last member leaves while its next one joins.

use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::Broker;
use serde_json::Value;

use crate::fleet::{INTERVAL, message, options};
use crate::stub::Stub;
use crate::support::{Client, Listening, PATIENCE, echoing, listen, until};

/// Two nodes that know each other, and keep no history.
async fn pair(stub: &Arc<Stub>, patience: Duration) -> [Listening; 2] {
    let broker: Arc<dyn Broker> = Arc::clone(stub) as _;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        // On a machine that stops a node for a while, nothing is dropped.
        let options = options(&broker).patience(patience).buffer(64 * 1024);
        nodes.push(listen(echoing().nodes(options)).await);
    }
    for node in &nodes {
        until("the nodes know each other", || {
            node.server.other_nodes().len() == 1
        })
        .await;
    }
    nodes.try_into().ok().unwrap()
}

fn number(message: &Value) -> u64 {
    message["body"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_joined_again_has_one_subscription() {
    let stub = Stub::new();
    let [near, far] = pair(&stub, Duration::from_millis(50)).await;
    stub.hold("sockets.channel.room");
    for _ in 0..3 {
        let member = near.join("room").await;
        until("the subscription waits", || stub.waiting() > 0).await;
        assert_eq!(stub.waiting(), 1);
        drop(member);
        until("the channel is empty", || !near.server.has_channel("room")).await;
    }
    let mut member = near.join("room").await;
    assert_eq!(stub.waiting(), 1);
    stub.release();
    let heard = async {
        loop {
            far.server.broadcast("room", message("tick", 1));
            let next = tokio::time::timeout(INTERVAL / 8, member.next()).await;
            if next.is_ok() {
                return;
            }
        }
    };
    let heard = tokio::time::timeout(PATIENCE, heard).await;
    heard.expect("the member hears the other node in time");
    // Two of each node, and that of the channel. It is counted a moment after it is live.
    until("all are counted", || stub.most() >= 5).await;
    assert_eq!(stub.most(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_left_before_the_subscription_was_live_has_missed_nothing() {
    let stub = Stub::new();
    let [near, _far] = pair(&stub, Duration::from_millis(50)).await;
    stub.hold("sockets.channel.room");
    drop(near.join("room").await);
    until("it has left", || near.server.stats().connections == 0).await;
    stub.release();
    // Two of each node, and that of the channel.
    until("the channel is subscribed", || stub.most() == 5).await;
    until("it is so no more", || stub.health().subscriptions == 4).await;
    assert_eq!(near.server.node_stats().unwrap().gaps, 0);
}

/// Takes messages until `count` have come, whose numbers grow by one each.
async fn hears(member: &mut Client, count: u64) {
    let mut last = number(&member.next().await);
    for _ in 1..count {
        let next = number(&member.next().await);
        assert_eq!(next, last + 1);
        last = next;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_come_as_others_go_hear_each_message_once_in_order() {
    const ROUNDS: usize = 200;
    let stub = Stub::new();
    let [near, far] = pair(&stub, PATIENCE).await;
    let sender = far.server.clone();
    let sending = tokio::spawn(async move {
        for n in 0_u64.. {
            sender.broadcast("room", message("tick", n));
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    });
    let mut last = near.join("room").await;
    for round in 0..ROUNDS {
        hears(&mut last, 5).await;
        drop(last);
        if round % 2 == 0 {
            // Now and then the channel ends before the next one joins, and now and then not.
            until("the channel is empty", || !near.server.has_channel("room")).await;
        }
        last = near.join("room").await;
    }
    hears(&mut last, 5).await;
    sending.abort();
    assert_eq!(stub.most(), 5);
    let stats = near.server.node_stats().unwrap();
    assert_eq!((stats.duplicates, stats.gaps), (0, 0));
}
