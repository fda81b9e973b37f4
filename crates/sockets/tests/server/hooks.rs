//! Hooks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfeed_sockets::{ChannelEnd, Limits, ServerBuilder};
use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use crate::support::{PATIENCE, echoing, listen, until};

type Log = Arc<Mutex<Vec<String>>>;

/// Logs what happens. The first call of each hook takes longer than the others.
fn logging(log: &Log) -> ServerBuilder {
    let entry = |what: &'static str| {
        let log = Arc::clone(log);
        move |name: String| {
            let log = Arc::clone(&log);
            async move {
                let is_first = log.lock().unwrap().is_empty();
                if is_first {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                log.lock().unwrap().push(format!("{what} {name}"));
            }
        }
    };
    let (create, join, leave, close) = (
        entry("create"),
        entry("join"),
        entry("leave"),
        entry("close"),
    );
    echoing()
        .on_channel_create(move |channel| create(channel.to_string()))
        .on_join(move |connection| join(connection.id().to_owned()))
        .on_leave(move |connection| leave(connection.id().to_owned()))
        .on_channel_close(move |channel, end| close(format!("{channel} {end:?}")))
}

async fn logged(log: &Log, count: usize) -> Vec<String> {
    until("all hooks were called", || {
        log.lock().unwrap().len() >= count
    })
    .await;
    log.lock().unwrap().clone()
}

#[tokio::test]
async fn hooks_are_called_in_order() {
    let log = Log::default();
    let server = listen(logging(&log)).await;
    let a = server.join("room").await;
    let mut b = server.join("room").await;
    b.send("echo", json!(1)).await;
    assert_eq!(b.next().await["body"], 1);
    let (a_id, b_id) = (a.id.clone(), b.id.clone());
    a.leave().await;
    until("the first has left", || server.server.stats().left == 1).await;
    b.leave().await;
    let expected = [
        "create room".to_owned(),
        format!("join {a_id}"),
        format!("join {b_id}"),
        format!("leave {a_id}"),
        format!("leave {b_id}"),
        format!("close room {:?}", ChannelEnd::Emptied),
    ];
    assert_eq!(logged(&log, 6).await, expected);
}

#[tokio::test]
async fn hooks_that_wait_delay_nobody() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let done = Arc::new(tokio::sync::Semaphore::new(0));
    let (opened, ended) = (Arc::clone(&gate), Arc::clone(&done));
    let server = listen(echoing().on_channel_create(move |_| {
        let (gate, done) = (Arc::clone(&opened), Arc::clone(&ended));
        async move {
            gate.acquire().await.unwrap().forget();
            done.add_permits(1);
        }
    }))
    .await;
    let _first = server.join("room").await;
    let mut second = server.join("room").await;
    second.send("echo", json!(1)).await;
    assert_eq!(second.next().await["body"], 1);
    assert_eq!(done.available_permits(), 0);
    gate.add_permits(1);
    until("the hook has ended", || done.available_permits() == 1).await;
}

#[tokio::test]
async fn each_end_of_a_channel_is_told_with_its_reason() {
    let log = Log::default();
    let server = listen(logging(&log)).await;
    let a = server.join("room").await;
    server.server.close_channel("room");
    let told = logged(&log, 4).await;
    assert_eq!(
        told[2..],
        [format!("leave {}", a.id), "close room Closed".to_owned()]
    );

    let log = Log::default();
    let lifetime = Duration::from_millis(200);
    let server = listen(logging(&log).channel_lifetime(lifetime)).await;
    let b = server.join("room").await;
    let told = logged(&log, 4).await;
    assert_eq!(
        told[2..],
        [format!("leave {}", b.id), "close room Expired".to_owned()]
    );

    let log = Log::default();
    let server = listen(logging(&log)).await;
    let mut c = server.join("room").await;
    let leaving = async move {
        assert_eq!(c.close_code().await, 1001);
        c.id.clone()
    };
    let (report, id) = tokio::join!(server.server.shutdown(PATIENCE), leaving);
    assert!(report.hooks_finished);
    let told = log.lock().unwrap().clone();
    assert_eq!(
        told[2..],
        [format!("leave {id}"), "close room Shutdown".to_owned()]
    );
}

