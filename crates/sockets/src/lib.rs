//! WebSocket channels: a server and a client.
//!
//! A [`Server`] has channels, which exist while they have members. A connection is a member of one
//! channel: the one that its path names. Members send messages to handlers, and get what is
//! broadcast to their channel. Each has a queue of its own, so that a slow member never delays
//! another. A [`Client`] joins channels, at one host or several, and joins them again when a
//! connection was lost. Both speak the [`wire`](docs::wire) format of a Go library, so that peers
//! of both can meet.
//!
//! ```
//! # #[cfg(all(feature = "server", feature = "client"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use fanfeed_sockets::{Client, ClientPublisher, JoinOptions, Message, Server, replying};
//!
//! let server = Server::builder()
//!     .direct_handler("shout", replying("shouted", |text: String, _| async move {
//!         Ok(text.to_uppercase())
//!     }))
//!     .build()?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let host = format!("ws://{}", listener.local_addr()?);
//! let serving = tokio::spawn({
//!     let server = server.clone();
//!     async move { server.serve(listener).await }
//! });
//!
//! let client = Client::builder().build()?;
//! let room = client.join(&host, "room1", JoinOptions::new()).await?;
//! let message = Message::new("shout", "", "room1").with_body("hello")?;
//! let answer = room.request(message, Duration::from_secs(5)).await?;
//! assert_eq!(answer.bind::<String>()?, "HELLO");
//!
//! room.leave().await;
//! server.shutdown(Duration::from_secs(5)).await;
//! serving.await??;
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "server", feature = "client")))]
//! # fn main() {}
//! ```
//!
//! The pages of [`docs`] say what goes over the wire, how a server meets the internet, what many
//! nodes promise, and what became of the names of other libraries.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "client")]
mod client;
mod connection;
pub mod docs;
mod error;
mod handler;
pub mod middleware;
#[cfg(any(feature = "server", feature = "client"))]
mod observe;
mod request;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
mod server;
mod wire;

#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub use client::{
    BlockingClient, BlockingError, BlockingMembership, Client, ClientBuildError, ClientBuilder,
    ClientEvent, ClientEventKind, ClientHealth, ClientPublisher, ClientStats, Ended, JoinError,
    JoinOptions, LeaveReason, Membership, MembershipState, PublishError, PublishFault,
    PublishFuture, Publisher, RequestError, RequestFuture,
};
pub use connection::{Connection, Identity};
pub use error::InvalidBody;
pub use handler::{Handler, HandlerError, Reply, ReplyFuture, Typed, replying, typed};
pub use middleware::Middleware;
pub use request::Request;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub use server::{
    AwaitError, BuildError, ChannelBroadcaster, ChannelEnd, ConnectionEnd, DirectBroadcaster,
    Health, JoinRequest, Limits, NetworkError, Refusal, Server, ServerBuilder, ServerEvent,
    ServerStats, ShutdownReport, SlowMembers,
};
/// Tells a handler that its result is no longer wanted: [`Request::cancel_token`].
///
/// It is the token of `tokio-util`, which this crate takes no feature of, and which brings no
/// package that tokio and axum do not have already. So a handler can pass it on to code that knows
/// that token, and make child tokens.
#[doc(inline)]
pub use tokio_util::sync::CancellationToken;

#[cfg(feature = "nodes")]
#[cfg_attr(docsrs, doc(cfg(feature = "nodes")))]
pub use server::{NodeEvent, NodeOptions, NodeStats, Presence};

pub use wire::{
    BodyError, DecodeError, ErrorDetail, ErrorMessage, HEADER_CHANNEL_EPOCH,
    HEADER_CHANNEL_EXPIRES, HEADER_CHANNEL_GAP, HEADER_CHANNEL_POSITION, Headers, Incoming,
    MESSAGE_CHANNEL_CLOSED, MESSAGE_CHANNEL_EXPIRED, MESSAGE_ERROR, MESSAGE_GET_INFO, MESSAGE_INFO,
    MESSAGE_JOIN_SUCCESS, MESSAGE_LEAVE_SUCCESS, Message, PARAM_CHANNEL_EPOCH,
    PARAM_CHANNEL_POSITION, ParseTimestampError, Timestamp, decode, decode_first, unique_id,
};

#[cfg(all(doctest, feature = "server", feature = "client"))]
#[doc = include_str!("../README.md")]
mod readme {}
