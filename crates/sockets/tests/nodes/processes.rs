//! Nodes that are processes, over brokers with real servers.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed_broker::driver::EngineOptions;
use fanfeed_broker::{Broker, Drivers};
use fanfeed_sockets::{NodeEvent, NodeOptions, Server};
use fanfeed_testkit::{NatsServer, RedisServer, Release};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::fleet::{events_until, message};
use crate::support::{Client, Listening, PATIENCE, echoing, listen, until};

/// In the environment of a process that is to be a node.
const URL: &str = "FANFEED_NODE_URL";
const INTERVAL: Duration = Duration::from_millis(500);

/// Blocks, so it is called outside of the runtime.
fn connect(url: &str) -> Arc<dyn Broker> {
    let drivers = Drivers::new()
        .with(fanfeed_redis::driver())
        .with(fanfeed_nats::driver());
    drivers.connect_with(url, EngineOptions::new()).unwrap()
}

async fn node(broker: Arc<dyn Broker>) -> Listening {
    let options = NodeOptions::new(broker)
        .interval(INTERVAL)
        .patience(PATIENCE);
    listen(echoing().history(100).nodes(options)).await
}

/// In the process that another one started as a node, serves until it is killed.
fn be_a_node_if_child() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let broker = connect(&url);
    Runtime::new().unwrap().block_on(async {
        let node = node(broker).await;
        println!("\naddress {}", node.address);
        std::future::pending::<()>().await;
    });
}

/// A node in a process of its own, which is killed on drop.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// The process is this test binary, which runs `test` alone.
    fn start(test: &str, url: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(URL, url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("address ")?.parse().ok());
        Self {
            address: address.expect("the node says its address"),
            child,
        }
    }

    async fn join(&self, server: &Server, path: &str) -> Client {
        // Only the address counts.
        let node = Listening {
            server: server.clone(),
            address: self.address,
            task: tokio::spawn(async { Ok(()) }),
        };
        node.join(path).await
    }

    /// With SIGKILL.
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn expect(
    members: &mut [&mut Client],
    bodies: impl IntoIterator<Item = u64> + Clone,
) -> Value {
    let mut last = Value::Null;
    for member in members {
        for body in bodies.clone() {
            last = member.next().await;
            assert_eq!(last["body"], body, "{last}");
        }
    }
    last
}

