//! The end of a server.

use std::time::{Duration, Instant};

use fanfeed_sockets::{Health, Limits, Message, Request};
use serde_json::Value;

use crate::support::{Listening, PATIENCE, echoing, listen, until};

#[tokio::test]
async fn what_is_queued_is_sent_before_the_close_frame() {
    let server = listen(echoing()).await;
    let mut client = server.join("room").await;
    for n in 0..50 {
        let message = Message::new("tick", "", "").with_body(&n).unwrap();
        server.server.broadcast("room", message);
    }
    let handle = server.server.clone();
    let shutdown = tokio::spawn(async move { handle.shutdown(PATIENCE).await });
    for n in 0..50 {
        assert_eq!(client.next().await["body"], n);
    }
    assert_eq!(client.close_code().await, 1001);
    assert_eq!(shutdown.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_deadline_cuts_what_does_not_end() {
    let limits = Limits::default().close_time(PATIENCE);
    let builder = echoing()
        .limits(limits)
        .direct_handler("hang", |_: Request| async {
            std::future::pending::<()>().await;
            Ok(None)
        });
    let server = listen(builder).await;
    let mut client = server.join("room").await;
    client.send("hang", Value::Null).await;
    until("the handler runs", || server.server.stats().received == 1).await;
    let started = Instant::now();
    let report = server.server.shutdown(Duration::from_millis(200)).await;
    assert_eq!(report.cut, 1);
    assert!(started.elapsed() < PATIENCE);
    until("it is gone", || server.server.stats().connections == 0).await;
    assert_eq!(server.server.health(), Health::ShuttingDown);
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn nobody_joins_a_server_that_shuts_down() {
    let server = listen(echoing()).await;
    // The router outlives the listener of the server's own.
    let app = axum::Router::new().merge(server.server.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { axum::serve(listener, app).await });
    let other = Listening {
        server: server.server.clone(),
        address,
        task,
    };
    server.server.shutdown(PATIENCE).await;
    assert_eq!(other.refused(other.request("room")).await, 503);
    other.task.abort();
}

#[tokio::test]
async fn dropping_the_last_handle_ends_all_tasks() {
    let server = listen(echoing().channel_lifetime(Duration::from_secs(3600))).await;
    let mut client = server.join("room").await;
    let Listening { server, task, .. } = server;
    let metrics = tokio::runtime::Handle::current().metrics();
    assert!(metrics.num_alive_tasks() > 0);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    drop(server);
    assert_eq!(client.close_code().await, 1001);
    drop(client);
    until("all tasks have ended", || metrics.num_alive_tasks() == 0).await;
}

#[tokio::test]
async fn a_deadline_cuts_what_is_no_session_yet() {
    let started = std::sync::Arc::new(tokio::sync::Notify::new());
    let began = std::sync::Arc::clone(&started);
    let builder = echoing()
        .limits(Limits::default().handshake_time(PATIENCE))
        .authorize(move |_| {
            began.notify_one();
            std::future::pending()
        });
    let server = listen(builder).await;
    let request = server.request("room");
    let refused = async {
        let (report, status) = tokio::join!(
            async {
                started.notified().await;
                server.server.shutdown(Duration::from_millis(200)).await
            },
            server.refused(request),
        );
        assert_eq!((report.cut, status), (1, 503));
        until("it is gone", || server.server.stats().connections == 0).await;
    };
    tokio::time::timeout(PATIENCE / 4, refused).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE / 4, server.task).await;
    ended.unwrap().unwrap().unwrap();
}

/// An application whose route answers when it is let, and its server.
async fn slow_page(
    answer: std::sync::Arc<tokio::sync::Notify>,
) -> (Listening, tokio::sync::mpsc::Receiver<()>) {
    let (tell, told) = tokio::sync::mpsc::channel(1);
    let server = echoing().build().unwrap();
    let page = axum::routing::get(move || async move {
        let _ = tell.send(()).await;
        answer.notified().await;
        "x".repeat(100_000)
    });
    let app = axum::Router::new()
        .route("/page", page)
        .route("/quick", axum::routing::get(|| async { "quick" }))
        .nest("/ws", server.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = server.clone();
    let task = tokio::spawn(async move { serving.serve_router(listener, app).await });
    (
        Listening {
            server,
            address,
            task,
        },
        told,
    )
}

async fn get(server: &Listening, path: &str) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt;
    let mut stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_response_of_the_application_goes_out_before_the_server_has_shut_down() {
    use tokio::io::AsyncReadExt;
    let answer = std::sync::Arc::new(tokio::sync::Notify::new());
    let (server, mut asked) = slow_page(std::sync::Arc::clone(&answer)).await;
    // A connection that is kept open and idle does not hold up the end.
    let mut idle = get(&server, "/quick").await;
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let mut page = get(&server, "/page").await;
    asked.recv().await.unwrap();
    let handle = server.server.clone();
    let shutdown = tokio::spawn(async move { handle.shutdown(PATIENCE).await });
    until("it shuts down", || {
        server.server.health() == Health::ShuttingDown
    })
    .await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, idle.read_to_end(&mut rest)).await;
    ended.expect("the idle connection ends").unwrap();
    assert!(!shutdown.is_finished());
    answer.notify_one();
    let mut response = Vec::new();
    let read = tokio::time::timeout(PATIENCE, page.read_to_end(&mut response)).await;
    read.expect("the response, and its end").unwrap();
    assert!(response.starts_with(b"HTTP/1.1 200 OK"));
    assert!(
        response.ends_with(&[b'x'; 100_000]),
        "{} bytes",
        response.len()
    );
    assert_eq!(shutdown.await.unwrap().cut, 0);
    server.task.await.unwrap().unwrap();
}

/// A route and a handler of this very server begin the shutdown, and their answers go out.
#[tokio::test]
async fn what_the_server_serves_can_begin_its_shutdown() {
    use tokio::io::AsyncReadExt;
    let stop = |request: Request| async move {
        let client = request.connection().expect("a client's");
        let server = client.server().expect("it lives");
        server.broadcast_direct(client.id(), request.reply("stopping"));
        server.begin_shutdown();
        Ok(None)
    };
    for is_route in [true, false] {
        let server = echoing().direct_handler("stop", stop).build().unwrap();
        let admin = server.clone();
        let route = axum::routing::get(move || async move {
            admin.begin_shutdown();
            admin.begin_shutdown();
            "stopping"
        });
        let app = server.router().route("/admin/stop", route);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = server.clone();
        let task = tokio::spawn(async move { serving.serve_router(listener, app).await });
        let server = Listening {
            server,
            address,
            task,
        };
        let mut client = server.join("room").await;
        let handle = server.server.clone();
        let shutdown = tokio::spawn(async move {
            handle.shutdown_begun().await;
            handle.shutdown(PATIENCE).await
        });
        if is_route {
            let mut response = Vec::new();
            let mut page = get(&server, "/admin/stop").await;
            let read = tokio::time::timeout(PATIENCE, page.read_to_end(&mut response)).await;
            read.expect("the response, and its end").unwrap();
            assert!(response.ends_with(b"stopping"), "{response:?}");
        } else {
            client.send("stop", Value::Null).await;
            assert_eq!(client.next().await["type"], "stopping");
        }
        assert_eq!(client.close_code().await, 1001);
        drop(client);
        assert_eq!(shutdown.await.unwrap().cut, 0);
        server.task.await.unwrap().unwrap();
    }
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future outside of any runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return done;
        }
        std::thread::park_timeout(PATIENCE);
    }
}

