//! Coming back to a server that keeps a history.

use std::sync::Arc;
use std::time::Duration;

use fanfeed_sockets::{
    Client, ClientEventKind, HEADER_CHANNEL_GAP, JoinOptions, Membership, Message, Request, Server,
};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::common::{Events, Server as Scripted, quick, within};

/// Carries connections to a server, which may change, and cuts them.
struct Line {
    url: String,
    to: Arc<Mutex<Option<std::net::SocketAddr>>>,
    carried: Arc<Mutex<JoinSet<()>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Line {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("ws://{}", listener.local_addr().expect("it is bound"));
        let to = Arc::new(Mutex::new(None));
        let carried = Arc::new(Mutex::new(JoinSet::new()));
        let (target, set) = (Arc::clone(&to), Arc::clone(&carried));
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let target = *target.lock();
                set.lock().spawn(async move {
                    let Some(target) = target else { return };
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self {
            url,
            to,
            carried,
            accepting,
        }
    }

    /// Leads to a server from now on.
    async fn lead(&self, server: &Server) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        *self.to.lock() = Some(listener.local_addr().expect("it is bound"));
        let server = server.clone();
        tokio::spawn(async move { server.serve(listener).await });
    }

    /// Ends all connections, and refuses others until it leads to a server again.
    fn cut(&self) -> Option<std::net::SocketAddr> {
        let target = self.to.lock().take();
        self.carried.lock().abort_all();
        target
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Watched {
    client: Client,
    _room: Membership,
    numbers: mpsc::UnboundedReceiver<u32>,
    gaps: mpsc::UnboundedReceiver<Option<String>>,
    events: Events,
}

/// A client that has joined, and whose listeners tell the numbers and the gaps that they get.
async fn watched(line: &Line) -> Watched {
    let (number, numbers) = mpsc::unbounded_channel();
    let (gap, gaps) = mpsc::unbounded_channel();
    let client = quick()
        .listen("n", move |request: Request| {
            let told = request.bind::<u32>().map(|n| number.send(n));
            async move {
                let _ = told?;
                Ok(None)
            }
        })
        .listen("join.success", move |request: Request| {
            let _ = gap.send(
                request
                    .message()
                    .header(HEADER_CHANNEL_GAP)
                    .map(str::to_owned),
            );
            async { Ok(None) }
        })
        .build()
        .expect("a runtime");
    let events = Events::of(&client);
    let room = client
        .join(&line.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let mut watched = Watched {
        client,
        _room: room,
        numbers,
        gaps,
        events,
    };
    assert_eq!(watched.gap().await, None);
    watched
}

impl Watched {
    async fn gap(&mut self) -> Option<String> {
        within("join.success", self.gaps.recv())
            .await
            .expect("the listener lives")
    }

    async fn expect(&mut self, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            assert_eq!(within("a number", self.numbers.recv()).await, Some(number));
        }
    }

    async fn disconnected(&mut self) {
        self.events
            .until("the cut", |kind| {
                matches!(kind, ClientEventKind::Disconnected(_)).then_some(())
            })
            .await;
    }
}

fn broadcast(server: &Server, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        let message = Message::new("n", "", "room")
            .with_body(&number)
            .expect("JSON");
        server.broadcast("room", message);
    }
}

fn keeping(messages: usize) -> Server {
    Server::builder()
        .history(messages)
        .history_retention(Duration::from_secs(600))
        .build()
        .expect("the settings are valid")
}

#[tokio::test]
async fn a_client_that_comes_back_gets_each_message_once() {
    let server = keeping(100);
    let line = Line::new().await;
    line.lead(&server).await;
    let mut client = watched(&line).await;
    broadcast(&server, 1..=10);
    client.expect(1..=10).await;
    for round in 1..4 {
        let target = line.cut();
        client.disconnected().await;
        let first = round * 10 + 1;
        broadcast(&server, first..first + 10);
        *line.to.lock() = target;
        assert_eq!(client.gap().await.as_deref(), Some("0"));
        client.expect(first..first + 10).await;
    }
    broadcast(&server, [99]);
    client.expect([99]).await;
    client.client.close().await;
    assert_eq!(client.numbers.try_recv().ok(), None);
}

#[tokio::test]
async fn a_gap_is_told_with_its_size() {
    let server = keeping(5);
    let line = Line::new().await;
    line.lead(&server).await;
    let mut client = watched(&line).await;
    broadcast(&server, 1..=10);
    client.expect(1..=10).await;
    let target = line.cut();
    client.disconnected().await;
    broadcast(&server, 11..=20);
    *line.to.lock() = target;
    assert_eq!(client.gap().await.as_deref(), Some("5"));
    client.expect(16..=20).await;
}

#[tokio::test]
async fn after_a_restart_of_the_server_the_gap_is_unknown() {
    let line = Line::new().await;
    let server = keeping(100);
    line.lead(&server).await;
    let mut client = watched(&line).await;
    broadcast(&server, 1..=3);
    client.expect(1..=3).await;
    line.cut();
    client.disconnected().await;
    let restarted = keeping(100);
    line.lead(&restarted).await;
    assert_eq!(client.gap().await.as_deref(), Some("unknown"));
    broadcast(&restarted, 4..=5);
    client.expect(4..=5).await;
    // From then on it is in the new epoch.
    let target = line.cut();
    client.disconnected().await;
    broadcast(&restarted, 6..=7);
    *line.to.lock() = target;
    assert_eq!(client.gap().await.as_deref(), Some("0"));
    client.expect(6..=7).await;
}

#[tokio::test]
async fn only_a_place_that_a_server_takes_is_shown_to_it() {
    let mut server = Scripted::start().await;
    let client = quick().build().expect("a runtime");
    let options = JoinOptions::new()
        .header("X-Channel-Epoch", "first")
        .header("X-Channel-Position", "1");
    let room = client
        .join(&server.url, "room", options)
        .await
        .expect("joined");
    let shown = |headers: &tokio_tungstenite::tungstenite::http::HeaderMap| {
        let all = |name| {
            let values = headers.get_all(name).into_iter();
            values
                .map(|value| value.to_str().expect("text").to_owned())
                .collect::<Vec<_>>()
        };
        (all("x-channel-epoch"), all("x-channel-position"))
    };
    let place = |epoch: &str, position: &str| (vec![epoch.to_owned()], vec![position.to_owned()]);
    let mut peer = server.peer().await;
    assert_eq!(shown(&peer.headers), place("first", "1"));
    for (epoch, position, expected) in [
        ("second", "7", place("second", "7")),
        ("second", "eight", place("second", "7")),
        ("a\nb", "8", place("second", "7")),
        ("third", "0", place("third", "0")),
    ] {
        let mut message = Message::new("join.success", "member", "room");
        message.set_header("X-Channel-Epoch", epoch);
        message.set_header("X-Channel-Position", position);
        peer.send_message(&message).await;
        within("join.success", room.joined()).await.expect("joined");
        peer.close(Some(1012)).await;
        peer = server.peer().await;
        assert_eq!(shown(&peer.headers), expected);
    }
    let other = client
        .join(&server.url, "other", JoinOptions::new())
        .await
        .expect("joined");
    server.peer().await.reset();
    assert_eq!(shown(&server.peer().await.headers), (vec![], vec![]));
    drop(other);
}