/// What holds over each broker. `restart` kills its server and starts it again.
fn serve_one_audience(test: &str, url: &str, restart: impl FnOnce()) {
    let runtime = Runtime::new().unwrap();
    let broker = connect(url);
    let (mut first, second) = (Process::start(test, url), Process::start(test, url));
    let here = runtime.block_on(node(Arc::clone(&broker)));
    let server = here.server.clone();
    let mut events = server.node_events().unwrap();
    let (mut a, mut b, mut c) = runtime.block_on(async {
        until("the nodes are known", || server.other_nodes().len() == 2).await;
        let mut a = first.join(&server, "room").await;
        let mut b = second.join(&server, "room").await;
        let mut c = here.join("room").await;
        let present = || server.presence("room").len();
        until("the members are known", || present() == 3).await;
        // Each once, in order, from here and from another node.
        for n in 0..300 {
            assert_eq!(server.broadcast("room", message("tick", n)), 1);
        }
        expect(&mut [&mut a, &mut b, &mut c], 0..300).await;
        for n in 300..320 {
            a.send("chat", json!(n)).await;
        }
        expect(&mut [&mut a, &mut b, &mut c], 300..320).await;
        // An answer from another node.
        let asker = server.clone();
        let asked = tokio::spawn(async move {
            asker
                .broadcast_await("room", message("ask", 1), PATIENCE)
                .await
        });
        let question = expect(&mut [&mut a, &mut c, &mut b], [1]).await;
        let id = &question["correlationId"];
        b.send_text(&json!({"type": "answer", "correlationId": id}).to_string())
            .await;
        assert_eq!(asked.await.unwrap().unwrap().client_id(), b.id);
        assert!(server.broadcast_direct(&b.id, message("direct", 2)));
        expect(&mut [&mut b], [2]).await;
        (a, b, c)
    });
    // A node is killed without a goodbye.
    let killed = Instant::now();
    first.kill();
    runtime.block_on(async {
        assert!(a.next_or_close().await.is_err());
        let present = || server.presence("room").len();
        until("its member is gone", || present() == 2).await;
        assert!(killed.elapsed() > 2 * INTERVAL, "{:?}", killed.elapsed());
        assert_eq!(server.other_nodes().len(), 1);
        let seen = events_until(&mut events, "the node is silent", |seen| {
            let is_silent = |event: &NodeEvent| matches!(event, NodeEvent::NodeSilent(_));
            seen.iter().any(is_silent)
        })
        .await;
        let is_left =
            |event: &&NodeEvent| matches!(event, NodeEvent::Left(at) if *at.client_id == *a.id);
        assert_eq!(seen.iter().filter(is_left).count(), 1, "{seen:?}");
        // The others go on, and a client of one of them comes back to what it missed.
        for n in 320..340 {
            server.broadcast("room", message("tick", n));
        }
        let last = expect(&mut [&mut c, &mut b], 320..340).await;
        let header = |name: &str| last["headers"][name][0].as_str().unwrap().to_owned();
        let (epoch, position) = (header("X-Channel-Epoch"), header("X-Channel-Position"));
        b.leave().await;
        until("it has left", || server.presence("room").len() == 1).await;
        for n in 340..350 {
            server.broadcast("room", message("tick", n));
        }
        expect(&mut [&mut c], 340..350).await;
        let path = format!("room?channelEpoch={epoch}&channelPosition={position}");
        let mut b = second.join(&server, &path).await;
        assert_eq!(b.welcome["headers"]["X-Channel-Gap"][0], "0");
        expect(&mut [&mut b], 340..350).await;
        // The server of the broker is killed: the members here go on, and later all do.
        tokio::task::block_in_place(restart);
        server.broadcast("room", message("tick", 350));
        expect(&mut [&mut c], [350]).await;
        let mut reached = 351;
        until("the nodes know each other again", || {
            server.presence("room").len() == 2
        })
        .await;
        let started = Instant::now();
        loop {
            server.broadcast("room", message("tick", reached));
            expect(&mut [&mut c], [reached]).await;
            let heard = tokio::time::timeout(INTERVAL, b.next()).await;
            if heard.is_ok_and(|heard| heard["body"].as_u64() >= Some(350)) {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "the other node hears nothing");
            reached += 1;
        }
        server.shutdown(PATIENCE).await;
    });
    drop(second);
    broker.close(PATIENCE).unwrap();
}

#[test]
fn over_redis_streams() {
    be_a_node_if_child();
    let test = "processes::over_redis_streams";
    let mut server = RedisServer::builder(Release::Old)
        .line("appendonly yes")
        .start();
    serve_one_audience(test, &server.url(), || server.restart());
}

#[test]
fn over_redis_pubsub() {
    be_a_node_if_child();
    let test = "processes::over_redis_pubsub";
    let mut server = RedisServer::start(Release::New);
    let url = format!("{}?mode=pubsub", server.url());
    serve_one_audience(test, &url, || server.restart());
}

#[test]
fn over_nats_core() {
    be_a_node_if_child();
    let test = "processes::over_nats_core";
    let mut server = NatsServer::start(Release::Old);
    let url = format!("{}?mode=core", server.url());
    serve_one_audience(test, &url, || server.restart());
}

#[test]
fn over_nats_jetstream() {
    be_a_node_if_child();
    let test = "processes::over_nats_jetstream";
    let mut server = NatsServer::builder(Release::New).jetstream().start();
    serve_one_audience(test, &server.url(), || server.restart());
}