#[test]
fn a_server_is_shut_down_outside_of_its_runtime() {
    let hang = |_: Request| std::future::pending::<fanfeed_sockets::Reply>();
    for is_cut in [false, true] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let limits = Limits::default().close_time(PATIENCE);
        let builder = echoing().limits(limits).direct_handler("hang", hang);
        let (server, mut client) = runtime.block_on(async {
            let server = listen(builder).await;
            let client = server.join("room").await;
            (server, client)
        });
        let deadline = match is_cut {
            true => {
                runtime.block_on(client.send("hang", Value::Null));
                runtime.block_on(until("the handler runs", || {
                    server.server.stats().received == 1
                }));
                Duration::from_millis(50)
            }
            false => PATIENCE,
        };
        let reading = runtime.spawn(async move { client.close_code().await });
        let report = block_on(server.server.shutdown(deadline));
        assert_eq!(report.cut, usize::from(is_cut));
        if !is_cut {
            assert_eq!(runtime.block_on(reading).unwrap(), 1001);
        }
    }
}

#[tokio::test]
async fn a_response_that_never_comes_is_cut_at_the_deadline() {
    use tokio::io::AsyncReadExt;
    let (server, mut asked) = slow_page(std::sync::Arc::default()).await;
    let mut page = get(&server, "/page").await;
    asked.recv().await.unwrap();
    let report = server.server.shutdown(Duration::from_millis(100)).await;
    assert_eq!(report.cut, 1);
    let ended = tokio::time::timeout(PATIENCE / 4, server.task).await;
    ended.expect("the listener ends").unwrap().unwrap();
    let mut response = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, page.read_to_end(&mut response))
        .await
        .expect("cut");
    assert!(response.is_empty(), "{response:?}");
}
