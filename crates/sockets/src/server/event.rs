//! What happens on a server, for its observers.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::close::Close;
use super::hooks::ChannelEnd;
use crate::wire::DecodeError;

/// The callback that gets each event of a server.
pub(super) type Logger = Box<dyn Fn(&ServerEvent) + Send + Sync>;

/// Something that happened on a server.
///
/// What clients wrote is shown by `Display` as a quoted text, so that it cannot forge a line.
/// Bodies, headers and the query of the handshake are in no event, unless the application's code
/// puts them into the text of an error. Keys of messages that are longer than 256 bytes are cut,
/// and so are texts of errors that are longer than 1,024 bytes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServerEvent {
    /// A handshake was refused.
    Refused {
        /// The client's address, where it is known.
        address: Option<IpAddr>,
        /// The channel that it asked for.
        channel: Arc<str>,
        /// The HTTP status, or the close code where the connection was a WebSocket already. 408
        /// where the connection ended after the request and before its upgrade: that is sent to no
        /// client, and the span of the handshake (feature `tracing`) says `lost`.
        code: u16,
        /// Why.
        reason: Arc<str>,
    },
    /// A TCP connection to `serve` was closed because an HTTP request could not be read: the client
    /// took longer than the limit `handshake_time` for the first request, exceeded the limits of
    /// the headers (status 431), or sent something else (status 400).
    HandshakeFailed {
        /// The address of the peer.
        address: IpAddr,
        /// Why.
        reason: &'static str,
    },
    /// A TCP connection was closed at once: there are too many handshakes, in all or from this
    /// address.
    NotAccepted {
        /// The address of the peer.
        address: IpAddr,
    },
    /// The listener of `serve` could not accept a connection. It goes on after a moment.
    AcceptFailed(Arc<str>),
    /// A client joined a channel.
    Joined {
        /// The channel.
        channel: Arc<str>,
        /// The id that the client got.
        client: Arc<str>,
        /// Its address, where it is known.
        address: Option<IpAddr>,
    },
    /// The connection of a client ended.
    Disconnected {
        /// The channel.
        channel: Arc<str>,
        /// The client.
        client: Arc<str>,
        /// How it ended.
        end: ConnectionEnd,
    },
    /// A client sent something that is not a message.
    Malformed {
        /// The channel.
        channel: Arc<str>,
        /// The client.
        client: Arc<str>,
        /// What is wrong with it.
        error: Arc<DecodeError>,
    },
    /// A message has no handler.
    Unhandled {
        /// The channel.
        channel: Arc<str>,
        /// The client that sent it.
        client: Arc<str>,
        /// Its key.
        key: Arc<str>,
    },
    /// A message had expired before it was handled.
    Expired {
        /// The channel.
        channel: Arc<str>,
        /// The client that sent it.
        client: Arc<str>,
        /// Its key.
        key: Arc<str>,
    },
    /// The connection of a client ended, and messages that it had sent were not handled, or their
    /// handlers were dropped: the limit `close_time` was over, or the server cut the connection.
    Abandoned {
        /// The channel.
        channel: Arc<str>,
        /// The client that sent them.
        client: Arc<str>,
        /// How many.
        messages: usize,
    },
    /// A handler failed, or panicked.
    HandlerFailed {
        /// The channel.
        channel: Arc<str>,
        /// The client whose message was handled.
        client: Arc<str>,
        /// The key of the message.
        key: Arc<str>,
        /// The text of the error, which clients do not get.
        error: Arc<str>,
    },
    /// A hook, `authorize` or `channel_lifetime_with` panicked, or a hook took too long and was
    /// dropped.
    CallbackFailed {
        /// The method of the builder that set it.
        callback: &'static str,
        /// The channel.
        channel: Arc<str>,
        /// What happened.
        error: Arc<str>,
    },
    /// A channel ended.
    ChannelEnded {
        /// The channel.
        channel: Arc<str>,
        /// Why.
        end: ChannelEnd,
    },
    /// The logger was too slow, and missed this many. (A receiver learns that from
    /// [`Lagged`](fanfeed::RecvError::Lagged).)
    EventsMissed {
        /// How many.
        missed: u64,
    },
    /// The server has shut down: the last event.
    ShutDown {
        /// How many connections were cut.
        cut: usize,
    },
}

