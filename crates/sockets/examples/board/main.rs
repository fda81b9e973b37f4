//! A replay of flights, carried to browsers: a channel an airport.
//!
//! ```text
//! cargo run --release -p fanfeed-sockets --example board
//! ```
//!
//! Then open <http://127.0.0.1:8080>. The page joins channels, and shows the stream, a map with
//! what is in the air, a chart of the last minute, its own latency, and what it missed; stop the
//! server and start it again to see that.
//!
//! Two servers with a broker between them serve one audience. One of them replays; when it ends,
//! the other goes on:
//!
//! ```text
//! cargo run --release -p fanfeed-sockets --example board -- --broker redis://localhost
//! cargo run --release -p fanfeed-sockets --example board -- --broker redis://localhost --listen 127.0.0.1:8081
//! ```

// The example `flights` of the core has these two as well, and uses more of them.
#[allow(dead_code)]
#[path = "../../../../examples/flights/moment.rs"]
mod moment;
#[allow(dead_code)]
#[path = "../../../../examples/flights/records.rs"]
mod records;

mod channels;
mod nodes;
mod options;
mod places;
mod replay;
mod timetable;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::Html;
use axum::routing::get;
use clap::Parser;
use tokio::net::TcpListener;

use crate::nodes::Nodes;
use crate::options::Options;
use crate::places::Board;
use crate::records::Records;
use crate::timetable::Timetable;

const FLIGHTS: &[u8] = include_bytes!("../../../../examples/data/flights.csv");
const PAGE: &str = include_str!("page.html");
/// How long the last messages may take when the server ends.
const GOODBYE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), String> {
    let timetable = Arc::new(Timetable::new(Records::read(FLIGHTS)?, options.speed));
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let nodes = Arc::new(Nodes::connect(options.broker.as_deref())?);
    let board = Board::new(&timetable, options.speed, address.to_string())?;
    let board = serde_json::to_string(&board).map_err(|error| error.to_string())?;
    let server = channels::server(&timetable, &nodes).map_err(|error| error.to_string())?;
    let router = Router::new()
        .route("/", get(Html(PAGE)))
        .route(
            "/board.json",
            get(([(CONTENT_TYPE, "application/json")], board)),
        )
        .nest("/ws", server.router());
    println!("http://{address} shows the board; Ctrl-C ends it");
    tokio::select! {
        served = server.serve_router(listener, router) => served.map_err(|error| error.to_string()),
        Err(error) = replay::run(timetable, server.clone(), Arc::clone(&nodes)) => Err(error.to_string()),
        () = ended() => {
            // The pages are told that the server goes away, and come back when it does.
            server.shutdown(GOODBYE).await;
            nodes.close();
            Ok(())
        }
    }
}

/// Waits until the process is asked to end.
async fn ended() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    let _ = interrupted.await;
}
