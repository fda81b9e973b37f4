//! What a broker does to its subscriptions, and what clients that come back are then told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed_broker::{
    Broker, Context, Event, Message as BrokerMessage, Publisher, Subscribe, Subscriber,
};
use fanfeed_sockets::{NodeEvent, NodeOptions};

use crate::fleet::{INTERVAL, events_until, message, options};
use crate::history::{gap, place, rejoin};
use crate::stub::Stub;
use crate::support::{Client, Listening, PATIENCE, echoing, listen, until};

const ROOM: &str = "sockets.channel.room";

/// Nodes over a stub that know each other.
async fn fleet<const N: usize>(
    stub: &Arc<Stub>,
    set: impl Fn(NodeOptions) -> NodeOptions,
) -> [Listening; N] {
    let broker: Arc<dyn Broker> = Arc::clone(stub) as _;
    let mut nodes = Vec::new();
    for _ in 0..N {
        nodes.push(listen(echoing().history(100).nodes(set(options(&broker)))).await);
    }
    for node in &nodes {
        until("the nodes know each other", || {
            node.server.other_nodes().len() == N - 1
        })
        .await;
    }
    nodes.try_into().ok().unwrap()
}

/// Sends messages from a node until a client of another hears one.
async fn until_heard(node: &Listening, client: &mut Client) {
    let heard = async {
        loop {
            node.server.broadcast("room", message("tick", "again"));
            let next = tokio::time::timeout(Duration::from_millis(50), client.next()).await;
            if next.is_ok() {
                return;
            }
        }
    };
    let heard = tokio::time::timeout(PATIENCE, heard).await;
    heard.expect("the client hears the other node in time");
}

