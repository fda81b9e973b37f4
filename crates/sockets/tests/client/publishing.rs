//! Joining, publishing and requests.

use std::time::Duration;

use fanfeed_sockets::{
    Client, ClientPublisher, JoinError, JoinOptions, Message, PublishFault, RequestError,
};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::common::{PATIENCE, Server, quick, within};

#[tokio::test]
async fn joining_sends_the_headers_and_parameters_and_waits_for_the_upgrade() {
    let mut server = Server::start().await;
    let client = quick().build().expect("a runtime");
    let options = JoinOptions::new()
        .header("x-token", "secret")
        .param("b", "2")
        .param("a", "1 &");
    let room = client
        .join(&server.url, "room 1/é", options)
        .await
        .expect("it is joined");
    let mut peer = server.peer().await;
    assert_eq!(peer.path, "/ws/room%201%2F%C3%A9?a=1%20%26&b=2");
    assert_eq!(peer.headers["x-token"], "secret");
    assert!(!peer.headers.contains_key("sec-websocket-protocol"));
    assert!(!peer.headers.contains_key("sec-websocket-extensions"));
    assert_eq!((room.channel(), room.client_id()), ("room 1/é", None));
    peer.welcome("member-1").await;
    let id = within("join.success", room.joined())
        .await
        .expect("it is joined");
    assert_eq!(&*id, "member-1");
    assert!(client.has_channel("room 1/é"));
}

#[tokio::test]
async fn a_refused_upgrade_is_an_error_with_the_status() {
    let server = Server::answering(StatusCode::FORBIDDEN).await;
    let client = quick().build().expect("a runtime");
    let error = client.join(&server.url, "room", JoinOptions::new()).await;
    let error = error.expect_err("the server refuses");
    assert_eq!(error.status(), Some(403), "{error}");
    assert!(!client.has_channel("room"));
    // The place is free again.
    let error = client.join(&server.url, "room", JoinOptions::new()).await;
    assert_eq!(error.expect_err("the server refuses").status(), Some(403));
}

#[tokio::test]
async fn a_server_that_is_not_there_or_silent_is_an_error() {
    let client = quick()
        .connect_timeout(Duration::from_millis(50))
        .build()
        .expect("a runtime");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let silent = client
        .join(&format!("ws://{address}"), "r", JoinOptions::new())
        .await;
    assert!(matches!(silent, Err(JoinError::Timeout(_))), "{silent:?}");
    drop(listener);
    let gone = client
        .join(&format!("ws://{address}"), "r", JoinOptions::new())
        .await;
    assert!(matches!(gone, Err(JoinError::Io(_))), "{gone:?}");
}

