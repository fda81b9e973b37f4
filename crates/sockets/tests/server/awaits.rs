//! Questions to a channel.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use fanfeed_sockets::{AwaitError, Identity, Message, Server};
use serde_json::json;

use crate::support::{PATIENCE, echoing, listen, until};

fn question() -> Message {
    Message::new("question", "", "")
}

#[tokio::test]
async fn a_channel_without_members_is_an_error_at_once() {
    let server = listen(echoing()).await;
    let asked = server.server.broadcast_await("room", question(), PATIENCE);
    assert!(matches!(asked.await, Err(AwaitError::ChannelNotFound)));
}

#[tokio::test]
async fn a_question_that_nobody_answers_times_out() {
    let server = listen(echoing()).await;
    let mut member = server.join("room").await;
    let timeout = Duration::from_millis(50);
    let asked = server.server.broadcast_await("room", question(), timeout);
    assert!(matches!(asked.await, Err(AwaitError::Timeout)));
    // The late answer does not count as an unknown type, and gets no error message.
    let id = member.next().await["correlationId"].clone();
    let late = json!({"type": "answer", "correlationId": id}).to_string();
    member.send_text(&late).await;
    member.send("echo", json!(1)).await;
    assert_eq!(member.next().await["type"], "echoed");
    assert_eq!(server.server.stats().late_answers, 1);
}

/// A waker that uses the server: an executor's may poll at once.
struct Uses(Server, mpsc::Sender<bool>);

impl Wake for Uses {
    fn wake(self: Arc<Self>) {
        let _ = self.1.send(self.0.has_channel("room"));
    }
}

#[test]
fn an_asker_is_woken_without_a_lock() {
    for is_closed in [true, false] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (server, member) = runtime.block_on(async {
            let server = listen(echoing()).await;
            let member = server.join("room").await;
            (server, member)
        });
        let (tell, told) = mpsc::channel();
        let waker = Waker::from(Arc::new(Uses(server.server.clone(), tell)));
        let entered = runtime.enter();
        let mut asked = pin!(server.server.broadcast_await("room", question(), PATIENCE));
        let polled = asked.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        drop(entered);
        let (handle, inside) = (server.server.clone(), runtime.handle().clone());
        std::thread::spawn(move || {
            let _inside = inside.enter();
            match is_closed {
                true => drop(handle.close_channel("room")),
                false => drop(member),
            }
        });
        let has_channel = told.recv_timeout(PATIENCE);
        // If the thread hangs, a drop of the runtime would hang, too.
        runtime.shutdown_background();
        assert_eq!(has_channel, Ok(false));
    }
}

#[tokio::test]
async fn a_channel_that_empties_ends_the_question() {
    let server = listen(echoing()).await;
    let mut member = server.join("room").await;
    let asking = server.server.clone();
    let asked =
        tokio::spawn(async move { asking.broadcast_await("room", question(), PATIENCE).await });
    assert_eq!(member.next().await["type"], "question");
    member.leave().await;
    let answer = tokio::time::timeout(PATIENCE / 2, asked).await.unwrap();
    assert!(matches!(answer.unwrap(), Err(AwaitError::ChannelEmptied)));
}

#[tokio::test]
async fn a_channel_that_is_closed_ends_the_question() {
    let server = listen(echoing()).await;
    let mut member = server.join("room").await;
    let asking = server.server.clone();
    let asked =
        tokio::spawn(async move { asking.broadcast_await("room", question(), PATIENCE).await });
    assert_eq!(member.next().await["type"], "question");
    server.server.close_channel("room");
    assert!(matches!(
        asked.await.unwrap(),
        Err(AwaitError::ChannelEmptied)
    ));
}

#[tokio::test]
async fn an_error_message_is_an_answer_that_refuses() {
    let server = listen(echoing()).await;
    let mut member = server.join("room").await;
    let asking = server.server.clone();
    let asked =
        tokio::spawn(async move { asking.broadcast_await("room", question(), PATIENCE).await });
    let id = member.next().await["correlationId"].clone();
    let refusal = json!({"type": "error", "correlationId": id, "errorBody": "no"}).to_string();
    member.send_text(&refusal).await;
    match asked.await.unwrap() {
        Err(AwaitError::Refused(error)) => assert_eq!(error.bind::<String>().unwrap(), "no"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_error_message_that_answers_says_which_connection_sent_it() {
    let identity = |_| async { Ok(Identity::user("ada").app("editor")) };
    let server = listen(echoing().authorize(identity)).await;
    let mut member = server.join("room").await;
    let asking = server.server.clone();
    let asked =
        tokio::spawn(async move { asking.broadcast_await("room", question(), PATIENCE).await });
    let id = member.next().await["correlationId"].clone();
    let forged = json!({
        "type": "error", "correlationId": id, "clientId": "forged", "channelId": "x",
        "userId": "root", "appId": "admin",
    });
    member.send_text(&forged.to_string()).await;
    let Err(AwaitError::Refused(error)) = asked.await.unwrap() else {
        panic!("an error message refuses");
    };
    assert_eq!(error.client_id(), member.id);
    assert_eq!(error.channel_id(), "room");
    assert_eq!(error.user_id(), "ada");
    assert_eq!(error.app_id(), "editor");
}

#[tokio::test]
async fn an_asker_that_gives_up_leaves_nothing_behind() {
    let server = listen(echoing()).await;
    let mut member = server.join("room").await;
    let asking = server.server.clone();
    let asked =
        tokio::spawn(async move { asking.broadcast_await("room", question(), PATIENCE).await });
    let id = member.next().await["correlationId"].clone();
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    let late = json!({"type": "answer", "correlationId": id}).to_string();
    member.send_text(&late).await;
    until("the answer is late", || {
        server.server.stats().late_answers == 1
    })
    .await;
}