/// Joins and comes back until nothing is said to be missed.
async fn until_whole(node: &Listening) {
    let whole = async {
        loop {
            let client = node.join("room").await;
            let back = rejoin(node, "room", &place(&client.welcome)).await;
            if gap(&back) == Some("0") {
                return;
            }
            assert_eq!(gap(&back), Some("unknown"));
            assert_ne!(place(&client.welcome).0, place(&back.welcome).0);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let whole = tokio::time::timeout(PATIENCE, whole).await;
    whole.expect("the history is whole again in time");
}

fn gaps(node: &Listening) -> u64 {
    node.server.node_stats().unwrap().gaps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_before_a_late_subscription_is_a_gap() {
    let stub = Stub::new();
    let [near, far] = fleet(&stub, |options| options.patience(Duration::from_millis(50))).await;
    let mut events = near.server.node_events().unwrap();
    stub.hold(ROOM);
    let mut member = near.join("room").await;
    let start = place(&member.welcome);
    for n in 0..3 {
        far.server.broadcast("room", message("tick", n));
    }
    // While it is not subscribed, nobody knows what is missed.
    let early = rejoin(&near, "room", &start).await;
    assert_eq!(gap(&early), Some("unknown"));
    let early = place(&early.welcome);
    assert_ne!(early.0, start.0);
    stub.release();
    until_heard(&far, &mut member).await;
    for missed in [&start, &early] {
        let back = rejoin(&near, "room", missed).await;
        assert_eq!(gap(&back), Some("unknown"));
        assert_ne!(place(&back.welcome).0, missed.0);
    }
    events_until(&mut events, "the gap is told", |seen| {
        let is_it = |event: &NodeEvent| {
            matches!(event, NodeEvent::Gap { channel: Some(channel), .. } if **channel == *"room")
        };
        seen.iter().any(is_it)
    })
    .await;
    until_whole(&near).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_whole_again_whatever_other_subscriptions_do() {
    let stub = Stub::new();
    let [node] = fleet(&stub, |options| options).await;
    let member = node.join("room").await;
    let other = node.join("other").await;
    // The application has a handler that is stuck.
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = parking_lot::Mutex::new(blocked);
    let handler = move |_: &BrokerMessage, _: &Context| {
        let _ = blocked.lock().recv();
        Ok(())
    };
    let stuck = stub
        .subscribe_with(Subscribe::new("stuck", handler))
        .unwrap();
    // Dropping it would wait for the handler.
    stuck.detach();
    for _ in 0..3 {
        stub.try_publish(BrokerMessage::new("stuck", "")).unwrap();
    }
    // Another channel loses messages all the time.
    let losing = Arc::clone(&stub);
    let losing = tokio::spawn(async move {
        loop {
            losing.lose("sockets.channel.other");
            tokio::time::sleep(INTERVAL / 20).await;
        }
    });
    until("the other channel loses messages", || gaps(&node) > 0).await;
    stub.lose(ROOM);
    let start = place(&member.welcome);
    let renewed = async { while place(&node.join("room").await.welcome).0 == start.0 {} };
    let renewed = tokio::time::timeout(PATIENCE, renewed).await;
    renewed.expect("there is a new epoch in time");
    until_whole(&node).await;
    losing.abort();
    drop((unblock, member, other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_history_is_whole_while_the_server_of_the_broker_is_away() {
    let stub = Stub::new();
    let [node] = fleet(&stub, |options| options).await;
    let keeper = node.join("room").await;
    stub.set_down(true);
    until("it is told", || gaps(&node) > 0).await;
    // Long enough for the history to be taken for whole.
    for _ in 0..20 {
        let client = node.join("room").await;
        let back = rejoin(&node, "room", &place(&client.welcome)).await;
        assert_eq!(gap(&back), Some("unknown"));
        tokio::time::sleep(INTERVAL / 20).await;
    }
    stub.set_down(false);
    until_whole(&node).await;
    drop(keeper);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_ended_is_found_when_the_event_was_dropped() {
    let stub = Stub::new();
    let [near, far] = fleet(&stub, |options| options).await;
    let mut member = near.join("room").await;
    until_heard(&far, &mut member).await;
    tokio::task::block_in_place(|| stub.end_all());
    // Far more than a receiver of events holds.
    for total in 0..20_000 {
        let (key, group) = ("elsewhere".into(), None);
        stub.emit(Event::Dropped { key, group, total });
    }
    until_heard(&far, &mut member).await;
}

/// The event comes when the task of the subscription has seen the end, and has a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_news_of_an_end_does_not_end_the_next_subscription() {
    let stub = Stub::new();
    let [near, far] = fleet(&stub, |options| options).await;
    let mut member = near.join("room").await;
    until_heard(&far, &mut member).await;
    let mut events = near.server.node_events().unwrap();
    let asked = stub.asked();
    for _ in 0..2 {
        stub.emit(Event::SubscriptionFailed {
            key: ROOM.into(),
            group: None,
            error: "it ended long ago".into(),
        });
    }
    events_until(&mut events, "it is told twice", |seen| {
        let is_it = |event: &&NodeEvent| matches!(event, NodeEvent::NotSubscribed { .. });
        seen.iter().filter(is_it).count() == 2
    })
    .await;
    // Longer than the wait before another attempt.
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(200) {
        until_heard(&far, &mut member).await;
    }
    assert_eq!(stub.asked(), asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_does_not_look_at_all_subscriptions() {
    let stub = Stub::new();
    let [node] = fleet(&stub, |options| options).await;
    let looks = stub.looks();
    let mut members = Vec::new();
    for n in 0..50 {
        members.push(node.join(&format!("room{n}")).await);
    }
    assert!(stub.looks() < looks + 5, "{}", stub.looks());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_joins_when_its_node_can_be_reached() {
    let stub = Stub::new();
    stub.hold("sockets.node");
    let broker: Arc<dyn Broker> = Arc::clone(&stub) as _;
    let node = Arc::new(listen(echoing().nodes(options(&broker).patience(PATIENCE))).await);
    until("the node's own key waits", || stub.waiting() == 1).await;
    let joining = Arc::clone(&node);
    let joining = tokio::spawn(async move { joining.join("room").await });
    until("presence and the channel are subscribed", || {
        broker.health().subscriptions == 2
    })
    .await;
    // Long enough for the answer to come.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!joining.is_finished() && !node.server.has_channel("room"));
    assert!(!node.server.hears_nodes());
    stub.release();
    joining.await.unwrap();
    assert!(node.server.hears_nodes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_does_not_wait_for_a_subscription() {
    let stub = Stub::new();
    let [node] = fleet(&stub, |options| options.patience(PATIENCE)).await;
    stub.hold(ROOM);
    let request = node.request("room");
    let joining = tokio::spawn(tokio_tungstenite::connect_async(request));
    until("the subscription waits", || stub.waiting() == 1).await;
    until("a connection is in its handshake", || {
        node.server.stats().connections == 1
    })
    .await;
    let begun = Instant::now();
    node.server.shutdown(PATIENCE / 4).await;
    assert!(begun.elapsed() < PATIENCE / 4);
    stub.release();
    drop(joining);
}

#[tokio::test]
async fn what_handlers_reply_during_a_shutdown_goes_out_before_the_good_bye() {
    let stub = Stub::new();
    let broker: Arc<dyn Broker> = Arc::clone(&stub) as _;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let began = Arc::new(tokio::sync::Semaphore::new(0));
    let (pass, begin) = (Arc::clone(&gate), Arc::clone(&began));
    let limits = fanfeed_sockets::Limits::default().close_time(PATIENCE);
    let slow = echoing().limits(limits).channel_handler(
        "slow",
        move |request: fanfeed_sockets::Request| {
            let (pass, begin) = (Arc::clone(&pass), Arc::clone(&begin));
            async move {
                begin.add_permits(1);
                pass.acquire().await?.forget();
                Ok(Some(request.reply("late")))
            }
        },
    );
    let one = listen(slow.nodes(options(&broker))).await;
    let other = listen(echoing().nodes(options(&broker))).await;
    for node in [&one, &other] {
        until("they know each other", || {
            node.server.other_nodes().len() == 1
        })
        .await;
    }
    let mut client = one.join("room").await;
    let mut listener = other.join("room").await;
    until("both members are known", || {
        other.server.presence("room").len() == 2
    })
    .await;
    client.send("slow", serde_json::Value::Null).await;
    tokio::time::timeout(PATIENCE, began.acquire())
        .await
        .expect("the handler runs")
        .unwrap()
        .forget();
    let handle = one.server.clone();
    let shutdown = tokio::spawn(async move { handle.shutdown(PATIENCE).await });
    assert_eq!(client.close_code().await, 1001);
    drop(client);
    // Told at once when the node begins to shut down, as a good-bye would be that does not wait.
    until("the member has left", || {
        other.server.presence("room").len() == 1
    })
    .await;
    gate.add_permits(1);
    assert_eq!(listener.next().await["type"], "late");
    assert_eq!(shutdown.await.unwrap().cut, 0);
    let keys = stub.keys_of_first_on(ROOM);
    assert!(keys.iter().any(|key| key == ROOM), "{keys:?}");
    assert_ne!(
        keys.last().map(String::as_str),
        Some(ROOM),
        "the good-bye is the last: {keys:?}"
    );
    until("it is gone", || other.server.other_nodes().is_empty()).await;
}