#[tokio::test]
async fn headers_that_cannot_be_sent_are_refused_without_their_values() {
    let client = quick().build().expect("a runtime");
    for (name, value) in [
        ("Connection", "hush"),
        ("sec-websocket-protocol", "hush"),
        ("x a", "hush"),
        ("x-a", "hush\r\nx-b: 1"),
    ] {
        let options = JoinOptions::new().header(name, value);
        let error = client.join("ws://127.0.0.1:1", "room", options).await;
        let error = error.expect_err("it cannot be sent");
        assert!(matches!(error, JoinError::BadHeader { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
    }
}

#[tokio::test]
async fn a_channel_is_joined_once_at_a_host() {
    let mut server = Server::start().await;
    let client = quick().build().expect("a runtime");
    let room = client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("joined");
    let again = client.join(&server.url, "room", JoinOptions::new()).await;
    assert!(matches!(again, Err(JoinError::AlreadyJoined)), "{again:?}");
    let mut peer = server.peer().await;
    let (_, code) = tokio::join!(room.leave(), peer.closed_with());
    assert_eq!(code, Some(1000));
    client
        .join(&server.url, "room", JoinOptions::new())
        .await
        .expect("it is free again");
}

#[tokio::test]
async fn a_message_carries_the_channel_and_the_client_id() {
    let mut server = Server::start().await;
    let client = quick().build().expect("a runtime");
    let (room, mut peer) = server.joined(&client, "room").await;
    let message = || {
        Message::new("chat", "forged", "room")
            .with_body("hi")
            .expect("JSON")
    };
    client.publish(message()).await.expect("it is written");
    let text = peer.text().await;
    assert!(
        text.ends_with("}\n") && text.contains("\"clientID\":\"\""),
        "{text}"
    );
    peer.welcome("member-1").await;
    room.joined().await.expect("it is joined");
    room.publish(message()).await.expect("it is written");
    let got = peer.message().await;
    assert_eq!(
        (got.client_id(), got.channel_id(), got.raw_body()),
        ("member-1", "room", "\"hi\"")
    );
    client
        .publisher()
        .try_publish(message())
        .expect("there is room");
    assert_eq!(peer.message().await.key(), "chat");
}

#[tokio::test]
async fn messages_arrive_in_the_order_published() {
    let mut server = Server::start().await;
    let client = quick().build().expect("a runtime");
    let (room, mut peer) = server.joined(&client, "room").await;
    for number in 0..200 {
        let message = Message::new("n", "", "").with_body(&number).expect("JSON");
        room.try_publish(message).expect("there is room");
    }
    for number in 0..200 {
        assert_eq!(
            peer.message().await.bind::<u32>().expect("a number"),
            number
        );
    }
}

#[tokio::test]
async fn what_cannot_be_published_is_given_back() {
    let mut server = Server::start().await;
    let client = quick().max_publish_bytes(512).build().expect("a runtime");
    let (room, _peer) = server.joined(&client, "room").await;
    let error = client
        .publish(Message::new("", "", "room"))
        .await
        .expect_err("no key");
    assert_eq!(error.fault(), PublishFault::NoKey);
    let large = Message::new("k", "", "room")
        .with_body(&"x".repeat(600))
        .expect("JSON");
    let error = room.publish(large.clone()).await.expect_err("too large");
    assert!(
        matches!(error.fault(), PublishFault::TooLarge { limit: 512, .. }),
        "{error}"
    );
    assert_eq!(error.into_message().raw_body(), large.raw_body());
}

#[tokio::test]
async fn a_request_gets_its_answer() {
    let mut server = Server::start().await;
    let client = quick().build().expect("a runtime");
    let (room, mut peer) = server.joined(&client, "room").await;
    let asked = room.request(Message::new("ask", "", ""), PATIENCE);
    let answered = async {
        let question = peer.message().await;
        assert!(!question.correlation_id().is_empty());
        peer.send_message(&Message::new("other", "", "room")).await;
        let answer = question.new_from("answer").with_body(&42).expect("JSON");
        peer.send_message(&answer).await;
    };
    let (answer, ()) = tokio::join!(asked, answered);
    let answer = answer.expect("an answer");
    assert_eq!((answer.key(), answer.raw_body()), ("answer", "42"));
}

#[tokio::test]
async fn a_request_ends_by_an_error_message_a_timeout_or_the_connection() {
    let mut server = Server::start().await;
    let client = quick().build().expect("a runtime");
    let (room, mut peer) = server.joined(&client, "room").await;
    let ask = || Message::new("ask", "", "room");

    let asked = client.request(ask(), PATIENCE);
    let refused = async {
        let error = peer.message().await.to_error("no").expect("JSON");
        peer.send(error.encode()).await;
    };
    match tokio::join!(asked, refused).0 {
        Err(RequestError::Refused(error)) => assert_eq!(error.raw_body(), "\"no\""),
        other => panic!("{other:?} instead of the error message"),
    }

    let error = room.request(ask(), Duration::from_millis(20)).await;
    assert!(error.expect_err("nobody answers").is_timeout());
    peer.message().await;

    let mut named = ask();
    named.set_correlation_id("one");
    let first = room.request(named.clone(), PATIENCE);
    let second = async {
        peer.message().await;
        let twice = room.request(named.clone(), PATIENCE).await;
        assert!(
            matches!(twice, Err(RequestError::DuplicateCorrelationId)),
            "{twice:?}"
        );
        peer.reset();
    };
    let lost = tokio::join!(first, second).0;
    assert!(matches!(lost, Err(RequestError::Lost)), "{lost:?}");
}

#[tokio::test]
async fn a_late_answer_is_a_message_like_any_other() {
    let mut server = Server::start().await;
    let (sender, mut late) = tokio::sync::mpsc::unbounded_channel();
    let client = quick()
        .listen("answer", move |request: fanfeed_sockets::Request| {
            let _ = sender.send(request.into_message());
            async { Ok(None) }
        })
        .build()
        .expect("a runtime");
    let (room, mut peer) = server.joined(&client, "room").await;
    let asked = room
        .request(Message::new("ask", "", ""), Duration::from_millis(10))
        .await;
    assert!(asked.expect_err("nobody answers yet").is_timeout());
    let question = peer.message().await;
    peer.send_message(&question.new_from("answer")).await;
    let got = within("the late answer", late.recv())
        .await
        .expect("it is handled");
    assert_eq!(got.correlation_id(), question.correlation_id());
}

#[test]
fn a_client_without_a_runtime_says_what_is_missing() {
    let error = Client::builder().build().expect_err("there is no runtime");
    assert!(error.to_string().contains("runtime"), "{error}");
    let error = Client::builder()
        .ping_interval(PATIENCE)
        .silence_timeout(PATIENCE)
        .build_blocking()
        .expect_err("no time to answer a ping");
    assert!(error.to_string().contains("silence_timeout"), "{error}");
}

#[test]
fn a_client_that_could_not_work_is_not_built() {
    let never = |_: fanfeed_sockets::Request| async { Ok(None) };
    for (builder, what) in [
        (Client::builder().max_message_bytes(0), "max_message_bytes"),
        (Client::builder().max_publish_bytes(0), "max_publish_bytes"),
        (Client::builder().listen("error", never), "on_server_error"),
    ] {
        let error = builder.build_blocking().expect_err(what).to_string();
        assert!(error.contains(what), "{error}");
    }
}
