//! What several nodes are to their clients.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed_broker::{Broker, Message as BrokerMessage, Subscribe};
use fanfeed_sockets::{AwaitError, Identity, NodeEvent, NodeOptions, Server};
use futures_util::StreamExt;
use serde_json::json;

use crate::fleet::{INTERVAL, events_until, fleet, fleet_of, message, options};
use crate::support::{PATIENCE, echoing, listen, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_reaches_each_member_on_each_node_once_and_in_order() {
    let (_broker, nodes) = fleet(3).await;
    let mut members = Vec::new();
    for node in &nodes {
        members.push(node.join("room").await);
        members.push(node.join("room").await);
    }
    let mut elsewhere = nodes[1].join("other").await;
    for n in 0..100 {
        let reached = nodes[0].server.broadcast("room", message("tick", n));
        assert_eq!(reached, 2);
    }
    nodes[2].server.broadcast("other", message("tick", "other"));
    for member in &mut members {
        for n in 0..100 {
            assert_eq!(member.next().await["body"], n);
        }
    }
    assert_eq!(elsewhere.next().await["body"], "other");
    // Nothing else arrived in between: the next message of each is this one.
    nodes[1].server.broadcast("room", message("last", 0));
    for member in &mut members {
        let last = member.next().await;
        assert_eq!(
            (&last["type"], &last["channelId"]),
            (&json!("last"), &json!("room"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_of_a_channel_handler_reaches_the_other_nodes() {
    let (_broker, nodes) = fleet(2).await;
    let mut near = nodes[0].join("room").await;
    let mut far = nodes[1].join("room").await;
    near.send("chat", json!("hello")).await;
    for member in [&mut near, &mut far] {
        let heard = member.next().await;
        assert_eq!(
            (&heard["type"], &heard["body"]),
            (&json!("chatted"), &json!("hello"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_is_passed_on_byte_for_byte() {
    let (_broker, nodes) = fleet(2).await;
    let mut far = nodes[1].join("room").await;
    let mut sent = message("raw", ());
    sent.set_raw_body("{\"n\":1.50,\"n\":12345678901234567890}")
        .unwrap();
    sent.set_channel_id("room");
    nodes[0].server.broadcast("room", sent.clone());
    let received = far.socket.next().await.unwrap().unwrap();
    assert_eq!(received.into_text().unwrap().as_str(), sent.encode());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_twice_is_delivered_once() {
    let (broker, nodes) = fleet(2).await;
    let mut far = nodes[1].join("room").await;
    // Publishes all that it gets once more.
    let again = Arc::clone(&broker);
    let handler = move |message: &BrokerMessage, _: &fanfeed_broker::Context| {
        if message.event_name().is_none() {
            again.try_publish(message.clone().name("again"))?;
        }
        Ok(())
    };
    let _echo = broker
        .subscribe_with(Subscribe::new("sockets.channel.room", handler))
        .unwrap();
    for n in 0..50 {
        nodes[0].server.broadcast("room", message("tick", n));
    }
    for n in 0..50 {
        assert_eq!(far.next().await["body"], n);
    }
    let stats = || nodes[1].server.node_stats().unwrap();
    until("the copies arrive", || stats().duplicates == 50).await;
    nodes[0].server.broadcast("room", message("last", 0));
    assert_eq!(far.next().await["type"], "last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn join_success_says_that_other_nodes_are_heard() {
    let (_broker, nodes) = fleet(2).await;
    for n in 0..100 {
        let channel = format!("room{n}");
        let mut member = nodes[1].join(&channel).await;
        nodes[0].server.broadcast(&channel, message("tick", n));
        assert_eq!(member.next().await["body"], n);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_that_are_no_keys_have_their_own_messages() {
    let (_broker, nodes) = fleet(2).await;
    let long = "x".repeat(255);
    let ids = ["%2A", "a.b", "%252A", "%F0%9F%9A%80", long.as_str()];
    let mut members = Vec::new();
    for id in ids {
        members.push(nodes[1].join(&id.replace('%', "%25")).await);
    }
    for id in ids {
        nodes[0].server.broadcast(id, message("tick", id));
    }
    for (member, id) in members.iter_mut().zip(ids) {
        assert_eq!(member.next().await["body"], id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_member_ends_the_subscription() {
    let (broker, nodes) = fleet(1).await;
    let before = broker.health().subscriptions;
    let (one, two) = (nodes[0].join("room").await, nodes[0].join("room").await);
    assert_eq!(broker.health().subscriptions, before + 1);
    drop(one);
    until("one has left", || {
        nodes[0].server.members("room").len() == 1
    })
    .await;
    assert_eq!(broker.health().subscriptions, before + 1);
    drop(two);
    until("it ends", || broker.health().subscriptions == before).await;
    let mut again = nodes[0].join("room").await;
    assert_eq!(broker.health().subscriptions, before + 1);
    assert!(nodes[0].server.close_channel("room"));
    assert_eq!(again.next().await["type"], "channel.closed");
    until("it ends", || broker.health().subscriptions == before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_know_who_is_there() {
    let identity = |_| async { Ok(Identity::user("ada").app("editor")) };
    let (_broker, nodes) = fleet_of(2, |builder| builder.authorize(identity)).await;
    let mut events = nodes[1].server.node_events().unwrap();
    let member = nodes[0].join("room").await;
    let server = &nodes[1].server;
    until("the other node knows", || {
        server.has_channel_anywhere("room")
    })
    .await;
    assert!(!server.has_channel("room"));
    assert_eq!(server.channels_anywhere(), [Arc::from("room")]);
    let present = server.presence("room");
    assert_eq!(present, nodes[0].server.presence("room"));
    assert_eq!(&*present[0].client_id, member.id);
    assert_eq!(Some(&present[0].node), nodes[0].server.node_id().as_ref());
    assert_eq!(
        (&*present[0].user_id, &*present[0].app_id),
        ("ada", "editor")
    );
    drop(member);
    until("the member is gone", || server.presence("room").is_empty()).await;
    let here = nodes[1].join("here").await;
    for expected in ["joined \"room\"", "left \"room\"", "joined \"here\""] {
        let event = tokio::time::timeout(PATIENCE, events.recv_async()).await;
        let event = event.unwrap().unwrap().to_string();
        assert!(event.contains(expected), "{event}");
    }
    drop(here);
}

#[tokio::test]
async fn a_server_that_is_alone_knows_its_own_members() {
    let alone = listen(echoing()).await;
    let member = alone.join("room").await;
    let present = alone.server.presence("room");
    assert_eq!(present.len(), 1);
    assert_eq!(
        (&*present[0].client_id, &*present[0].node),
        (&*member.id, "")
    );
    assert!(alone.server.has_channel_anywhere("room"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_later_learns_who_is_there() {
    let (broker, nodes) = fleet(1).await;
    let mut members = Vec::new();
    for n in 0..60 {
        members.push(nodes[0].join(&format!("room{}", n % 7)).await);
    }
    let late = listen(echoing().nodes(options(&broker))).await;
    let count = || {
        (0..7)
            .map(|n| late.server.presence(&format!("room{n}")).len())
            .sum::<usize>()
    };
    until("all are known", || count() == 60).await;
    members.truncate(20);
    until("the others are gone", || count() == 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_gone_after_three_intervals() {
    let (broker, nodes) = fleet(1).await;
    let mut events = nodes[0].server.node_events().unwrap();
    // A node that says who is there, and then nothing more.
    let tell = |what: &str, body: &str| {
        let line =
            format!("{{\"fanfeed\":1,\"origin\":\"ghost\",\"number\":1,\"what\":{what}}}\n{body}");
        broker
            .try_publish(BrokerMessage::new("sockets.presence", line))
            .unwrap();
    };
    let interval = INTERVAL.as_millis();
    let told = Instant::now();
    tell(
        &format!("{{\"beat\":{{\"interval\":{interval},\"version\":0,\"hello\":true}}}}"),
        "",
    );
    tell(
        "{\"changes\":{\"from\":0,\"to\":1}}",
        "[{\"join\":{\"client\":\"c1\",\"channel\":\"room\"}}]",
    );
    until("the ghost is known", || {
        nodes[0].server.has_channel_anywhere("room")
    })
    .await;
    until("the ghost is gone", || {
        !nodes[0].server.has_channel_anywhere("room")
    })
    .await;
    assert!(told.elapsed() >= 3 * INTERVAL, "{:?}", told.elapsed());
    let seen = events_until(&mut events, "the ghost is silent", |seen| {
        matches!(seen.last(), Some(NodeEvent::NodeSilent(_)))
    })
    .await;
    let ghost: Arc<str> = "ghost".into();
    assert!(
        matches!(&seen[..], [
        NodeEvent::NodeUp(up),
        NodeEvent::Joined(_),
        NodeEvent::Left(_),
        NodeEvent::NodeSilent(silent),
    ] if *up == ghost && *silent == ghost),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_direct_message_finds_its_client_on_another_node() {
    let (_broker, nodes) = fleet(3).await;
    let mut member = nodes[2].join("room").await;
    let mut other = nodes[2].join("room").await;
    let server = &nodes[0].server;
    assert!(!server.broadcast_direct("nobody", message("tick", 1)));
    until("it is known", || server.presence("room").len() == 2).await;
    assert!(server.broadcast_direct(&member.id, message("tick", 1)));
    assert_eq!(member.next().await["body"], 1);
    server.broadcast("room", message("last", 2));
    assert_eq!(other.next().await["type"], "last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_a_channel_closes_it_on_all_nodes() {
    let (_broker, nodes) = fleet(2).await;
    let mut near = nodes[0].join("room").await;
    let mut far = nodes[1].join("room").await;
    until("it is known", || {
        nodes[0].server.presence("room").len() == 2
    })
    .await;
    assert!(nodes[0].server.close_channel("room"));
    for member in [&mut near, &mut far] {
        assert_eq!(member.next().await["type"], "channel.closed");
        assert_eq!(member.close_code().await, 1000);
    }
    until("it is gone", || {
        !nodes[0].server.has_channel_anywhere("room")
    })
    .await;
    assert!(!nodes[0].server.close_channel("room"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_expires_on_all_nodes_when_the_first_does() {
    let lifetime = Duration::from_secs(60);
    let (_broker, nodes) = fleet_of(2, |builder| builder.channel_lifetime(lifetime)).await;
    let near = nodes[0].join("room").await;
    until("it is known", || {
        nodes[1].server.has_channel_anywhere("room")
    })
    .await;
    // So that a lifetime of its own would end in another second.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let far = nodes[1].join("room").await;
    assert_eq!(near.welcome["headers"], far.welcome["headers"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_answer_may_come_from_any_node() {
    let (_broker, nodes) = fleet(3).await;
    let (mut near, mut far) = (nodes[0].join("room").await, nodes[1].join("room").await);
    let mut stranger = nodes[1].join("other").await;
    // From a node with members, and from one without.
    for asker in [0, 2] {
        let server = nodes[asker].server.clone();
        until("they are known", || server.presence("room").len() == 2).await;
        let asked = tokio::spawn(async move {
            server
                .broadcast_await("room", message("ask", 1), PATIENCE)
                .await
        });
        let (one, two) = (near.next().await, far.next().await);
        assert_eq!(one["correlationId"], two["correlationId"]);
        // One that is no member cannot answer.
        let answer =
            |body| json!({"type": "answer", "correlationId": two["correlationId"], "body": body});
        stranger.send_text(&answer("forged").to_string()).await;
        stranger.send("echo", json!(1)).await;
        assert_eq!(stranger.next().await["body"], 1);
        far.send_text(&answer("yes").to_string()).await;
        let answer_got = asked.await.unwrap().unwrap();
        assert_eq!(answer_got.raw_body(), "\"yes\"");
        assert_eq!(answer_got.client_id(), far.id);
        // A late answer is counted, and nobody is told that it is unknown.
        near.send_text(&answer("late").to_string()).await;
        near.send("echo", json!(2)).await;
        assert_eq!(near.next().await["body"], 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_ends_when_nobody_can_answer() {
    let (_broker, nodes) = fleet(2).await;
    let server = nodes[0].server.clone();
    let none = server
        .broadcast_await("room", message("ask", 1), PATIENCE)
        .await;
    assert!(matches!(none, Err(AwaitError::ChannelNotFound)), "{none:?}");
    let mut far = nodes[1].join("room").await;
    until("it is known", || server.has_channel_anywhere("room")).await;
    let short = server
        .broadcast_await("room", message("ask", 1), Duration::from_millis(30))
        .await;
    assert!(matches!(short, Err(AwaitError::Timeout)), "{short:?}");
    assert_eq!(far.next().await["type"], "ask");
    let asked = tokio::spawn(async move {
        server
            .broadcast_await("room", message("ask", 2), PATIENCE)
            .await
    });
    assert_eq!(far.next().await["body"], 2);
    drop(far);
    let emptied = asked.await.unwrap();
    assert!(
        matches!(emptied, Err(AwaitError::ChannelEmptied)),
        "{emptied:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_one_node_go_on_when_the_broker_is_closed() {
    let (broker, nodes) = fleet(1).await;
    let mut member = nodes[0].join("room").await;
    let mut events = nodes[0].server.node_events().unwrap();
    let closing = Arc::clone(&broker);
    let closed = tokio::task::spawn_blocking(move || closing.close(PATIENCE)).await;
    closed.unwrap().unwrap();
    assert_eq!(nodes[0].server.broadcast("room", message("tick", 1)), 1);
    assert_eq!(member.next().await["body"], 1);
    assert!(nodes[0].server.node_stats().unwrap().not_published > 0);
    events_until(&mut events, "it was not published", |seen| {
        let is_it = |event: &NodeEvent| {
            matches!(
                event,
                NodeEvent::NotPublished {
                    channel: Some(_),
                    ..
                }
            )
        };
        seen.iter().any(is_it)
    })
    .await;
    // Others can join, and the server can be shut down.
    let mut late = nodes[0].join("late").await;
    nodes[0].server.broadcast("late", message("tick", 2));
    assert_eq!(late.next().await["body"], 2);
    nodes[0].server.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_counted_and_told() {
    let (broker, nodes) = fleet(1).await;
    let mut member = nodes[0].join("room").await;
    let mut events = nodes[0].server.node_events().unwrap();
    let frame = "{\"fanfeed\":1,\"origin\":\"o\",\"number\":1,\"what\":{\"frame\":{\"channel\":\"room\"}}}\n";
    let bad: [Vec<u8>; 5] = [
        b"".to_vec(),
        b"{}\n".to_vec(),
        b"{\"fanfeed\":2}\n".to_vec(),
        b"\xff\n".to_vec(),
        [frame.as_bytes(), b"\xff"].concat(),
    ];
    let count = bad.len();
    for payload in bad {
        broker
            .try_publish(BrokerMessage::new("sockets.channel.room", payload))
            .unwrap();
    }
    let stats = || nodes[0].server.node_stats().unwrap().undecodable;
    until("all are counted", || stats() == count as u64).await;
    events_until(&mut events, "all are told", |seen| {
        let is_it = |event: &&NodeEvent| matches!(event, NodeEvent::Undecodable { .. });
        seen.iter().filter(is_it).count() == count
    })
    .await;
    nodes[0].server.broadcast("room", message("tick", 1));
    assert_eq!(member.next().await["body"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_survives_churn_on_all_nodes() {
    let (_broker, nodes) = fleet(3).await;
    let nodes = Arc::new(nodes);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..12 {
        let nodes = Arc::clone(&nodes);
        tasks.spawn(async move {
            let mut kept = None;
            for round in 0..8 {
                kept = Some(nodes[(n + round) % 3].join(&format!("room{}", n % 4)).await);
            }
            kept.unwrap()
        });
    }
    let kept = tasks.join_all().await;
    let expected: HashSet<_> = kept.iter().map(|member| member.id.clone()).collect();
    for node in nodes.iter() {
        until("all nodes agree", || {
            let rooms = (0..4).flat_map(|n| node.server.presence(&format!("room{n}")));
            rooms
                .map(|at| at.client_id.to_string())
                .collect::<HashSet<_>>()
                == expected
        })
        .await;
    }
}

#[test]
fn options_that_cannot_work_are_refused() {
    let broker: Arc<dyn Broker> = Arc::new(fanfeed_broker::MemoryBroker::new());
    let build = |options: NodeOptions| Server::builder().nodes(options).build().err().unwrap();
    for (options, text) in [
        (options(&broker).prefix("a*"), "reserved"),
        (options(&broker).prefix("a".repeat(200)), "prefix is longer"),
        (options(&broker).interval(Duration::ZERO), "interval"),
        (options(&broker).window(0), "window"),
        (options(&broker).buffer(0), "buffer"),
    ] {
        let error = build(options).to_string();
        assert!(error.contains(text), "{error}");
    }
    // Outside of any runtime.
    drop(Server::builder().nodes(options(&broker)).build().unwrap());
}
