//! WebSocket channels: a server and a client.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod cancel;
#[cfg(feature = "client")]
mod client;
mod connection;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub mod docs;
mod error;
mod handler;
pub mod middleware;
mod request;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
mod server;
mod wire;

pub use cancel::CancelToken;
#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub use client::{
    BlockingClient, BlockingError, BlockingMembership, Client, ClientBuildError, ClientBuilder,
    ClientEvent, ClientEventKind, ClientPublisher, Ended, JoinError, JoinOptions, LeaveReason,
    Membership, MembershipState, PublishError, PublishFault, PublishFuture, Publisher,
    RequestError, RequestFuture,
};
pub use connection::{Connection, Identity};
pub use error::InvalidBody;
pub use handler::{Handler, HandlerError, Reply, ReplyFuture, Typed, replying, typed};
pub use middleware::Middleware;
pub use request::Request;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub use server::{
    AwaitError, BuildError, ChannelBroadcaster, ChannelEnd, DirectBroadcaster, Health, JoinRequest,
    Limits, NetworkError, Refusal, Server, ServerBuilder, ServerStats, ShutdownReport, SlowMembers,
};

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
