//! The faults of the Go server, none of which this one has. Each test is named by its number in the
//! protocol's list.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fanfeed_sockets::{Identity, Limits, Message, Request, Server};
use serde_json::{Value, json};

use crate::support::{PATIENCE, echoing, listen, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_direct_replies_go_to_their_own_client() {
    let server = Arc::new(listen(echoing()).await);
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..60 {
        let server = Arc::clone(&server);
        tasks.spawn(async move {
            let mut member = server.join("room").await;
            for n in 0..20 {
                member.send("echo", json!([client, n])).await;
            }
            for n in 0..20 {
                let reply = member.next().await;
                assert_eq!(reply["type"], "echoed");
                assert_eq!(reply["body"], json!([client, n]));
                assert_eq!(reply["clientID"], member.id);
            }
            member
        });
    }
    assert_eq!(tasks.join_all().await.len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_many_outstanding_messages_arrive_whole_and_in_order() {
    // All of them fit into a member's queue, for a machine under load runs some of the sessions
    // late.
    let limits = Limits::default().queue_frames(400);
    let server = listen(echoing().limits(limits)).await;
    let mut members = Vec::new();
    for _ in 0..4 {
        members.push(server.join("room").await);
    }
    for n in 0..400 {
        members[0].send("chat", json!(n)).await;
    }
    for member in &mut members {
        for n in 0..400 {
            assert_eq!(member.next().await["body"], json!(n));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_client_that_does_not_read_holds_nobody_up() {
    // A server that waits for the slow one waits for longer than the test does.
    let limits = Limits::default()
        .queue_bytes(64 * 1024)
        .write_time(2 * PATIENCE)
        .idle_time(2 * PATIENCE);
    let server = listen(echoing().limits(limits)).await;
    let slow = server.join("room").await;
    let mut fast = server.join("room").await;
    let body = "x".repeat(16 * 1024);
    // More than sockets and queues hold.
    for n in 0..2000 {
        let message = Message::new("tick", "", "room")
            .with_body(&(n, &body))
            .unwrap();
        assert_ne!(server.server.broadcast("room", message), 0);
        assert_eq!(fast.next().await["body"][0], n);
    }
    until("the slow member is disconnected", || {
        server.server.members("room").len() == 1
    })
    .await;
    assert_eq!(server.server.stats().slow, 1);
    let mut other = server.join("other").await;
    other.send("echo", json!(1)).await;
    assert_eq!(other.next().await["body"], 1);
    drop(slow);
}

#[tokio::test]
async fn b4_close_channel_tells_the_members_and_disconnects_them() {
    let server = listen(echoing()).await;
    let (mut a, mut b) = (server.join("room").await, server.join("room").await);
    assert!(server.server.close_channel("room"));
    assert!(!server.server.has_channel("room"));
    for member in [&mut a, &mut b] {
        let last = member.next().await;
        assert_eq!(last["type"], "channel.closed");
        assert_eq!(last["clientID"], member.id);
        assert_eq!(last["channelId"], "room");
        assert_eq!(last["headers"], json!({}));
        assert_eq!(member.close_code().await, 1000);
    }
    assert!(!server.server.close_channel("room"));
    let again = server.join("room").await;
    assert_eq!(server.server.members("room").len(), 1);
    drop(again);
}

#[tokio::test]
async fn b5_a_channel_expires_to_the_second_and_says_when() {
    let lifetime = Duration::from_secs(2);
    let server = listen(echoing().channel_lifetime(lifetime)).await;
    let started = Instant::now();
    let before = time_now();
    let mut first = server.join("room").await;
    let expires = first.welcome["headers"]["X-Channel-Expires"].clone();
    let text = expires[0].as_str().unwrap();
    let stamp: fanfeed_sockets::Timestamp = text.parse().unwrap();
    assert!(text.ends_with('Z') && !text.contains('.'), "{text}");
    let expected = before + lifetime - Duration::from_secs(1);
    assert!(stamp.to_system_time().unwrap() >= expected, "{text}");
    // A late member does not extend it, and is told the same time.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut second = server.join("room").await;
    assert_eq!(second.welcome["headers"]["X-Channel-Expires"], expires);
    for member in [&mut first, &mut second] {
        let last = member.next().await;
        assert_eq!(last["type"], "channel.expired");
        assert_eq!(last["clientID"], member.id);
        assert_eq!(last["body"], Value::Null);
        assert_eq!(member.close_code().await, 1000);
    }
    assert!(started.elapsed() >= lifetime, "{:?}", started.elapsed());
    assert!(
        started.elapsed() < lifetime + Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert!(!server.server.has_channel("room"));
}

fn time_now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

#[tokio::test]
async fn b6_a_client_speaks_for_itself_and_its_channel_alone() {
    let identity = |_| async { Ok(Identity::user("ada").app("editor")) };
    let server = listen(echoing().authorize(identity)).await;
    let mut inside = server.join("room1").await;
    let mut outside = server.join("room2").await;
    let mut message = Message::new("chat", "somebody", "room1")
        .with_body("forged")
        .unwrap();
    message.set_user_id("root");
    message.set_app_id("admin");
    outside.send_message(&message).await;
    let heard = outside.next().await;
    assert_eq!(heard["channelId"], "room2");
    assert_eq!(heard["clientID"], outside.id);
    assert_eq!(heard["userId"], "ada");
    assert_eq!(heard["appId"], "editor");
    // Without a channel id it is not lost either.
    outside.send("chat", json!("plain")).await;
    assert_eq!(outside.next().await["body"], "plain");
    inside.send("echo", json!("mine")).await;
    assert_eq!(inside.next().await["type"], "echoed");
}

#[tokio::test]
async fn b8_unknown_types_and_malformed_input_are_answered() {
    let server = listen(echoing()).await;
    let mut client = server.join("room").await;
    client.send("nonsense", json!({"a": 1})).await;
    let error = client.next().await;
    assert_eq!(error["type"], "error");
    assert_eq!(error["originType"], "nonsense");
    assert_eq!(error["originBody"], json!({"a": 1}));
    assert_eq!(error["errorBody"]["ErrCode"], "404");
    for text in [
        "null",
        "",
        "[1]",
        "{",
        "\"text\"",
        "{\"type\":1}",
        "{\"timestamp\":\"\"}",
    ] {
        client.send_text(text).await;
        let error = client.next().await;
        assert_eq!(error["type"], "error", "{text}");
        assert_eq!(error["errorBody"]["ErrCode"], "400", "{text}");
        assert_eq!(error["channelId"], "room");
        assert_eq!(error["clientId"], client.id);
    }
    client.send("echo", json!("still here")).await;
    assert_eq!(client.next().await["body"], "still here");
    for _ in 0..20 {
        client.send_text("null").await;
    }
    assert_eq!(client.close_code().await, 1007);
}

#[tokio::test]
async fn b9_leaving_is_told_once_while_others_remain() {
    let left = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&left);
    let server = listen(echoing().on_leave(move |_| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }))
    .await;
    let (staying, leaving) = (server.join("room").await, server.join("room").await);
    leaving.leave().await;
    until("the leave is told", || left.load(Ordering::SeqCst) == 1).await;
    staying.leave().await;
    until("the other leave is told", || {
        left.load(Ordering::SeqCst) == 2
    })
    .await;
    // It waits for all hooks, so that one that is called twice is seen.
    assert!(server.server.shutdown(PATIENCE).await.hooks_finished);
    assert_eq!(left.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b11_channels_come_and_go_while_they_are_used() {
    let server = Arc::new(listen(echoing()).await);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let server = Arc::clone(&server);
        tasks.spawn(async move {
            for n in 0..30 {
                let channel = format!("room{}", (task + n) % 3);
                let mut client = server.join(&channel).await;
                client.send("echo", json!(n)).await;
                // Broadcasts of the others come between.
                while client.next().await["type"] != "echoed" {}
                server
                    .server
                    .broadcast(&channel, Message::new("tick", "", ""));
                server.server.members(&channel);
                server.server.has_channel(&channel);
                client.leave().await;
            }
        });
    }
    tasks.join_all().await;
    until("all have left", || server.server.stats().connections == 0).await;
    assert!(server.server.channels().is_empty());
}

#[tokio::test]
async fn b12_shutdown_sends_close_frames_and_ends() {
    let server = listen(echoing()).await;
    let mut clients = vec![
        server.join("a").await,
        server.join("a").await,
        server.join("b").await,
    ];
    let handle = server.server.clone();
    let shutdown = tokio::spawn(async move { handle.shutdown(PATIENCE).await });
    for client in &mut clients {
        assert_eq!(client.close_code().await, 1001);
    }
    drop(clients);
    assert_eq!(shutdown.await.unwrap().cut, 0);
    assert_eq!(
        server.server.broadcast("a", Message::new("late", "", "")),
        0
    );
    assert!(!server.server.has_channel("a"));
    let again = server.server.shutdown(PATIENCE).await;
    assert_eq!(again.cut, 0);
    server.task.await.unwrap().unwrap();
}

#[test]
fn b13_a_body_that_is_not_json_is_an_error_where_it_is_made() {
    let mut message = Message::new("tick", "", "room");
    assert!(message.set_raw_body("{broken").is_err());
    struct Broken;
    impl serde::Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("broken"))
        }
    }
    assert!(message.with_body(&Broken).is_err());
}

#[tokio::test]
async fn b14_hooks_and_handlers_may_use_the_server() {
    let seen = Arc::new(AtomicUsize::new(0));
    let hook = Arc::clone(&seen);
    let builder = Server::builder()
        .on_join(move |connection| {
            let hook = Arc::clone(&hook);
            async move {
                let server = connection.server().unwrap();
                assert!(server.has_channel(connection.channel()));
                server.broadcast(connection.channel(), Message::new("joined", "", ""));
                hook.fetch_add(1, Ordering::SeqCst);
            }
        })
        .direct_handler("ask", |request: Request| async move {
            let server = request.connection().unwrap().server().unwrap();
            let question = Message::new("question", "", "");
            let answer = server
                .broadcast_await(request.channel(), question, PATIENCE)
                .await?;
            let mut reply = request.reply("told");
            reply.copy_body(&answer);
            Ok(Some(reply))
        });
    let server = listen(builder).await;
    let mut client = server.join("room").await;
    assert_eq!(client.next().await["type"], "joined");
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    client.send("ask", Value::Null).await;
    let question = client.next().await;
    assert_eq!(question["type"], "question");
    // The handler of this very client is running, and the answer passes it by.
    let answer = json!({
        "type": "answer", "correlationId": question["correlationId"], "body": "42",
    });
    client.send_text(&answer.to_string()).await;
    let told = client.next().await;
    assert_eq!(
        (&told["type"], &told["body"]),
        (&json!("told"), &json!("42"))
    );
}

#[tokio::test]
async fn b14_a_long_handler_does_not_cost_the_connection() {
    let limits = Limits::default()
        .idle_time(Duration::from_millis(300))
        .ping_interval(Duration::from_millis(100))
        .inbox(1);
    let builder = echoing().direct_handler("slow", |request: Request| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(Some(request.reply("done")))
    });
    let server = listen(builder.limits(limits)).await;
    let mut client = server.join("room").await;
    // The last ones fill the inbox and the 64 KiB past it, so that the server does not read for
    // longer than silence may last.
    client.send("slow", Value::Null).await;
    for n in 0..200 {
        client.send("echo", json!(n)).await;
    }
    assert_eq!(client.next().await["type"], "done");
    for n in 0..200 {
        assert_eq!(client.next().await["body"], n);
    }
}

#[tokio::test]
async fn b15_identity_state_and_cancellation_reach_the_handler() {
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    let builder = Server::builder()
        .authorize(|request| async move {
            let token = request.param("token").unwrap_or_default();
            if token != "secret" {
                return Err(axum::http::StatusCode::UNAUTHORIZED.into());
            }
            Ok(Identity::user("ada").state(7_u32))
        })
        .direct_handler("wait", move |request: Request| {
            let tx = tx.clone();
            async move {
                assert_eq!(request.state::<u32>(), Some(&7));
                assert_eq!(request.message().user_id(), "ada");
                tx.send("started")?;
                request.cancel_token().cancelled().await;
                tx.send("cancelled")?;
                Ok(None)
            }
        });
    let server = listen(builder).await;
    assert_eq!(server.refused(server.request("room")).await, 401);
    let mut client = server.join("room?token=secret").await;
    client.send("wait", Value::Null).await;
    assert_eq!(rx.recv().await, Some("started"));
    drop(client);
    let cancelled = tokio::time::timeout(PATIENCE, rx.recv()).await;
    assert_eq!(cancelled.unwrap(), Some("cancelled"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_questions_have_ids_of_their_own_and_only_members_answer() {
    let server = Arc::new(listen(echoing()).await);
    let mut stranger = server.join("other").await;
    // A message without a correlation id is no answer.
    let mut members = Vec::new();
    for _ in 0..4 {
        members.push(server.join("room").await);
    }
    let mut ids = HashSet::new();
    for n in 0..60 {
        let asker = server.server.clone();
        let mut question = Message::new("question", "", "").with_body(&n).unwrap();
        question.set_correlation_id("the same for all");
        let asked =
            tokio::spawn(async move { asker.broadcast_await("room", question, PATIENCE).await });
        let id = members[0].next().await["correlationId"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(ids.insert(id.clone()));
        stranger.send("echo", json!("no id")).await;
        assert_eq!(stranger.next().await["type"], "echoed");
        let forged = json!({"type": "answer", "correlationId": id, "body": "forged"});
        stranger.send_text(&forged.to_string()).await;
        stranger.send("echo", json!("sync")).await;
        assert_eq!(stranger.next().await["body"], "sync");
        // All answer at once; one wins, and the others do no harm.
        let answer = json!({"type": "answer", "correlationId": id, "body": n}).to_string();
        for member in &mut members {
            member.send_text(&answer).await;
        }
        let answer = asked.await.unwrap().unwrap();
        assert_eq!(answer.bind::<u32>().unwrap(), n);
        assert!(members.iter().any(|member| member.id == answer.client_id()));
        for member in &mut members[1..] {
            assert_eq!(member.next().await["type"], "question");
        }
    }
    for member in &mut members {
        member.send("echo", json!("alive")).await;
        assert_eq!(member.next().await["body"], "alive");
    }
}
