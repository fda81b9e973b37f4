//! What happens to a client, for its observers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::JoinError;
use crate::wire::{DecodeError, ErrorMessage};

/// The callback that gets each event of a client.
pub(super) type Logger = Arc<dyn Fn(&ClientEvent) + Send + Sync>;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The server sent a close frame.
    Closed {
        /// The code, unless the frame had none.
        code: Option<u16>,
        /// The server's reason, which may be empty.
        reason: Arc<str>,
    },
    /// The connection ended without a close frame.
    Eof,
    /// The connection failed, for example by a TCP reset.
    Failed(Arc<str>),
    /// Nothing came from the server within the limit, not even an answer to a ping.
    Silent(Duration),
    /// The server did not take what was written within the limit.
    Stalled(Duration),
    /// The server began to send a message, and did not complete it within the limit. See
    /// [`message_timeout`](crate::ClientBuilder::message_timeout).
    Unfinished(Duration),
    /// The server sent a message larger than this limit in bytes.
    TooLarge(usize),
    /// The server sent a text that is not UTF-8.
    NotText(Arc<str>),
    /// The server broke the WebSocket protocol.
    Protocol(Arc<str>),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code: None, .. } => f.write_str("the server closed without a code"),
            Self::Closed {
                code: Some(code),
                reason,
            } => {
                write!(f, "the server closed with code {code}")?;
                match reason.is_empty() {
                    true => Ok(()),
                    false => write!(f, ": {reason:?}"),
                }
            }
            Self::Eof => f.write_str("the connection ended without a close frame"),
            Self::Failed(error) => write!(f, "the connection failed: {error}"),
            Self::Silent(limit) => write!(f, "the server was silent for {limit:?}"),
            Self::Stalled(limit) => write!(f, "the server took nothing for {limit:?}"),
            Self::Unfinished(limit) => {
                write!(
                    f,
                    "a message of the server was not complete after {limit:?}"
                )
            }
            Self::TooLarge(limit) => {
                write!(f, "the server sent more than {limit} bytes in a message")
            }
            Self::NotText(what) => write!(f, "the server sent a text that is not UTF-8: {what:?}"),
            Self::Protocol(what) => write!(f, "the server broke the protocol: {what:?}"),
        }
    }
}

/// Why a membership is over.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LeaveReason {
    /// The program left the channel.
    Left,
    /// The client was closed or dropped.
    ClientClosed,
    /// The server said that the channel has expired.
    ChannelExpired,
    /// The server said that it closed the channel.
    ChannelClosed,
    /// The connection ended in a way after which the client does not come back, or it was told not
    /// to reconnect.
    Ended(Ended),
    /// The connection ended, and could not be made again.
    GaveUp {
        /// How often the client tried.
        attempts: u32,
        /// Why the last attempt failed.
        error: Arc<JoinError>,
    },
}

impl fmt::Display for LeaveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("the program left"),
            Self::ClientClosed => f.write_str("the client was closed"),
            Self::ChannelExpired => f.write_str("the channel has expired"),
            Self::ChannelClosed => f.write_str("the server closed the channel"),
            Self::Ended(ended) => ended.fmt(f),
            Self::GaveUp { attempts, error } => {
                write!(f, "the client gave up after {attempts} attempts: {error}")
            }
        }
    }
}

/// Something that happened to a membership of a client.
///
/// `Debug` shows the host without its query, in which programs have tokens. Keys and ids from the
/// server that are longer than 256 bytes are cut, and so are texts of errors that are longer than
/// 1,024 bytes.
#[derive(Clone)]
pub struct ClientEvent {
    /// The host. Empty for [`EventsMissed`](ClientEventKind::EventsMissed).
    pub host: Arc<str>,
    /// The channel. Empty for [`EventsMissed`](ClientEventKind::EventsMissed).
    pub channel: Arc<str>,
    /// What happened.
    pub kind: ClientEventKind,
}

impl ClientEvent {
    /// The logger missed events.
    pub(super) fn missed(missed: u64) -> Self {
        Self {
            host: "".into(),
            channel: "".into(),
            kind: ClientEventKind::EventsMissed { missed },
        }
    }
}

/// A host as it may be shown.
pub(super) fn without_query(host: &str) -> &str {
    host.split(['?', '#']).next().unwrap_or_default()
}

impl fmt::Debug for ClientEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEvent")
            .field("host", &without_query(&self.host))
            .field("channel", &self.channel)
            .field("kind", &self.kind)
            .finish()
    }
}

/// What happened to a membership.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientEventKind {
    /// The connection was made, for the first time or again.
    Connected {
        /// Whether there was one before.
        again: bool,
    },
    /// The server sent `join.success` with this client id.
    Joined {
        /// The id.
        client_id: Arc<str>,
    },
    /// The connection ended.
    Disconnected(Ended),
    /// The client will try to connect again after a wait.
    Retrying {
        /// The attempt, from 1.
        attempt: u32,
        /// The wait before it.
        wait: Duration,
    },
    /// An attempt to connect again failed.
    RetryFailed {
        /// The attempt, from 1.
        attempt: u32,
        /// Why it failed.
        error: Arc<JoinError>,
    },
    /// The membership is over.
    Left(LeaveReason),
    /// The server sent something that is not a message; it was ignored.
    Malformed(Arc<DecodeError>),
    /// A message has no listener.
    Unhandled {
        /// Its key.
        key: Arc<str>,
    },
    /// A message had expired when it came, and was not handled.
    Expired {
        /// Its key.
        key: Arc<str>,
    },
    /// A listener failed, or its reply was not published.
    ListenerFailed {
        /// The key of the message.
        key: Arc<str>,
        /// The text of the error. [`on_error`](crate::ClientBuilder::on_error) gets the error
        /// itself.
        error: Arc<str>,
    },
    /// The server sent an error message that answers no request. This is it without its bodies and
    /// headers, which [`on_server_error`](crate::ClientBuilder::on_server_error) gets.
    ServerError(Arc<ErrorMessage>),
    /// The logger was too slow, and missed this many events. (A receiver learns that from
    /// [`Lagged`](fanfeed::RecvError::Lagged).)
    EventsMissed {
        /// How many.
        missed: u64,
    },
}

impl fmt::Display for ClientEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ClientEventKind::EventsMissed { .. } => self.kind.fmt(f),
            _ => write!(f, "channel {:?}: {}", self.channel, self.kind),
        }
    }
}

impl fmt::Display for ClientEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { again: false } => f.write_str("connected"),
            Self::Connected { again: true } => f.write_str("connected again"),
            Self::Joined { client_id } => write!(f, "joined as {client_id:?}"),
            Self::Disconnected(ended) => write!(f, "disconnected: {ended}"),
            Self::Retrying { attempt, wait } => write!(f, "attempt {attempt} follows in {wait:?}"),
            Self::RetryFailed { attempt, error } => write!(f, "attempt {attempt} failed: {error}"),
            Self::Left(reason) => write!(f, "left: {reason}"),
            Self::Malformed(error) => write!(f, "ignored what the server sent: {error}"),
            Self::Unhandled { key } => write!(f, "no listener for {key:?}"),
            Self::Expired { key } => write!(f, "the message {key:?} had expired"),
            Self::ListenerFailed { key, error } => {
                write!(f, "the listener of {key:?} failed: {error:?}")
            }
            Self::EventsMissed { missed } => {
                write!(f, "the logger was too slow and missed {missed} events")
            }
            Self::ServerError(error) => write!(f, "the server refused {:?}", error.origin_key()),
        }
    }
}
