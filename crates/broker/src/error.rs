//! The errors: one enum for each group of methods.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::key::{Fault, LONGEST};
use crate::message::Message;

/// A key, or the name of a group, breaks the grammar of [`Key`](crate::Key).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadKey {
    what: &'static str,
    text: Arc<str>,
    fault: Fault,
}

impl BadKey {
    pub(crate) fn new(what: &'static str, text: &str, fault: Fault) -> Self {
        Self {
            what,
            text: Arc::from(text),
            fault,
        }
    }

    /// The text that was refused.
    pub fn key(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, text, fault } = self;
        match fault {
            Fault::Empty => write!(
                f,
                "the {what} is empty: it has to have from 1 to {LONGEST} bytes"
            ),
            Fault::TooLong { bytes } => write!(
                f,
                "the {what} has {bytes} bytes: it has to have from 1 to {LONGEST}"
            ),
            Fault::Reserved { character, at } => write!(
                f,
                "the {what} {text:?} has the character {character:?} at byte {at}, which is reserved for patterns: \
                 leave it out or replace it"
            ),
            Fault::Control { character, at } => write!(
                f,
                "the {what} {text:?} has the control character {character:?} at byte {at}: leave it out or replace it"
            ),
        }
    }
}

impl Error for BadKey {}

/// A number of things, as text: `1 message`, `2 messages`.
pub(crate) struct Counted(pub(crate) u64, pub(crate) &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, noun) = self;
        let plural = if *count == 1 { "" } else { "s" };
        write!(f, "{count} {noun}{plural}")
    }
}

/// Why a message was not published.
///
/// `Full`, `Timeout` and `Closed` give the message back.
#[non_exhaustive]
pub enum PublishError {
    /// There is no room at the moment, in the queue to the server or (in memory) in a subscription
    /// that blocks. Publish later, or wait with [`publish`](crate::Publisher::publish).
    Full(Message),
    /// There was no room within the timeout, or the server did not confirm within the timeout. In
    /// the second case the message may still arrive, if the driver had begun to send it.
    Timeout(Message),
    /// The broker was closed.
    Closed(Message),
    /// The message is larger than the broker's limit.
    TooLarge {
        /// Its size in bytes: key, name, headers and payload.
        size: usize,
        /// The largest size in bytes.
        limit: usize,
    },
    /// The key breaks the grammar.
    BadKey(BadKey),
    /// The server refused the message. Only
    /// [`publish_confirmed`](crate::Publisher::publish_confirmed) returns this; after the other
    /// methods it is an event.
    Refused(Arc<str>),
    /// The connection was lost before the server confirmed the message. The message may have
    /// arrived or not.
    Uncertain(Message),
}

impl PublishError {
    /// Returns the message, if the error gives it back.
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Full(message)
            | Self::Timeout(message)
            | Self::Closed(message)
            | Self::Uncertain(message) => Some(message),
            Self::TooLarge { .. } | Self::BadKey(_) | Self::Refused(_) => None,
        }
    }

    /// Whether there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether the timeout passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// Whether the broker was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// Whether the key was refused.
    pub fn is_bad_key(&self) -> bool {
        matches!(self, Self::BadKey(_))
    }

    /// Whether the message was too large.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }
}

impl fmt::Debug for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(message) => f.debug_tuple("Full").field(message.id()).finish(),
            Self::Timeout(message) => f.debug_tuple("Timeout").field(message.id()).finish(),
            Self::Closed(message) => f.debug_tuple("Closed").field(message.id()).finish(),
            Self::Uncertain(message) => f.debug_tuple("Uncertain").field(message.id()).finish(),
            Self::TooLarge { size, limit } => f
                .debug_struct("TooLarge")
                .field("size", size)
                .field("limit", limit)
                .finish(),
            Self::BadKey(error) => f.debug_tuple("BadKey").field(error).finish(),
            Self::Refused(reason) => f.debug_tuple("Refused").field(reason).finish(),
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("there is no room for the message at the moment: publish it later, or wait for room"),
            Self::Timeout(_) => f.write_str("the message was not accepted, or not confirmed, within the timeout"),
            Self::Closed(_) => f.write_str(CLOSED),
            Self::TooLarge { size, limit } => write!(
                f,
                "the message has {size} bytes (key, name, headers and payload), and the broker takes at most {limit}"
            ),
            Self::BadKey(error) => error.fmt(f),
            Self::Refused(reason) => write!(f, "the server refused the message: {reason}"),
            Self::Uncertain(_) => f.write_str(
                "the connection was lost before the server confirmed: the message may have arrived or not",
            ),
        }
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::BadKey(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BadKey> for PublishError {
    fn from(error: BadKey) -> Self {
        Self::BadKey(error)
    }
}

const CLOSED: &str = "the broker was closed: connect a new one";

/// Why [`flush`](crate::Publisher::flush) cannot say that everything is on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushError {
    /// This many messages were not confirmed within the timeout. They are still on their way, and a
    /// later flush reports them if they fail.
    Timeout(usize),
    /// The connection was lost before the server confirmed this many messages, which may have
    /// arrived or not.
    Uncertain(usize),
    /// The server refused this many messages, or the broker gave them up. The events
    /// `PublishFailed` name them.
    Failed(usize),
    /// The broker was closed.
    Closed,
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(1) => f.write_str("1 message was not confirmed within the timeout"),
            Self::Timeout(n) => write!(f, "{n} messages were not confirmed within the timeout"),
            Self::Uncertain(n) => write!(
                f,
                "{} may have arrived or not: the connection was lost before the server confirmed",
                Counted(*n as u64, "message")
            ),
            Self::Failed(1) => {
                f.write_str("1 message was not published: see the event `PublishFailed`")
            }
            Self::Failed(n) => write!(
                f,
                "{n} messages were not published: see the events `PublishFailed`"
            ),
            Self::Closed => f.write_str(CLOSED),
        }
    }
}

