//! Clients that come back.

use std::time::{Duration, Instant};

use fanfeed_sockets::{BuildError, Limits, Server};
use serde_json::{Value, json};

use crate::fleet::{fleet_of, message};
use crate::support::{Client, Listening, PATIENCE, echoing, listen, until};

/// The last epoch and position that a client has seen.
pub(crate) fn place(message: &Value) -> (String, u64) {
    let header = |name: &str| message["headers"][name][0].as_str().unwrap().to_owned();
    let position = header("X-Channel-Position").parse().unwrap();
    (header("X-Channel-Epoch"), position)
}

pub(crate) fn gap(client: &Client) -> Option<&str> {
    client.welcome["headers"]["X-Channel-Gap"][0].as_str()
}

pub(crate) async fn rejoin(
    node: &Listening,
    channel: &str,
    (epoch, position): &(String, u64),
) -> Client {
    node.join(&format!(
        "{channel}?channelEpoch={epoch}&channelPosition={position}"
    ))
    .await
}

async fn expect(
    client: &mut Client,
    bodies: impl IntoIterator<Item = u64>,
) -> Option<(String, u64)> {
    let mut last = None;
    for body in bodies {
        let heard = client.next().await;
        assert_eq!(heard["body"], body, "{heard}");
        last = Some(place(&heard));
    }
    last
}

fn tick(node: &Listening, channel: &str, bodies: impl IntoIterator<Item = u64>) {
    for body in bodies {
        node.server.broadcast(channel, message("tick", body));
    }
}

#[tokio::test]
async fn a_client_that_comes_back_gets_exactly_what_it_missed() {
    let node = listen(echoing().history(100)).await;
    let mut client = node.join("room").await;
    assert_eq!(gap(&client), None);
    let start = place(&client.welcome);
    assert_eq!(start.1, 0);
    tick(&node, "room", 0..10);
    let seen = expect(&mut client, 0..10).await.unwrap();
    assert_eq!(seen, (start.0.clone(), 10));
    // The last member leaves, and messages are sent meanwhile.
    drop(client);
    until("it has left", || !node.server.has_channel("room")).await;
    tick(&node, "room", 10..30);
    let mut client = rejoin(&node, "room", &seen).await;
    assert_eq!(gap(&client), Some("0"));
    assert_eq!(place(&client.welcome), seen);
    tick(&node, "room", 30..31);
    let seen = expect(&mut client, 10..31).await.unwrap();
    // Nothing was missed.
    let mut again = rejoin(&node, "room", &seen).await;
    assert_eq!(gap(&again), Some("0"));
    client.send("chat", json!(31)).await;
    expect(&mut again, [31]).await;
}

#[tokio::test]
async fn a_gap_is_told_with_its_size() {
    let node = listen(echoing().history(10)).await;
    let client = node.join("room").await;
    let start = place(&client.welcome);
    tick(&node, "room", 0..25);
    let mut client = rejoin(&node, "room", &start).await;
    assert_eq!(gap(&client), Some("15"));
    assert_eq!(place(&client.welcome).1, 15);
    expect(&mut client, 15..25).await;
}

#[tokio::test]
async fn another_epoch_is_an_unknown_gap() {
    let node = listen(echoing().history(10).history_retention(Duration::ZERO)).await;
    let client = node.join("room").await;
    let start = place(&client.welcome);
    tick(&node, "room", 0..3);
    let beyond = (start.0.clone(), 4);
    let wrong = rejoin(&node, "room", &beyond).await;
    assert_eq!(gap(&wrong), Some("unknown"));
    drop((client, wrong));
    until("the channel is gone", || !node.server.has_channel("room")).await;
    // The log ends a moment after its channel.
    let mut epoch = start.0.clone();
    while epoch == start.0 {
        let mut client = rejoin(&node, "room", &start).await;
        epoch = place(&client.welcome).0;
        if epoch != start.0 {
            assert_eq!(gap(&client), Some("unknown"));
            tick(&node, "room", [9]);
            expect(&mut client, [9]).await;
        }
        drop(client);
        until("the channel is gone", || !node.server.has_channel("room")).await;
    }
}

#[tokio::test]
async fn a_closed_channel_begins_anew() {
    let node = listen(echoing().history(10)).await;
    let client = node.join("room").await;
    let start = place(&client.welcome);
    assert!(node.server.close_channel("room"));
    let client = rejoin(&node, "room", &start).await;
    assert_eq!(gap(&client), Some("unknown"));
    assert_ne!(place(&client.welcome).0, start.0);
}

