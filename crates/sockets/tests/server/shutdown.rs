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
