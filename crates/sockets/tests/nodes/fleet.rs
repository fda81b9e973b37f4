//! Nodes over one broker in memory.

use std::sync::Arc;
use std::time::Duration;

use fanfeed::Receiver;
use fanfeed_broker::{Broker, MemoryBroker};
use fanfeed_sockets::{Message, NodeEvent, NodeOptions, ServerBuilder};

use crate::support::{Listening, PATIENCE, echoing, listen, until};

/// Short, so that tests need not wait, and long enough for a loaded machine.
pub(crate) const INTERVAL: Duration = Duration::from_millis(400);

pub(crate) fn options(broker: &Arc<dyn Broker>) -> NodeOptions {
    NodeOptions::new(Arc::clone(broker)).interval(INTERVAL)
}

/// Nodes that know each other.
pub(crate) async fn fleet(count: usize) -> (Arc<dyn Broker>, Vec<Listening>) {
    fleet_of(count, |builder| builder).await
}

pub(crate) async fn fleet_of(
    count: usize,
    set: impl Fn(ServerBuilder) -> ServerBuilder,
) -> (Arc<dyn Broker>, Vec<Listening>) {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(listen(set(echoing().nodes(options(&broker)))).await);
    }
    let subscriptions = || broker.health().subscriptions;
    until("each node is subscribed", || subscriptions() == 2 * count).await;
    for node in &nodes {
        until("the nodes know each other", || {
            node.server.other_nodes().len() == count - 1
        })
        .await;
    }
    (broker, nodes)
}

pub(crate) fn message(key: &str, body: impl serde::Serialize) -> Message {
    Message::new(key, "", "").with_body(&body).unwrap()
}

/// Takes events until those that were taken are all that is waited for. Events come a moment after
/// the state that they tell.
pub(crate) async fn events_until(
    events: &mut Receiver<NodeEvent>,
    what: &str,
    is_all: impl Fn(&[NodeEvent]) -> bool,
) -> Vec<NodeEvent> {
    let mut seen = Vec::new();
    while !is_all(&seen) {
        match tokio::time::timeout(PATIENCE, events.recv_async()).await {
            Ok(event) => seen.push(event.expect("the server lives")),
            Err(_) => panic!("waited in vain: {what}: {seen:?}"),
        }
    }
    seen
}