impl Error for FlushError {}

/// Why `subscribe` failed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The key, or the name of the group, breaks the grammar.
    BadKey(BadKey),
    /// The driver does not support the request. The text says what it supports.
    Unsupported(Arc<str>),
    /// An option has an invalid value. The text names the option and the valid values.
    BadOption(Arc<str>),
    /// The server refused the subscription.
    Refused(Arc<str>),
    /// The server did not answer within this time.
    Timeout(Duration),
    /// The broker was closed.
    Closed,
}

impl SubscribeError {
    /// Whether the broker was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Whether the driver does not support the request.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported(_))
    }

    /// Whether the key or the group was refused.
    pub fn is_bad_key(&self) -> bool {
        matches!(self, Self::BadKey(_))
    }
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadKey(error) => error.fmt(f),
            Self::Unsupported(what) => write!(f, "the driver does not support this: {what}"),
            Self::BadOption(what) => write!(f, "an option has an invalid value: {what}"),
            Self::Refused(reason) => write!(f, "the server refused the subscription: {reason}"),
            Self::Timeout(timeout) => write!(
                f,
                "the server did not answer within {timeout:?}: see whether it is reachable, or wait longer"
            ),
            Self::Closed => f.write_str(CLOSED),
        }
    }
}

impl Error for SubscribeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::BadKey(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BadKey> for SubscribeError {
    fn from(error: BadKey) -> Self {
        Self::BadKey(error)
    }
}

/// Why [`BrokerSubscription::ready`](crate::BrokerSubscription::ready) failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadyError {
    /// The server was still away after the timeout. The subscription remains pending.
    Timeout,
    /// The subscription has ended.
    Ended,
}

impl fmt::Display for ReadyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the subscription did not become live within the timeout",
            Self::Ended => "the subscription has ended",
        })
    }
}

impl Error for ReadyError {}

/// What [`close`](crate::Broker::close) could not do within its deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseError {
    /// Work was left at the deadline.
    Undelivered {
        /// Messages that were published and did not reach the server.
        outbound: usize,
        /// Messages that had arrived and that no handler had begun. A server that keeps messages
        /// delivers them again.
        inbound: usize,
        /// Handlers that were still running.
        running: usize,
    },
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undelivered {
                outbound,
                inbound,
                running,
            } => write!(
                f,
                "work was left at the deadline: {outbound} published and not on the server, {inbound} arrived and not \
                 handled, {} still running",
                Counted(*running as u64, "handler")
            ),
        }
    }
}

impl Error for CloseError {}

/// Why `connect` failed.
///
/// No variant carries a password, a token or a whole URL.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be used. The text says what is wrong and what would be right.
    BadUrl(Arc<str>),
    /// No driver is known for this scheme.
    UnknownScheme {
        /// The scheme of the URL.
        scheme: Arc<str>,
        /// The schemes that have drivers, separated by commas.
        known: Arc<str>,
    },
    /// An option of the driver has an invalid value.
    BadConfig(Arc<str>),
    /// The server at this address cannot be reached.
    Unreachable {
        /// Host and port.
        address: Arc<str>,
        /// The error of the system.
        reason: Arc<str>,
    },
    /// No server answered at this address within the limit.
    Timeout {
        /// Host and port.
        address: Arc<str>,
        /// The limit.
        timeout: Duration,
    },
    /// The server refused the credentials or a permission.
    Denied(Arc<str>),
    /// TLS could not be set up.
    Tls(Arc<str>),
    /// The server at this address speaks another protocol.
    WrongProtocol(Arc<str>),
    /// The server is too old.
    TooOld {
        /// The version that it reports.
        found: Arc<str>,
        /// The oldest version that works.
        needed: Arc<str>,
    },
    /// Another error of the server or of the client library.
    Failed(Arc<str>),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadUrl(what) => write!(f, "the URL cannot be used: {what}"),
            Self::UnknownScheme { scheme, known } => write!(
                f,
                "no driver is known for `{scheme}:`: the known schemes are {known}; add the driver with `Drivers::with`"
            ),
            Self::BadConfig(what) => write!(f, "the configuration cannot be used: {what}"),
            Self::Unreachable { address, reason } => {
                write!(f, "the server at {address} cannot be reached: {reason}")
            }
            Self::Timeout { address, timeout } => {
                write!(f, "no server answered at {address} within {timeout:?}")
            }
            Self::Denied(reason) => write!(f, "the server refused access: {reason}"),
            Self::Tls(reason) => write!(f, "TLS could not be set up: {reason}"),
            Self::WrongProtocol(reason) => {
                write!(f, "the server speaks another protocol: {reason}")
            }
            Self::TooOld { found, needed } => {
                write!(f, "the server is {found}: at least {needed} is needed")
            }
            Self::Failed(reason) => write!(f, "the connection failed: {reason}"),
        }
    }
}

impl Error for ConnectError {}
