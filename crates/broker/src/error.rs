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

/// Why a message was not published.
///
/// `Full`, `Timeout` and `Closed` give the message back.
#[non_exhaustive]
pub enum PublishError {
    /// There is no room now, in the queue to the server or (in memory) in a subscription that
    /// blocks. Publish later, or wait with [`publish`](crate::Publisher::publish).
    Full(Message),
    /// There was no room within the timeout, or the server did not confirm within the timeout. In
    /// the second case the message may still arrive.
    Timeout(Message),
    /// The broker was closed.
    Closed(Message),
    /// The message is larger than the broker takes.
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
    /// The connection was lost before the server confirmed: the message may have arrived or not.
    Uncertain(Message),
}

impl PublishError {
    /// The message, where the error gives it back.
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

    /// Whether the timeout was over.
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
            Self::Full(_) => f.write_str("there is no room for the message now: publish it later, or wait for room"),
            Self::Timeout(_) => f.write_str("the message was not taken, or not confirmed, within the timeout"),
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
    /// later flush tells if they fail.
    Timeout(usize),
    /// The connection was lost before the server confirmed this many messages, which may have
    /// arrived or not.
    Uncertain(usize),
    /// The server refused this many messages, or the broker gave them up. Their events
    /// `PublishFailed` say which.
    Failed(usize),
    /// The broker was closed.
    Closed,
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(n) => write!(f, "{n} messages were not confirmed within the timeout"),
            Self::Uncertain(n) => write!(
                f,
                "the connection was lost before {n} messages were confirmed: they may have arrived or not"
            ),
            Self::Failed(n) => write!(
                f,
                "{n} messages were not published: see the events `PublishFailed`"
            ),
            Self::Closed => f.write_str(CLOSED),
        }
    }
}

impl Error for FlushError {}

/// Why there is no subscription.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The key, or the name of the group, breaks the grammar.
    BadKey(BadKey),
    /// The driver cannot do what was asked for; the text says what it can do.
    Unsupported(Arc<str>),
    /// An option has a value that makes no sense; the text says which and what would be right.
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

    /// Whether the driver cannot do this.
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
            Self::Unsupported(what) => write!(f, "this driver cannot do that: {what}"),
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

/// Why [`BrokerSubscription::ready`](crate::BrokerSubscription::ready) did not see the subscription
/// live.
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
    /// Work was left over at the deadline.
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
                "at the deadline {outbound} messages had not reached the server, {inbound} had not been handled, and \
                 {running} handlers were running"
            ),
        }
    }
}

impl Error for CloseError {}

/// Why there is no connection.
///
/// No variant carries a password, a token or a whole URL.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be parsed; the text says what is wrong and what would be right.
    BadUrl(Arc<str>),
    /// No driver is known for this scheme.
    UnknownScheme {
        /// The scheme of the URL.
        scheme: Arc<str>,
        /// The schemes that have drivers, separated by commas.
        known: Arc<str>,
    },
    /// An option of the driver has a value that makes no sense.
    BadConfig(Arc<str>),
    /// Nothing answers at this address.
    Unreachable {
        /// Host and port.
        address: Arc<str>,
        /// What the system said.
        reason: Arc<str>,
    },
    /// Nothing answered at this address within this time.
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
    /// Anything else that the server or the client library said.
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
                write!(f, "nothing answers at {address}: {reason}")
            }
            Self::Timeout { address, timeout } => {
                write!(f, "nothing answered at {address} within {timeout:?}")
            }
            Self::Denied(reason) => write!(f, "the server refused access: {reason}"),
            Self::Tls(reason) => write!(f, "TLS could not be set up: {reason}"),
            Self::WrongProtocol(reason) => {
                write!(f, "the server there speaks another protocol: {reason}")
            }
            Self::TooOld { found, needed } => {
                write!(f, "the server is {found}, and at least {needed} is needed")
            }
            Self::Failed(reason) => write!(f, "the connection failed: {reason}"),
        }
    }
}

impl Error for ConnectError {}