/// A history that is kept without members ends with the channel, on each node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_closed_without_members_begins_anew() {
    let alone = listen(echoing().history(10)).await;
    let (_broker, nodes) = fleet_of(2, |builder| builder.history(10)).await;
    for (node, closer) in [
        (&alone, &alone),
        (&nodes[0], &nodes[0]),
        (&nodes[0], &nodes[1]),
    ] {
        let client = node.join("room").await;
        tick(node, "room", 0..3);
        let start = place(&client.welcome);
        drop(client);
        until("it has left", || !node.server.has_channel("room")).await;
        until("all nodes know", || {
            !closer.server.has_channel_anywhere("room")
        })
        .await;
        assert!(!closer.server.close_channel("room"));
        // The other node hears of it a moment later.
        let begun = Instant::now();
        let mut back = rejoin(node, "room", &start).await;
        while gap(&back) == Some("0") && !std::ptr::eq(node, closer) {
            assert!(begun.elapsed() < PATIENCE, "the history has not ended");
            drop(back);
            until("it has left", || !node.server.has_channel("room")).await;
            back = rejoin(node, "room", &start).await;
        }
        assert_eq!(gap(&back), Some("unknown"));
        assert_ne!(place(&back.welcome).0, start.0);
        drop(back);
        until("it has left", || !node.server.has_channel("room")).await;
    }
}

#[tokio::test]
async fn a_place_that_makes_no_sense_is_refused() {
    let node = listen(echoing().history(10)).await;
    for path in [
        "room?channelEpoch=a",
        "room?channelEpoch=a&channelPosition=b",
    ] {
        assert_eq!(node.refused(node.request(path)).await, 400);
    }
    let mut request = node.request("room");
    request
        .headers_mut()
        .insert("X-Channel-Epoch", "a".parse().unwrap());
    request
        .headers_mut()
        .insert("X-Channel-Position", "1".parse().unwrap());
    let mut client = node.connect_with(request).await.unwrap();
    client.welcome = client.next().await;
    assert_eq!(gap(&client), Some("unknown"));
    let limits = Limits::default().queue_frames(20);
    let error = Server::builder().limits(limits).history(11).build().err();
    assert!(
        matches!(error, Some(BuildError::History { most: 10, .. })),
        "{error:?}"
    );
}

/// Clients that come and go while messages are sent miss none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_or_twice_while_clients_reconnect() {
    const MESSAGES: u64 = 1500;
    let node = std::sync::Arc::new(listen(echoing().history(128)).await);
    let mut tasks = tokio::task::JoinSet::new();
    let keeper = node.join("room").await;
    let start = place(&keeper.welcome);
    for n in 0..4 {
        let (node, mut seen) = (std::sync::Arc::clone(&node), start.clone());
        tasks.spawn(async move {
            let mut next = 0;
            while next < MESSAGES {
                let mut client = rejoin(&node, "room", &seen).await;
                assert_eq!(gap(&client), Some("0"));
                for _ in 0..(37 + n) {
                    if next < MESSAGES {
                        seen = expect(&mut client, [next]).await.unwrap();
                        next += 1;
                    }
                }
            }
        });
    }
    // No faster than the slowest client, which must find what it missed.
    for body in 0..MESSAGES {
        tick(&node, "room", [body]);
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    tasks.join_all().await;
    drop(keeper);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_other_nodes_are_in_the_history_of_each() {
    let (_broker, nodes) = fleet_of(2, |builder| builder.history(100)).await;
    let mut client = nodes[1].join("room").await;
    let other = nodes[0].join("room").await;
    tick(&nodes[0], "room", 0..5);
    let seen = expect(&mut client, 0..5).await.unwrap();
    drop(client);
    until("it has left", || !nodes[1].server.has_channel("room")).await;
    tick(&nodes[0], "room", 5..10);
    // The node without members has heard them.
    let received = || nodes[1].server.node_stats().unwrap().received;
    tick(&nodes[0], "other", [0]);
    until("they have arrived", || received() >= 10).await;
    let mut client = rejoin(&nodes[1], "room", &seen).await;
    assert_eq!(gap(&client), Some("0"));
    expect(&mut client, 5..10).await;
    // Positions are of one node.
    let moved = rejoin(&nodes[0], "room", &seen).await;
    assert_eq!(gap(&moved), Some("unknown"));
    drop(other);
}
