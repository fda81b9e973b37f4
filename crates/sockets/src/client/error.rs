//! Why something did not work.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_tungstenite::tungstenite;

use crate::wire::{ErrorMessage, Message};

/// Why a client was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientBuildError {
    /// There is no tokio runtime here. Build the client inside one, or give it one, or build a
    /// [`BlockingClient`](crate::BlockingClient), which has its own.
    NoRuntime,
    /// A listener has this key, which no message to a listener has.
    Key(String),
    /// A setting cannot be used.
    BadSetting {
        /// The setting.
        setting: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// The thread of a blocking client cannot be started.
    NoThread(io::Error),
    /// The certificates or keys for TLS cannot be used.
    Tls(Arc<str>),
}

impl fmt::Display for ClientBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRuntime => f.write_str(
                "there is no tokio runtime here: build the client inside one, or build a blocking client",
            ),
            Self::Key(key) => write!(
                f,
                "a listener has the key {key:?}, which no message to a listener has: error messages of the server go to `on_server_error`"
            ),
            Self::BadSetting { setting, expected } => {
                write!(f, "the setting `{setting}` has to be {expected}")
            }
            Self::NoThread(error) => write!(f, "the client's thread cannot be started: {error}"),
            Self::Tls(what) => write!(f, "TLS cannot be used: {what}"),
        }
    }
}

impl Error for ClientBuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoThread(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a channel was not joined. It shows neither headers nor parameters, which may be
/// confidential.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// The name of the channel is empty.
    NoChannel,
    /// The host is not a URL that can be used.
    BadHost {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A header cannot be sent.
    BadHeader {
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The channel has been joined already at this host, or is being joined.
    AlreadyJoined,
    /// The server answered the upgrade with another HTTP status.
    Refused {
        /// The status.
        status: u16,
    },
    /// The server was not reached, or the connection was lost before the upgrade was done.
    Io(io::Error),
    /// The upgrade was not done within the timeout.
    Timeout(Duration),
    /// What the server answered is not an upgrade to WebSocket.
    Handshake(Arc<str>),
    /// The URL has the scheme `wss`, and the crate was built without its feature `tls`.
    NoTls,
    /// The client was closed.
    Closed,
}

impl JoinError {
    /// The HTTP status with which the server refused the upgrade.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status } => Some(*status),
            _ => None,
        }
    }
}

impl From<tungstenite::Error> for JoinError {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Io(error) => Self::Io(error),
            tungstenite::Error::Http(response) => Self::Refused {
                status: response.status().as_u16(),
            },
            other => Self::Handshake(other.to_string().into()),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoChannel => f.write_str("the channel has no name: it needs at least one character"),
            Self::BadHost { what } => write!(
                f,
                "the host cannot be used: {what} (an example of one: ws://localhost:8080/ws)"
            ),
            Self::BadHeader { name, what } => write!(f, "the header {name:?} cannot be sent: {what}"),
            Self::AlreadyJoined => f.write_str(
                "the channel has been joined already at this host: use that membership, or leave it first",
            ),
            Self::Refused { status } => {
                write!(f, "the server refused the upgrade with HTTP status {status}")
            }
            Self::Io(error) => write!(f, "the server cannot be reached: {error}"),
            Self::Timeout(limit) => write!(f, "the upgrade was not done within {limit:?}"),
            Self::Handshake(what) => write!(f, "the server did not upgrade to WebSocket: {what:?}"),
            Self::NoTls => f.write_str("wss needs the feature `tls` of fanfeed-sockets"),
            Self::Closed => f.write_str("the client was closed"),
        }
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a message was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishFault {
    /// The message has no key.
    NoKey,
    /// The channel has not been joined, or has been left.
    NotJoined,
    /// The channel has been joined at several hosts: publish with the
    /// [`Membership`](crate::Membership) of one of them.
    SeveralHosts,
    /// The connection was lost, and is being made again. Messages are not kept for it.
    Reconnecting,
    /// The connection was lost before the message was written. Some of it may have reached the
    /// server.
    Lost,
    /// The message is larger than `max_publish_bytes` allows.
    TooLarge {
        /// Its size on the wire in bytes.
        size: usize,
        /// The largest size.
        limit: usize,
    },
    /// The queue to the server is full. [`publish`](crate::ClientPublisher::publish) waits instead.
    Full,
}

impl fmt::Display for PublishFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("it has no key: the key says what the message is"),
            Self::NotJoined => f.write_str("the channel has not been joined: join it first"),
            Self::SeveralHosts => f.write_str(
                "the channel has been joined at several hosts: publish with the membership of one of them",
            ),
            Self::Reconnecting => {
                f.write_str("the connection was lost and is being made again: publish later")
            }
            Self::Lost => f.write_str("the connection was lost before the message was written"),
            Self::TooLarge { size, limit } => {
                write!(f, "it has {size} bytes, and may have {limit}")
            }
            Self::Full => f.write_str("the queue to the server is full: publish later"),
        }
    }
}

/// A message that was not published, and why.
#[derive(Debug)]
pub struct PublishError {
    fault: PublishFault,
    message: Box<Message>,
}

impl PublishError {
    /// Makes an error, as mocks of [`ClientPublisher`](crate::ClientPublisher) need it.
    pub fn new(fault: PublishFault, message: Message) -> Self {
        Self {
            fault,
            message: Box::new(message),
        }
    }

    /// Why it was not published.
    pub fn fault(&self) -> PublishFault {
        self.fault
    }

    /// The message.
    pub fn into_message(self) -> Message {
        *self.message
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, channel) = (self.message.key(), self.message.channel_id());
        write!(
            f,
            "the message {key:?} for the channel {channel:?} was not published: {}",
            self.fault
        )
    }
}

impl Error for PublishError {}

/// Why a request got no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// The request was not published.
    Publish(PublishError),
    /// No answer came within the timeout. It may still come, as a message like any other.
    Timeout(Duration),
    /// The connection was lost, or the channel was left, before an answer came.
    Lost,
    /// The server answered with an error message.
    Refused(Box<ErrorMessage>),
    /// Another request with the same correlation id waits for its answer.
    DuplicateCorrelationId,
}

impl RequestError {
    /// Whether no answer came within the timeout.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(error) => error.fmt(f),
            Self::Timeout(limit) => write!(f, "no answer came within {limit:?}"),
            Self::Lost => f.write_str("the connection ended before an answer came"),
            Self::Refused(error) => {
                write!(f, "the server answered {:?} with an error message", error.origin_key())
            }
            Self::DuplicateCorrelationId => f.write_str(
                "another request with the same correlation id waits: leave the id empty to get a new one",
            ),
        }
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Publish(error) => Some(error),
            _ => None,
        }
    }
}

impl From<PublishError> for RequestError {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}
