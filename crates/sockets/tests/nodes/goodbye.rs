//! How a node leaves the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed::Receiver;
use fanfeed_broker::Broker;
use fanfeed_sockets::{ConnectionEnd, Limits, NodeEvent, Reply, Request, ServerEvent};
use serde_json::json;

use crate::fleet::{events_until, fleet, fleet_of, options};
use crate::stub::Stub;
use crate::support::{PATIENCE, echoing, listen, until};

/// The events until one says that a node is gone, whether or not it said goodbye.
async fn until_gone(events: &mut Receiver<NodeEvent>) -> Vec<NodeEvent> {
    events_until(events, "a node is gone", |seen| {
        matches!(
            seen.last(),
            Some(NodeEvent::NodeLeft(_) | NodeEvent::NodeSilent(_))
        )
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_shuts_down_says_goodbye() {
    let (_broker, nodes) = fleet(2).await;
    let member = nodes[0].join("room").await;
    let other = &nodes[1].server;
    until("it is known", || other.has_channel_anywhere("room")).await;
    let mut events = other.node_events().unwrap();
    let report = nodes[0].server.shutdown(PATIENCE).await;
    assert!(report.hooks_finished);
    let seen = until_gone(&mut events).await;
    assert!(other.other_nodes().is_empty());
    assert!(!other.has_channel_anywhere("room"));
    let last = nodes[0].server.node_id().map(NodeEvent::NodeLeft);
    assert_eq!(seen.last(), last.as_ref());
    drop(member);
}

/// The others count from the last heartbeat before the shutdown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_waits_for_its_handlers_beats_in_time() {
    let interval = Duration::from_secs(1);
    let hang = |_: Request| std::future::pending::<Reply>();
    // A machine that stops the test for a while proves nothing.
    let mut gaps = Vec::new();
    while gaps.iter().all(|gap| *gap > interval * 3 / 2) {
        assert!(gaps.len() < 10, "{gaps:?}");
        let stub = Stub::new();
        let broker: Arc<dyn Broker> = Arc::clone(&stub) as _;
        let limits = Limits::default().close_time(PATIENCE);
        let builder = echoing().limits(limits).direct_handler("hang", hang);
        let node = listen(builder.nodes(options(&broker).interval(interval))).await;
        let mut member = node.join("room").await;
        member.send("hang", json!(null)).await;
        until("the handler runs", || node.server.stats().received == 1).await;
        let beats = stub.beats().len();
        until("a heartbeat", || stub.beats().len() > beats).await;
        let last = stub.beats().last().copied().unwrap();
        tokio::time::sleep(interval * 7 / 10).await;
        node.server.begin_shutdown();
        let begun = Instant::now();
        until("a heartbeat in the shutdown", || {
            stub.beats().last().is_some_and(|beat| *beat > begun)
        })
        .await;
        let next = stub.beats().into_iter().find(|beat| *beat > begun).unwrap();
        let before = stub.beats().into_iter().rfind(|beat| *beat <= begun);
        gaps.push(next - before.unwrap_or(last));
        node.server.shutdown(Duration::ZERO).await;
    }
}

/// The deadline of the shutdown comes before the handler's end. The program may end when `shutdown`
/// returns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cuts_its_connections_says_goodbye() {
    let hang = |_: Request| std::future::pending::<Reply>();
    let (_broker, nodes) = fleet_of(2, |builder| builder.direct_handler("hang", hang)).await;
    let mut member = nodes[0].join("room").await;
    member.send("hang", json!(null)).await;
    until("the handler runs", || nodes[0].server.stats().received == 1).await;
    let other = &nodes[1].server;
    until("it is known", || other.has_channel_anywhere("room")).await;
    let mut told = other.node_events().unwrap();
    let mut events = nodes[0].server.events();
    let report = nodes[0].server.shutdown(Duration::from_millis(50)).await;
    assert_eq!(report.cut, 1);
    // The goodbye was published before `shutdown` returned, and the broker is in memory.
    let seen = until_gone(&mut told).await;
    let gone = nodes[0].server.node_id().unwrap();
    assert!(
        // The join is told a moment after it is known.
        matches!(&seen[..], [.., NodeEvent::Left(left), NodeEvent::NodeLeft(node)]
            if *left.client_id == *member.id && *node == gone),
        "{seen:?}"
    );
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(event);
    }
    let is_end = |event: &ServerEvent| matches!(event, ServerEvent::Disconnected { end, .. } if *end == ConnectionEnd::Cut);
    assert!(
        matches!(&seen[..], [.., cut, ServerEvent::ShutDown { cut: 1 }] if is_end(cut)),
        "{seen:?}"
    );
}
