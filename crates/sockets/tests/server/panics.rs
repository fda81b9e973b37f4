//! Code of the application that panics, or uses the server where the server calls it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanfeed_sockets::{Request, Server, ServerBuilder};
use serde_json::{Value, json};

use crate::support::{PATIENCE, echoing, listen, until};

/// An error whose text panics.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("in Display")
    }
}

impl std::error::Error for Broken {}

fn failing() -> ServerBuilder {
    echoing().direct_handler("fail", |_: Request| async { Err(Broken.into()) })
}

#[tokio::test]
async fn reports_that_panic_do_not_cost_the_connection() {
    for builder in [
        failing().on_error(|_, _| panic!("in on_error")),
        failing().expose_errors(true),
    ] {
        let server = listen(builder).await;
        let mut client = server.join("room").await;
        client.send("fail", Value::Null).await;
        let error = client.next().await;
        assert_eq!(error["type"], "error");
        assert_eq!(error["errorBody"]["ErrCode"], "500");
        assert!(!error.to_string().contains("in on_error"), "{error}");
        client.send("echo", json!(1)).await;
        assert_eq!(client.next().await["body"], 1);
    }
}

#[tokio::test]
async fn an_authorization_that_panics_is_a_status() {
    let builder = echoing().authorize(|request| {
        assert_ne!(request.channel(), "call");
        async move {
            assert_ne!(request.channel(), "future");
            Ok(fanfeed_sockets::Identity::anonymous())
        }
    });
    let server = listen(builder).await;
    for channel in ["call", "future"] {
        assert_eq!(server.refused(server.request(channel)).await, 500);
    }
    assert_eq!(server.server.stats().refused, 2);
    until("nothing is left", || server.server.stats().connections == 0).await;
    server.join("fine").await;
}

#[tokio::test]
async fn a_lifetime_that_panics_closes_with_a_code() {
    let builder = echoing().channel_lifetime_with(|channel| {
        assert_ne!(channel, "panic");
        None
    });
    let server = listen(builder).await;
    let mut client = server.connect("panic").await;
    assert_eq!(client.close_code().await, 1011);
    assert!(!server.server.has_channel("panic"));
    server.join("fine").await;
}

#[tokio::test]
async fn a_lifetime_may_use_the_server() {
    let cell: Arc<OnceLock<Server>> = Arc::default();
    let used = Arc::clone(&cell);
    let builder = echoing().channel_lifetime_with(move |channel| {
        let server = used.get().unwrap();
        (!server.has_channel(channel)).then_some(Duration::from_secs(3600))
    });
    // On a runtime of its own, whose threads a deadlock would keep.
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = listen(builder).await;
            assert!(cell.set(server.server.clone()).is_ok());
            let welcome = server.join("room").await.welcome;
            tx.send(welcome).unwrap();
        });
    });
    let welcome = rx.recv_timeout(PATIENCE / 8).expect("no deadlock");
    assert!(
        welcome["headers"]["X-Channel-Expires"].is_array(),
        "{welcome}"
    );
}
