//! The processor time of one broadcast: a channel beside a bare loop over axum's sockets, and a
//! room of socketioxide.

use crate::Scale;
use crate::figures::{Rounds, compare, processor};
use crate::fleet::Fleet;
use crate::own::{self, Own};
use crate::peers::{self, Loop};
use axum::extract::ws::Utf8Bytes;

pub(crate) async fn run(scale: &Scale) {
    let mut fleet = Fleet::start();
    let own = Own::start().await;
    let list = Loop::default();
    let bare = peers::serve(list.router()).await;
    let (router, io) = peers::socketio();
    let socketio = peers::serve(router).await;
    fleet.join("own", "channel", scale.members, own.address(), "/ws/room");
    fleet.join("bare", "channel", scale.members, bare, "/ws/room");
    let path = "/socket.io/?EIO=4&transport=websocket";
    fleet.join("socketio", "socketio", scale.members, socketio, path);
    own.wait_for_members("room", scale.members).await;
    let mut sent = 0;
    for (bytes, count) in [
        (200, scale.broadcasts),
        (16 * 1024, scale.broadcasts / 4 + 1),
    ] {
        let (mut owns, mut bares, mut rooms) = <(Rounds, Rounds, Rounds)>::default();
        let message = own::news(bytes);
        // What the channel's members get, byte by byte.
        let text = Utf8Bytes::from(message.encode());
        let body = own::body(bytes);
        // The first round brings caches and buffers to their size, and does not count.
        for round in 0..=scale.rounds {
            let each = |began: u64| (processor() - began) as f64 / (count * scale.members) as f64;
            let keep = |rounds: &mut Rounds, figure| {
                if round > 0 {
                    rounds.push(figure);
                }
            };
            let began = processor();
            for n in 1..=count {
                let (list, text) = (list.clone(), text.clone());
                on_worker(async move { list.broadcast(&text).await }).await;
                fleet.wait_for("bare", (sent + n) as u64);
            }
            keep(&mut bares, each(began));
            let began = processor();
            for n in 1..=count {
                let (server, message) = (own.server(), message.clone());
                on_worker(async move {
                    server.broadcast("room", message);
                })
                .await;
                fleet.wait_for("own", (sent + n) as u64);
            }
            keep(&mut owns, each(began));
            let began = processor();
            for n in 1..=count {
                let (io, body) = (io.clone(), body.clone());
                on_worker(async move {
                    io.to("room").emit("news", &body).await.expect("it is sent");
                })
                .await;
                fleet.wait_for("socketio", (sent + n) as u64);
            }
            keep(&mut rooms, each(began));
            sent += count;
        }
        compare(
            &format!(
                "a broadcast of {bytes} bytes to {} members, ns of the server for each member",
                scale.members
            ),
            &[
                ("channel", &owns),
                ("bare loop over axum", &bares),
                ("room of socketioxide", &rooms),
            ],
        );
    }
    own.stop().await;
}

/// Runs it where a server's own tasks run: on a thread of the runtime.
async fn on_worker(broadcast: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(broadcast).await.expect("no panic");
}