/// How the connection of a client ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEnd {
    /// The client closed it.
    ByClient,
    /// The server closed it.
    ByServer {
        /// The close code.
        code: u16,
        /// The reason that the client was given.
        reason: &'static str,
    },
    /// The client read nothing for the limit `write_time`, and the server had data to write.
    Stalled,
    /// The connection was lost: the text of the error, or that the stream ended.
    Lost(Arc<str>),
    /// The server cut it, at the deadline of a shutdown or with the runtime. Its handlers that
    /// still ran were dropped.
    Cut,
}

impl From<Close> for ConnectionEnd {
    fn from(close: Close) -> Self {
        Self::ByServer {
            code: close.code,
            reason: close.reason,
        }
    }
}

impl fmt::Display for ConnectionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByClient => f.write_str("the client closed the connection"),
            Self::ByServer { code, reason } => write!(f, "closed with code {code}: {reason}"),
            Self::Stalled => f.write_str("the client took nothing for too long"),
            Self::Lost(error) => write!(f, "the connection was lost: {error}"),
            Self::Cut => f.write_str("the server cut the connection"),
        }
    }
}

impl fmt::Display for ServerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = |f: &mut fmt::Formatter<'_>, address: &Option<IpAddr>| match address {
            Some(address) => write!(f, " from {address}"),
            None => Ok(()),
        };
        match self {
            Self::Refused {
                address,
                channel,
                code,
                reason,
            } => {
                write!(f, "channel {channel:?}: a handshake")?;
                from(f, address)?;
                write!(f, " was refused with {code}: {reason:?}")
            }
            Self::HandshakeFailed { address, reason } => {
                write!(f, "a handshake from {address} failed: {reason}")
            }
            Self::NotAccepted { address } => {
                write!(
                    f,
                    "a connection from {address} was closed: too many handshakes"
                )
            }
            Self::AcceptFailed(error) => write!(f, "no connection could be accepted: {error}"),
            Self::Joined {
                channel,
                client,
                address,
            } => {
                write!(f, "channel {channel:?}: client {client}")?;
                from(f, address)?;
                f.write_str(" joined")
            }
            Self::Disconnected {
                channel,
                client,
                end,
            } => write!(f, "channel {channel:?}: client {client}: {end}"),
            Self::Malformed {
                channel,
                client,
                error,
            } => write!(f, "channel {channel:?}: client {client}: {error}"),
            Self::Unhandled {
                channel,
                client,
                key,
            } => write!(
                f,
                "channel {channel:?}: client {client}: no handler for {key:?}"
            ),
            Self::Expired {
                channel,
                client,
                key,
            } => write!(
                f,
                "channel {channel:?}: client {client}: the message {key:?} had expired"
            ),
            Self::Abandoned {
                channel,
                client,
                messages,
            } => write!(
                f,
                "channel {channel:?}: client {client}: {messages} of its messages were not handled"
            ),
            Self::HandlerFailed {
                channel,
                client,
                key,
                error,
            } => write!(
                f,
                "channel {channel:?}: client {client}: the handler of {key:?} failed: {error:?}"
            ),
            Self::CallbackFailed {
                callback,
                channel,
                error,
            } => write!(f, "channel {channel:?}: {callback} failed: {error:?}"),
            Self::ChannelEnded { channel, end } => write!(f, "channel {channel:?}: ended: {end:?}"),
            Self::EventsMissed { missed } => {
                write!(f, "the logger was too slow and missed {missed} events")
            }
            Self::ShutDown { cut } => {
                write!(f, "the server has shut down, and cut {cut} connections")
            }
        }
    }
}