#[tokio::test]
async fn a_hook_that_panics_or_hangs_concerns_only_its_channel() {
    let log = Log::default();
    let entries = Arc::clone(&log);
    let builder = echoing().on_join(move |connection| {
        let entries = Arc::clone(&entries);
        async move {
            match connection.channel() {
                "panic" => panic!("in a hook"),
                "hang" => std::future::pending().await,
                channel => entries.lock().unwrap().push(channel.to_owned()),
            }
        }
    });
    let server = listen(builder).await;
    let _clients = [
        server.join("panic").await,
        server.join("hang").await,
        server.join("fine").await,
    ];
    assert_eq!(logged(&log, 1).await, ["fine"]);
    // A hook that hangs does not keep a shutdown waiting beyond its deadline.
    let report = server.server.shutdown(Duration::from_millis(200)).await;
    assert!(!report.hooks_finished);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_join_has_one_leave_however_the_connection_ends() {
    let counts = Arc::new(Mutex::new(std::collections::HashMap::new()));
    let (joined, left) = (Arc::clone(&counts), Arc::clone(&counts));
    let builder = echoing()
        .on_join(move |connection| {
            let counts = Arc::clone(&joined);
            async move {
                counts
                    .lock()
                    .unwrap()
                    .entry(connection.id().to_owned())
                    .or_insert((0, 0))
                    .0 += 1;
            }
        })
        .on_leave(move |connection| {
            let counts = Arc::clone(&left);
            async move {
                counts
                    .lock()
                    .unwrap()
                    .entry(connection.id().to_owned())
                    .or_insert((0, 0))
                    .1 += 1;
            }
        });
    let server = listen(builder).await;
    for n in 0..60 {
        let channel = format!("room{}", n % 3);
        let mut client = server.join(&channel).await;
        match n % 4 {
            0 => client.leave().await,
            1 => drop(client),
            2 => {
                client.send("leave.success", json!(null)).await;
                assert_eq!(client.next().await["type"], "leave.success");
                assert_eq!(client.close_code().await, 1000);
            }
            _ => {
                server.server.close_channel(&channel);
                assert_eq!(client.close_code().await, 1000);
            }
        }
    }
    until("all have left", || server.server.stats().connections == 0).await;
    // It waits for all hooks, so that one that is called twice is seen.
    assert!(server.server.shutdown(PATIENCE).await.hooks_finished);
    let counts = counts.lock().unwrap();
    assert_eq!(counts.len(), 60);
    assert!(counts.values().all(|count| *count == (1, 1)), "{counts:?}");
}

#[tokio::test]
async fn a_channel_whose_hooks_are_behind_takes_no_more_members() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let builder = echoing()
        .on_join(move |_| {
            let gate = Arc::clone(&opened);
            async move { gate.acquire().await.unwrap().forget() }
        })
        .on_leave(|_| async {});
    are_behind(builder, gate).await;
}

/// Each client creates the channel, and its leave ends it.
#[tokio::test]
async fn a_channel_whose_own_hooks_are_behind_takes_no_more_members() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let builder = echoing()
        .on_channel_create(move |_| {
            let gate = Arc::clone(&opened);
            async move { gate.acquire().await.unwrap().forget() }
        })
        .on_channel_close(|_, _| async {});
    are_behind(builder, gate).await;
}

/// Joins and leaves until a client is refused. The first hook of each takes a permit.
async fn are_behind(builder: ServerBuilder, gate: Arc<tokio::sync::Semaphore>) {
    let server = listen(builder).await;
    let mut joins = 0;
    let status = loop {
        match server.connect_with(server.request("room")).await {
            Ok(client) => client.leave().await,
            Err(Error::Http(response)) => break response.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
        joins += 1;
        assert!(joins < 2000, "nobody is refused");
    };
    assert_eq!(status, 503);
    assert!(joins > 500, "{joins}");
    // Other channels go on, and so does this one when the hooks have caught up.
    server.join("other").await.leave().await;
    gate.add_permits(10_000);
    until("the hooks have caught up", || {
        gate.available_permits() + joins < 10_000
    })
    .await;
    server.join("room").await.leave().await;
}

/// Each client opens a channel of its own, and leaves it: its hooks outlive it.
#[tokio::test]
async fn channels_that_ended_and_wait_for_their_hooks_are_bounded() {
    const CHANNELS: usize = 20;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let builder = echoing()
        .limits(Limits::default().channels(CHANNELS))
        .on_leave(move |_| {
            let gate = Arc::clone(&opened);
            async move { gate.acquire().await.unwrap().forget() }
        });
    let server = listen(builder).await;
    let keeper = server.join("kept").await;
    let mut joins = 0;
    let status = loop {
        let request = server.request(&format!("room{joins}"));
        match server.connect_with(request).await {
            Ok(client) => client.leave().await,
            Err(Error::Http(response)) => break response.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
        joins += 1;
        until("it has left", || server.server.stats().left == joins).await;
        assert!(joins < 100, "nobody is refused");
    };
    assert_eq!((status, joins), (503, CHANNELS as u64 + 1));
    // A channel that has members goes on, and new ones do when the hooks have caught up.
    let other = server.join("kept").await;
    gate.add_permits(10_000);
    until("the hooks have caught up", || {
        gate.available_permits() + CHANNELS < 10_000
    })
    .await;
    let renewed = async {
        while server.connect_with(server.request("new")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let renewed = tokio::time::timeout(PATIENCE, renewed).await;
    renewed.expect("a new channel is opened in time");
    drop((keeper, other));
}
