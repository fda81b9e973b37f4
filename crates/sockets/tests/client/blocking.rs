//! Clients of programs without a runtime: the one that blocks its caller, and a plain one that is
//! closed outside of its runtime.

use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use fanfeed_sockets::{
    BlockingClient, BlockingError, Client, JoinOptions, LeaveReason, Message, PublishFault,
    Request, RequestError,
};
use parking_lot::Mutex;

use super::common::{PATIENCE, Server};

/// A server on a thread with a runtime of its own, which echoes each message with the key `echo`,
/// but for those with the key `mute`.
fn echo() -> (String, mpsc::Receiver<Option<u16>>) {
    let (sender, url) = mpsc::channel();
    let (closed, codes) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async move {
            let mut server = Server::start().await;
            let _ = sender.send(server.url.clone());
            let mut peer = server.peer().await;
            peer.welcome("member").await;
            while let Some(frame) = peer.frame().await {
                use tokio_tungstenite::tungstenite::Message as Frame;
                match frame {
                    Frame::Text(text) => {
                        let Ok(fanfeed_sockets::Incoming::Message(mut message)) =
                            fanfeed_sockets::decode(text.as_bytes())
                        else {
                            panic!("no message: {text}");
                        };
                        let mut answer = message.new_from("echo");
                        answer.take_body(&mut message);
                        if message.key() != "mute" {
                            peer.send_message(&answer).await;
                        }
                    }
                    Frame::Close(frame) => {
                        let _ = closed.send(frame.map(|frame| u16::from(frame.code)));
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
    });
    (
        url.recv_timeout(PATIENCE).expect("the server starts"),
        codes,
    )
}

#[test]
fn a_program_without_a_runtime_joins_publishes_asks_and_leaves() {
    let (url, codes) = echo();
    let (sender, echoes) = mpsc::channel();
    let client = Client::builder()
        .listen_blocking("echo", move |request| {
            let _ = sender.send(request.bind::<String>()?);
            Ok(None)
        })
        .build_blocking()
        .expect("a thread");
    let room = client
        .join(&url, "room", JoinOptions::new())
        .expect("joined");
    assert_eq!(&*room.joined().expect("joined"), "member");
    client
        .publish(
            Message::new("say", "", "room")
                .with_body("hi")
                .expect("JSON"),
        )
        .expect("written");
    assert_eq!(echoes.recv_timeout(PATIENCE).expect("an echo"), "hi");
    let question = Message::new("ask", "", "").with_body(&5).expect("JSON");
    let answer = room.request(question, PATIENCE).expect("an answer");
    assert_eq!(answer.raw_body(), "5");
    room.leave().expect("left");
    assert_eq!(codes.recv_timeout(PATIENCE), Ok(Some(1000)));
    assert!(!client.has_channel("room"));
    match room.publish(Message::new("say", "", "")) {
        Err(BlockingError::Failed(error)) => assert_eq!(error.fault(), PublishFault::NotJoined),
        other => panic!("{other:?}"),
    }
    client.close().expect("closed");
    client.close().expect("closed");
}

#[test]
fn a_blocking_listener_may_call_its_own_client() {
    let (url, _codes) = echo();
    let (sender, answers) = mpsc::channel();
    let own: Arc<Mutex<Option<BlockingClient>>> = Arc::default();
    let shared = Arc::clone(&own);
    let client = Client::builder()
        .listen_blocking("join.success", move |_| {
            let client = shared.lock().clone().expect("it is there");
            let question = Message::new("ask", "", "room").with_body(&1).expect("JSON");
            let _ = sender.send(
                client
                    .request(question, PATIENCE)
                    .map_err(|error| error.to_string()),
            );
            Ok(None)
        })
        .build_blocking()
        .expect("a thread");
    *own.lock() = Some(client.clone());
    client
        .join(&url, "room", JoinOptions::new())
        .expect("joined");
    let answer = answers
        .recv_timeout(PATIENCE)
        .expect("an answer")
        .expect("an answer");
    assert_eq!(answer.key(), "echo");
    own.lock().take();
}

#[test]
fn an_async_listener_that_would_block_its_own_thread_is_told() {
    let (url, _codes) = echo();
    let (sender, results) = mpsc::channel();
    let own: Arc<Mutex<Option<BlockingClient>>> = Arc::default();
    let shared = Arc::clone(&own);
    let client = Client::builder()
        .listen("join.success", move |_: Request| {
            let client = shared.lock().clone().expect("it is there");
            let result = client.request(Message::new("ask", "", "room"), PATIENCE);
            let _ = sender.send(matches!(result, Err(BlockingError::WouldDeadlock)));
            async { Ok(None) }
        })
        .build_blocking()
        .expect("a thread");
    *own.lock() = Some(client.clone());
    client
        .join(&url, "room", JoinOptions::new())
        .expect("joined");
    assert_eq!(results.recv_timeout(PATIENCE), Ok(true));
    own.lock().take();
}

#[test]
fn a_listener_that_blocks_for_ever_holds_up_nothing() {
    let (url, codes) = echo();
    let (started, start) = mpsc::channel();
    let (hold, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let client = Client::builder()
        .listen_blocking("echo", move |_| {
            let _ = started.send(());
            let _ = held.lock().recv();
            Ok(None)
        })
        .build_blocking()
        .expect("a thread");
    let room = client
        .join(&url, "room", JoinOptions::new())
        .expect("joined");
    client
        .publish(Message::new("say", "", "room"))
        .expect("written");
    start.recv_timeout(PATIENCE).expect("the listener blocks");
    room.request(Message::new("ask", "", ""), PATIENCE)
        .expect("an answer");
    drop(client);
    assert_eq!(codes.recv_timeout(PATIENCE), Ok(Some(1001)));
    assert!(matches!(room.over(), Ok(LeaveReason::ClientClosed)));
    drop(hold);
}

#[tokio::test]
async fn it_is_used_and_dropped_inside_async_code() {
    let (url, codes) = echo();
    let client = Client::builder().build_blocking().expect("a thread");
    let room = client
        .join(&url, "room", JoinOptions::new())
        .expect("joined");
    let timeout = room.request(Message::new("mute", "", ""), Duration::ZERO);
    assert!(
        matches!(
            &timeout,
            Err(BlockingError::Failed(RequestError::Timeout(_)))
        ),
        "{timeout:?}"
    );
    // The futures of its publisher are polled on this runtime.
    let publisher = client.publisher();
    let question = Message::new("ask", "", "room");
    let answer = fanfeed_sockets::ClientPublisher::request(&publisher, question, PATIENCE).await;
    assert_eq!(answer.expect("an answer").key(), "echo");
    drop((room, client));
    assert_eq!(codes.recv_timeout(PATIENCE), Ok(Some(1001)));
    // A handle that outlives the client's thread fails, and does not hang.
    drop(publisher);
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future outside of any runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let started = Instant::now();
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return done;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain");
        thread::park_timeout(PATIENCE);
    }
}

#[test]
fn a_client_is_closed_outside_of_its_runtime_though_its_logger_stalls() {
    for is_shut_down in [false, true] {
        let (url, _codes) = echo();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (go, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let (tell, told) = mpsc::channel();
        let builder = Client::builder().logger(move |event| {
            let _ = tell.send(event.clone());
            // Waits at the first event until the sender is dropped.
            let _ = gate.lock().recv();
        });
        let entered = runtime.enter();
        let client = builder.build().expect("a runtime");
        drop(entered);
        let room = block_on(client.join(&url, "room", JoinOptions::new())).expect("joined");
        told.recv_timeout(PATIENCE).expect("the logger is called");
        let runtime = match is_shut_down {
            true => {
                runtime.shutdown_timeout(PATIENCE);
                None
            }
            false => Some(runtime),
        };
        block_on(client.close());
        drop((room, go, runtime));
    }
}
